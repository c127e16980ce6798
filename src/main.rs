//! Parses arguments, calls the library, ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    driverkit_matrix::fs::outlive_file_size_limit();
    driverkit_matrix::cli::run(std::env::args_os())
}
