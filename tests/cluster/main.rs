//! Tests against a real API server: `make test`, or `tests/cluster/with-cluster cargo test --test cluster`.
//! They share one control plane; each has a namespace and an operator of its own, which sees that namespace alone.

// The allowance in clippy.toml ends at `#[test]`; the helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broken;
mod commands;
mod edits;
mod evidence;
mod failing;
mod foreign;
mod golden;
mod hostile;
mod idle;
mod image;
mod invalid;
mod kept;
mod leader;
mod lifecycle;
mod lists;
mod many;
mod mount;
mod mutants;
mod mutated;
mod older;
mod operators;
mod overlays;
mod pods;
mod process;
mod reference;
mod reload;
mod reload_load;
mod rename;
mod replicas;
mod restart;
mod rights;
mod runs;
mod secrets;
mod shell;
mod support;
mod swap;
mod takeover;
mod timelines;
mod together;
mod trouble;
mod writes;
