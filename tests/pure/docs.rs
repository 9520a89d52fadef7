//! The pages in docs/: their files are written, their commands run, and what they say is printed is printed.
//!
//! A fenced block `yaml file=PATH` is a file, `sh` are commands that succeed (`lotest diff` may find something), `sh fails` are
//! some that do not, `text` is a part of what the commands of the page print. Any other YAML must be YAML.

use crate::support::file;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: &[&str] = &[
    "add-a-child",
    "add-a-condition",
    "change-a-grace-period",
    "change-arguments",
    "image",
    "one-setting-per-cluster",
    "overrides",
    "replicas",
    "review-in-a-pull-request",
    "v1",
    "webhooks",
];

struct Block {
    info: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            blocks.push(Block {
                info: info.to_string(),
                text: text.join("\n") + "\n",
            });
        }
    }
    blocks
}

/// A directory with what a reader has: a test, and what is on the main branch.
fn desk(page: &str) -> PathBuf {
    let desk = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("docs-{page}"));
    let _ = fs::remove_dir_all(&desk);
    write(&desk, "test.yaml", &file("golden/render/minimal/test.yaml"));
    write(&desk, "main/cluster/values.yaml", "{}\n");
    if page == "review-in-a-pull-request" {
        let test = file("golden/render/minimal/test.yaml");
        write(&desk, "cluster/golden/a-test/test.yaml", &test);
        write(
            &desk,
            "bin/gh",
            "#!/bin/sh\necho \"gh $*\"\ncat comment.md\n",
        );
    }
    desk
}

fn write(desk: &Path, file: &str, text: &str) {
    let path = desk.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Runs a line as a reader's shell does: whether it succeeds, and what it prints.
fn run(desk: &Path, line: &str) -> (Option<i32>, String) {
    let binary = Path::new(env!("CARGO_BIN_EXE_lotest"));
    let path = format!(
        "{}:{}:{}",
        binary.parent().unwrap().display(),
        desk.join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let gh = "gh() { sh bin/gh \"$@\"; }\n";
    let output = Command::new("bash")
        .args(["-e", "-c", &format!("{gh}{line}")])
        .env("PATH", path)
        .env("NUMBER", "7")
        .current_dir(desk)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn follow(page: &str) {
    let text = file(&format!("docs/{page}.md"));
    let desk = desk(page);
    let mut printed = String::new();
    let mut commands = 0;
    for Block { info, text } in blocks(&text) {
        let mut words = info.split(' ');
        match (words.next().unwrap(), words.next()) {
            ("yaml", Some(name)) => write(&desk, name.strip_prefix("file=").unwrap(), &text),
            ("yaml", None) => drop(serde_saphyr::from_str::<Value>(&text).unwrap()),
            ("sh", what) => {
                for line in text.lines() {
                    let (code, said) = run(&desk, line);
                    let expected: &[i32] = match what {
                        Some("fails") => &[1, 2],
                        None if line.starts_with("lotest diff") => &[0, 1],
                        None => &[0],
                        Some(other) => panic!("{page}: sh {other}"),
                    };
                    let is_expected = code.is_some_and(|c| expected.contains(&c));
                    assert!(is_expected, "{page}: {line}: {code:?}\n{said}");
                    printed.push_str(&said);
                    commands += 1;
                }
            }
            ("text", None) => assert!(
                printed.contains(text.trim_end()),
                "{page}: {text}\n{printed}"
            ),
            _ => panic!("{page}: a block of `{info}`"),
        }
    }
    assert!(commands > 0, "{page} has no command");
    let workflow = desk.join(".github/workflows/layers.yaml");
    if let Ok(workflow) = fs::read_to_string(workflow) {
        let workflow: Value = serde_saphyr::from_str(&workflow).unwrap();
        let steps = workflow["jobs"]["review"]["steps"].as_array().unwrap();
        let mut said = String::new();
        for step in steps.iter().filter_map(|s| s["run"].as_str()) {
            let (code, text) = run(&desk, step);
            assert_eq!(code, Some(0), "{step}\n{text}");
            said.push_str(&text);
        }
        assert!(said.contains("gh pr comment 7"), "{said}");
        assert!(said.contains("\n+        - --csv=/tmp/results"), "{said}");
    }
    fs::remove_dir_all(desk).unwrap();
}

#[test]
fn what_the_pages_say_works() {
    PAGES.iter().for_each(|page| follow(page));
}

#[test]
fn every_page_is_followed_and_every_link_leads_somewhere() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = Vec::new();
    for entry in fs::read_dir(&docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = fs::read_to_string(docs.join(&name)).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            let target = target.split('#').next().unwrap();
            let leads = target.starts_with("https:") || docs.join(target).exists();
            assert!(leads, "{name}: {target}");
        }
        pages.extend(name.strip_suffix(".md").map(str::to_string));
    }
    pages.sort();
    // Some need Helm and a cluster: tests/chart. `make bench` is what the page about costs comes from.
    pages
        .retain(|page| !["README", "install", "performance", "take-over"].contains(&page.as_str()));
    assert_eq!(pages, PAGES);
}

/// The README shows a layer too.
#[test]
fn the_layer_of_the_readme_is_in_order() {
    let text = file("README.md");
    let all = blocks(&text);
    let shown = all.iter().find(|b| b.text.starts_with("mkdir -p cluster"));
    let desk = desk("readme");
    for case in [
        "golden/render/minimal/test.yaml",
        "golden/timeline/image-pull/timeline.yaml",
    ] {
        write(&desk, case, &file(case));
    }
    let (code, said) = run(&desk, &shown.unwrap().text);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("+        - --csv=/tmp/results"), "{said}");
    assert!(said.contains("-- at: 2m1s"), "{said}");
    fs::remove_dir_all(desk).unwrap();
}

/// What the reference says of blocks is what there is.
#[test]
fn the_blocks_of_the_reference_are_those_of_the_templates() {
    let reference = file("docs/overrides.md");
    let table = reference.split("### Blocks").nth(1).unwrap();
    let table = table.split("### ").next().unwrap();
    for template in ["_pod", "master-job", "worker-job", "service"] {
        for block in file(&format!("templates/{template}.yaml"))
            .split("{% block ")
            .skip(1)
        {
            let block = block.split(' ').next().unwrap();
            let rows = table
                .lines()
                .filter(|l| l.contains(&format!("`{template}.yaml`")));
            let named = rows.filter(|l| l.contains(&format!("`{block}`"))).count();
            assert_eq!(named, 1, "{template}.yaml: {block}");
        }
    }
}
