//! The `lotest` binary. Everything it does lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lotest::cli::main()
}
