//! What the engine's source must not say. What lotest does is data: no word of Locust or of Kubernetes' failure
//! vocabulary is in `src/`. And its core is pure: no client, no file, no socket, no clock.

use std::path::Path;

use regex::Regex;

const DATA: &str = "ImagePull|CrashLoop|SchedulingError|5557|expect-workers|locust_exporter";

const IMPURE: &str = concat!(
    r"tokio|kube::(Client|Api|client|api|runtime)\b|std::(fs|net|env|process|thread)\b|std::os::",
    r"|SystemTime|Instant\b|Timestamp::now|Zoned::now|std::\{[^}]*\b(fs|net|env|process)\b",
);

/// Every line below `folder` in which `words` are, as `file:line: text`; and how many files there are.
fn grep(words: &str, folder: &str) -> (Vec<String>, usize) {
    let words = Regex::new(words).unwrap();
    let mut found = Vec::new();
    let mut files = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| words.is_match(line));
            found.extend(lines.map(|(n, line)| format!("{}:{}: {line}", path.display(), n + 1)));
        }
    }
    (found, files)
}

#[test]
fn what_lotest_does_is_not_in_the_source() {
    let (found, files) = grep(DATA, "src");
    assert_eq!(
        found, [""; 0],
        "it belongs in templates/, rules/ or values.yaml"
    );
    assert!(files > 20, "only {files} files were read");
}

#[test]
fn the_core_is_pure() {
    for (folder, at_least) in [("src/api", 8), ("src/bundle", 7), ("src/engine", 10)] {
        let (found, files) = grep(IMPURE, folder);
        assert_eq!(found, [""; 0], "time, files and clients belong at the edge");
        assert!(
            files >= at_least,
            "only {files} files were read in {folder}"
        );
    }
}

/// The words are found where they are allowed: the search itself works.
#[test]
fn the_search_finds_what_is_there() {
    let (found, _) = grep(DATA, "templates");
    assert!(found.iter().any(|line| line.contains("--expect-workers")));
    let data = Regex::new(DATA).unwrap();
    assert!(DATA.split('|').all(|word| data.is_match(word)));
    let (found, _) = grep(IMPURE, "src/controller");
    assert!(found.iter().any(|line| line.contains("tokio")));
    let impure = Regex::new(IMPURE).unwrap();
    for line in [
        "use kube::Client;",
        "use std::{fs, io};",
        "std::net::TcpStream",
        "std::time::SystemTime::now()",
        "let now = Timestamp::now();",
    ] {
        assert!(impure.is_match(line), "{line}");
    }
}
