//! Quoted arguments survive: how a command line becomes arguments.

use serde_json::json;

use crate::support::made;

/// The words that the command of both roles is split into, and what was said about it.
#[track_caller]
fn words(command: &str) -> (Vec<String>, Vec<String>) {
    let patch = json!({"spec": {"master": {"command": command}, "worker": {"command": command}}});
    let made = made(&patch.to_string());
    let before = |role: &str, own: &str| {
        let args = made.args(role);
        let end = args.iter().position(|arg| *arg == own).unwrap();
        args[..end]
            .iter()
            .map(|arg| arg.to_string())
            .collect::<Vec<_>>()
    };
    let words = before("master", "--master");
    assert_eq!(words, before("worker", "--worker"), "{command}");
    (words, made.warnings)
}

#[test]
fn quotes_group_and_are_removed() {
    for (command, expected) in [
        (r#"--host "a b""#, &["--host", "a b"][..]),
        ("--host 'a b'", &["--host", "a b"]),
        (r#"--host="a b" -u 1"#, &["--host=a b", "-u", "1"]),
        (r#"a"b c"d'e f'"#, &["ab cde f"]),
        (r#"-p """#, &["-p", ""]),
        ("-p ''", &["-p", ""]),
        (r#"'"' "'""#, &["\"", "'"]),
        (r#""a \" b" "c \\""#, &["a \" b", "c \\"]),
        (r"'a \ b' '\n'", &[r"a \ b", r"\n"]),
    ] {
        assert_eq!(
            words(command),
            (expected.iter().map(|w| w.to_string()).collect(), vec![]),
            "{command}"
        );
    }
}

#[test]
fn everything_but_quotes_is_passed_on_as_it_stands() {
    for word in [
        r"c:\src", r"\", r"a\ ", "$X", "$(X)", "${X}", "$$(X)", "`id`", "#", "{{a}}", "{%", "{#",
        "a;b", "a|b", "a&b", "*", "~", "!x", "--", "-", "[a]", "{a,b}", "a=b", "null", "true",
        "---", "%20", "<a>",
    ] {
        assert_eq!(
            words(&format!("-f {word} z")).0,
            ["-f", word.trim_end(), "z"],
            "{word}"
        );
    }
    assert_eq!(words("a # no comment").0, ["a", "#", "no", "comment"]);
}

#[test]
fn white_space_of_any_kind_separates() {
    assert_eq!(words("  a \t b\n\nc\r\nd  ").0, ["a", "b", "c", "d"]);
}

#[test]
fn quotes_that_do_not_balance_are_split_at_white_space_with_a_warning() {
    for (command, expected) in [
        ("it's a test", &["it's", "a", "test"][..]),
        (r#"--host "a b"#, &["--host", "\"a", "b"]),
        (r#"'a" b"#, &["'a\"", "b"]),
        (r#""a \" b"#, &["\"a", "\\\"", "b"]),
    ] {
        let (words, warnings) = words(command);
        assert_eq!(words, expected, "{command}");
        // Once, though both roles have the command.
        let [warning] = warnings.as_slice() else {
            panic!("one warning expected, not {warnings:?}");
        };
        assert!(
            warning.contains(command) && warning.contains("quotes"),
            "{warning}"
        );
    }
}
