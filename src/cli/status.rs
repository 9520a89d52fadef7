//! `lotest status`: what a running operator says of its bundle.

use super::Failure;
use super::output::{self, Format};
use crate::controller::Standing;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Say which bundle an operator runs, and what keeps it from the one that its layers say
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kubectl -n lotest-system port-forward deployment/lotest 8081 &
  lotest status
  kubectl -n lotest-system exec deployment/lotest -- lotest status -o json

Exit codes: 0 the operator runs on all its layers, 1 it runs on less, 2 it cannot be asked.")]
pub struct Arguments {
    /// Where the operator serves /status (its --health-probe-bind-address)
    #[arg(value_name = "URL", default_value = "http://localhost:8081")]
    address: String,

    /// How to print it; by default as text
    #[arg(short, long)]
    output: Option<Format>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let address = arguments.address.trim_end_matches('/');
    let body = ask(address)
        .map_err(|why| Failure::Other(format!("cannot ask the operator at {address}: {why}")))?;
    let standing: Standing = serde_json::from_str(&body).map_err(|e| {
        Failure::Other(format!(
            "what {address} answers is not lotest's status: {e}"
        ))
    })?;
    match arguments.output {
        // Layers and excerpts hold what anybody wrote, and whoever answers may be anybody.
        None => output::print(&output::plain(&standing.to_string()))?,
        Some(format) => {
            let value = serde_json::to_value(&standing).unwrap_or_default();
            output::print(&format.print(&[value])?)?;
        }
    }
    match standing.stale {
        false => Ok(()),
        true => Err(Failure::Check(
            "error: the operator does not run what its layers say".to_string(),
        )),
    }
}

/// One request without TLS, as the operator serves it.
fn ask(address: &str) -> Result<String, String> {
    let host = match address.split_once("://") {
        None => address,
        Some(("http", host)) => host,
        Some((scheme, _)) => return Err(format!("{scheme} is not http")),
    };
    let mut stream = TcpStream::connect(host).map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    stream
        .set_read_timeout(Some(TIMEOUT))
        .and_then(|()| write!(stream, "GET /status HTTP/1.0\r\nHost: {host}\r\n\r\n"))
        .and_then(|()| stream.read_to_end(&mut answer))
        .map_err(|e| e.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("the answer is not HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_string()),
        _ => Err(head.lines().next().unwrap_or_default().to_string()),
    }
}
