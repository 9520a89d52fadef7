//! The command line: arguments as typed here, one file for each command, and
//! the one place that decides exit codes.
//!
//! Exit codes: 0 fine, 1 something differs or fails a check, 2 bad usage or input.

mod bundle;
mod check;
mod cluster;
mod completion;
mod convert;
mod crd;
mod diff;
mod election;
mod explain;
mod golden;
mod init;
mod input;
mod operator;
mod output;
mod rbac;
mod record;
mod render;
mod schema;
mod status;
mod webhook;

use crate::bundle::problem::{Problem, join};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;

/// Runs distributed Locust load tests on Kubernetes; what it does is data.
#[derive(Debug, Parser)]
#[command(name = "lotest", version)]
#[command(after_help = "Examples:
  lotest crd | kubectl apply --server-side -f -
  lotest render test.yaml          what a test would be made of
  lotest explain my-test -n shop   why a test is in the state it is in
  lotest init team                 a layer to start from, which changes what the operator does
  lotest check --layer team        is it fine, and what does it need

`lotest COMMAND --help` has more.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Operator(operator::Arguments),
    Status(status::Arguments),
    Render(render::Arguments),
    Check(check::Arguments),
    Bundle(bundle::Arguments),
    Diff(diff::Arguments),
    Rbac(rbac::Arguments),
    Explain(explain::Arguments),
    Record(record::Arguments),
    Init(init::Arguments),
    Convert(convert::Arguments),
    Schema(schema::Arguments),
    Crd(crd::Arguments),
    Completion(completion::Arguments),
}

/// What ends a command without success.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A check that was asked for failed; the findings are printed already.
    #[error("{0}")]
    Check(String),
    /// So much is different, as was asked; it is printed already.
    #[error("{0} differ")]
    Differs(usize),
    /// Something that a person wrote is wrong.
    #[error("{}", join(.0))]
    Problems(Vec<Problem>),
    /// Something else is in the way: a file that cannot be read, a cluster that cannot be reached.
    #[error("error: {0}")]
    Other(String),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure::Problems(vec![problem])
    }
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        Failure::Problems(vec![*problem])
    }
}

/// The arguments of the process. As a plugin of kubectl, which finds it by its file name, it is called what a person
/// types.
fn arguments() -> Arguments {
    let called = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = called
        .as_deref()
        .and_then(|path| path.file_stem()?.to_str());
    let mut command = Arguments::command();
    if name == Some("kubectl-lotest") {
        command = as_plugin(command.bin_name("kubectl lotest"));
    }
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|e| e.exit())
}

/// With examples as they are typed for a plugin.
fn as_plugin(command: clap::Command) -> clap::Command {
    let examples = command.get_after_help().map(ToString::to_string);
    let command = match examples {
        Some(examples) => {
            let typed = ["  lotest ", "| lotest ", "<(lotest ", "`lotest "];
            let examples = typed.iter().fold(examples, |text, t| {
                text.replace(t, &t.replace("lotest", "kubectl lotest"))
            });
            command.after_help(examples)
        }
        None => command,
    };
    command.mut_subcommands(as_plugin)
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let result = match arguments().command {
        Command::Operator(arguments) => operator::run(arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Render(arguments) => render::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Bundle(arguments) => bundle::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Rbac(arguments) => rbac::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Crd(arguments) => crd::run(&arguments),
        Command::Completion(arguments) => completion::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Differs(_)) {
                output::error(&failure.to_string());
            }
            match failure {
                Failure::Check(_) | Failure::Differs(_) => ExitCode::from(1),
                Failure::Problems(_) | Failure::Other(_) => ExitCode::from(2),
            }
        }
    }
}
