//! Real Locust on a real node: `make e2e`, or `tests/e2e/with-node cargo test --test e2e`. See README.md.

// The allowance in clippy.toml ends at `#[test]`; the helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ends;
#[allow(dead_code)]
#[path = "../webhook/harness.rs"]
mod harness;
mod interrupted;
mod load;
#[allow(dead_code)]
#[path = "../cluster/operators.rs"]
mod operators;
mod runs;
#[allow(dead_code)]
#[path = "../cluster/shell.rs"]
mod shell;
#[allow(dead_code)]
#[path = "../cluster/support.rs"]
mod support;
mod target;
