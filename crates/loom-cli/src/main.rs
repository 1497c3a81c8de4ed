//! The binary `loom`. Everything is in the library, which the Python package calls too.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(loom_cli::run_main(std::env::args_os()))
}
