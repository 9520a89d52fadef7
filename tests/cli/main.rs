//! The binary as a person or a script meets it: what it prints where, and with which exit code it ends.

// The allowance in clippy.toml ends at `#[test]`; these helpers are tests too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod check;
mod convert;
mod explain;
mod init;
mod layers;
mod render;
mod shell;
mod status;
mod stop;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MINIMAL: &str = "golden/render/minimal/test.yaml";
const STATE: &str = "tests/state.yaml";

/// With an empty environment and the checkout as its directory.
fn lotest(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lotest"));
    command
        .args(arguments)
        .env_clear()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let ran = Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        let both = format!("{}{}", ran.out, ran.err);
        assert!(!both.contains('\x1b'), "colour in a pipe: {both}");
        ran
    }

    /// What went well says nothing on standard error.
    #[track_caller]
    fn fine(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// A failure with its whole message, and nothing on standard output.
    #[track_caller]
    fn fails(self, code: i32, message: &str) {
        assert_eq!(self.err.trim_end(), message.trim_end());
        assert_eq!((self.code, self.out.as_str()), (code, ""));
    }
}

fn run(arguments: &[&str]) -> Ran {
    Ran::of(lotest(arguments).output().unwrap())
}

fn pipe(arguments: &[&str], input: &str) -> Ran {
    let mut child = lotest(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    Ran::of(child.wait_with_output().unwrap())
}

/// All that a person sees, beside what was reviewed (`make golden` writes it). The digest changes with every comment.
#[track_caller]
fn seen(name: &str, ran: &Ran) {
    let text = format!("{}{}exit code {}\n", ran.out, ran.err, ran.code);
    let mut parts = text.split("bundle ");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_hexdigit).count();
        let part = if digits == 16 { &part[16..] } else { part };
        let digest = if digits == 16 { "DIGEST" } else { "" };
        text.push_str(&format!("bundle {digest}{part}"));
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn crd_prints_the_file() {
    assert!(run(&["crd"]).fine() == file("crds/locusttests.locust.io.yaml"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in [
        &["crd"][..],
        &[
            "render",
            "-o",
            "json",
            "golden/render/volume-kinds/test.yaml",
        ],
    ] {
        let mut child = lotest(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        Ran::of(child.wait_with_output().unwrap()).fine();
    }
}

#[test]
fn usage_is_explained() {
    let ran = run(&[]);
    assert!(ran.err.contains("Usage: lotest <COMMAND>"), "{}", ran.err);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let all = run(&["--help"]).fine();
    let commands = all.lines().skip_while(|l| *l != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.contains(&"render"), "{commands:?}");
    assert!(all.contains("\nExamples:\n  lotest "), "{all}");
    for command in commands {
        let help = run(&[command, "--help"]).fine();
        assert!(help.contains("\nExamples:\n  "), "{command}: {help}");
        let ran = run(&[command, "--no-such-flag"]);
        assert!(
            ran.err
                .starts_with("error: unexpected argument '--no-such-flag'"),
            "{command}: {}",
            ran.err
        );
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{command}");
    }
    assert_eq!(
        run(&["--version"]).fine(),
        concat!("lotest ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
