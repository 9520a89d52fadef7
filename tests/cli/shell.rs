//! Completions, and lotest as a plugin of kubectl.

use super::{Ran, run};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[test]
fn completions_name_all_commands_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = run(&["completion", shell]).fine();
        for word in ["lotest", "explain", "over-time", "layer"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
    // What a shell makes of it: the commands that begin so.
    let script = run(&["completion", "bash"]).fine();
    let ask =
        "COMP_WORDS=(lotest re); COMP_CWORD=1; _lotest lotest re lotest; echo \"${COMPREPLY[*]}\"";
    let output = Command::new("bash")
        .arg("-c")
        .arg(format!("{script}\n{ask}"))
        .output()
        .unwrap();
    assert_eq!(Ran::of(output).fine().trim(), "render record");
}

#[test]
fn as_a_plugin_of_kubectl_it_is_called_so() {
    let directory = super::check::directory("plugin");
    let plugin = directory.join("kubectl-lotest");
    symlink(Path::new(env!("CARGO_BIN_EXE_lotest")), &plugin).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&plugin);
        command
            .args(arguments)
            .env_clear()
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        Ran::of(command.output().unwrap())
    };
    let help = run(&["--help"]).fine();
    assert!(
        help.contains("\nUsage: kubectl lotest <COMMAND>\n"),
        "{help}"
    );
    assert!(
        help.contains("\n  kubectl lotest explain my-test -n shop"),
        "{help}"
    );
    assert!(help.contains("`kubectl lotest COMMAND --help`"), "{help}");
    let help = run(&["explain", "--help"]).fine();
    assert!(
        help.contains("\nUsage: kubectl lotest explain [OPTIONS]"),
        "{help}"
    );
    assert!(
        help.contains("\n  kubectl lotest explain --over-time"),
        "{help}"
    );
    // It does the same.
    let explained = ["explain", "--at", "2026-03-01T12:01:00Z", super::STATE];
    assert_eq!(run(&explained).fine(), super::run(&explained).fine());
    let ran = run(&["no-such-command"]);
    assert!(ran.err.contains("Usage: kubectl lotest"), "{}", ran.err);
    assert_eq!(ran.code, 2);
}
