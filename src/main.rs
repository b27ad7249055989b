//! Parses arguments, calls [`vfioneer::cli`], returns the exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    vfioneer::cli::main(std::env::args_os())
}
