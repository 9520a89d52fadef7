//! The Helm chart, as Helm itself reads it: `make test`, or `tests/cluster/with-cluster cargo test --test chart`.

// The allowance in clippy.toml ends at `#[test]`; the helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod dashboard;
mod deploy;
mod golden;
mod helm;
mod release;
mod rights;
mod schema;
mod takeover;
mod values;
