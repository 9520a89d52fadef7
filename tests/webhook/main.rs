//! The webhooks on a real API server: `make test`, or `tests/cluster/with-cluster cargo test --test webhook`. Every change
//! of the CustomResourceDefinition interrupts all watches of tests, so these are apart from the others, and one at a time.

// The allowance in clippy.toml ends at `#[test]`; the helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod certificates;
mod harness;
mod hostile;
#[allow(dead_code)]
#[path = "../cluster/operators.rs"]
mod operators;
mod outage;
#[allow(dead_code)]
#[path = "../cluster/shell.rs"]
mod shell;
#[allow(dead_code)]
#[path = "../cluster/support.rs"]
mod support;
mod versions;
