//! Printing: the one place that knows about terminals, colour and broken pipes.

use super::Failure;
use std::io::{self, IsTerminal, Write};

/// Prints to standard output. A reader that has gone away is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write the output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints to standard error, in red on a terminal unless `NO_COLOR` is set.
pub fn error(text: &str) {
    let mut out = io::stderr().lock();
    let text = if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        text.replace("error:", "\x1b[1;31merror:\x1b[0m")
    } else {
        text.to_string()
    };
    // Nothing is left to say when standard error itself is gone.
    let _ = writeln!(out, "{text}");
}

/// Whether standard output may be coloured.
pub fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
