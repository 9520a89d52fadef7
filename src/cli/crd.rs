//! `lotest crd`: the CustomResourceDefinition.

use super::{Failure, output};

/// Print the CustomResourceDefinition of LocustTest
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest crd | kubectl apply --server-side -f -")]
pub struct Arguments {}

pub fn run(_: &Arguments) -> Result<(), Failure> {
    output::print(crate::api::CRD)
}
