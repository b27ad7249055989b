//! One file per verb.

use std::process::ExitCode;

/// Runs the program.
pub fn main(_args: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    ExitCode::SUCCESS
}
