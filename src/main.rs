//! Parses arguments, calls the library, ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    driverkit_matrix::cli::run(std::env::args_os())
}
