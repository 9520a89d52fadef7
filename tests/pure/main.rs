//! Tests of the pure core: no cluster, no clock. One binary, so that it links once.

// The allowance in clippy.toml ends at `#[test]`; these helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod broken_overrides;
mod bundle_errors;
mod catalogue;
mod contract_containers;
mod contract_differs;
mod contract_objects;
mod contract_quoting;
mod convert;
mod convert_edits;
mod crd;
mod docs;
mod edits;
mod ends;
mod hostile;
mod hostile_text;
mod index;
mod inherit;
mod layer_files;
mod leaves;
mod missed;
mod mutations;
mod objects;
mod overlays;
mod play;
mod record;
mod renamed;
mod replica;
mod secrets;
mod settings;
mod support;
mod verdicts;
mod words;
