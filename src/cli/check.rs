use super::Failure;

#[derive(Debug, clap::Args)]
pub struct Arguments {}

pub fn run(_: &Arguments) -> Result<(), Failure> {
    Ok(())
}
