//! `lotest completion`: what a shell needs to complete the command line.

use super::{Failure, output};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(lotest completion bash)
  lotest completion zsh > \"${fpath[1]}/_lotest\"
  lotest completion fish > ~/.config/fish/completions/lotest.fish
  lotest completion powershell | Out-String | Invoke-Expression")]
pub struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "lotest", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
