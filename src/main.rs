//! Parses arguments, calls the library, ends with its exit code.

use std::process::ExitCode;

/// Many threads create and drop the small values of tens of thousands of builds. .cargo/config.toml sets how soon
/// unused memory is returned to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    driverkit_matrix::fs::outlive_file_size_limit();
    driverkit_matrix::cli::run(std::env::args_os())
}
