//! What somebody reads whose override is broken: one snapshot for each override of tests/broken.yaml.
//! `INSTA_UPDATE=always cargo test --test pure` writes them; read them as that somebody would.
//!
//! That an operator goes on with what it had is tested in tests/cluster/broken.rs.

use lotest::bundle::Layer;
use lotest::engine::admit::admit;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The files of an override, and everything that is said of them.
fn report(files: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut layer = Layer {
        name: "cluster".into(),
        ..Layer::default()
    };
    for (file, content) in files {
        let _ = writeln!(text, "cluster/{file}:");
        for line in content.lines() {
            let _ = writeln!(text, "  | {line}");
        }
        layer.files.insert(file.clone(), content.clone());
    }
    match admit(&[Layer::built_in(), layer], &BTreeMap::new()) {
        Ok(_) => text.push_str("\nnobody complains\n"),
        Err(problems) => {
            for problem in problems {
                let _ = write!(text, "\n{problem}\n");
            }
        }
    }
    text
}

#[test]
fn every_broken_override_is_told_what_to_mend() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken.yaml");
    let all = fs::read_to_string(path).unwrap();
    let all: BTreeMap<String, BTreeMap<String, String>> = serde_saphyr::from_str(&all).unwrap();
    for (name, files) in &all {
        let text = report(files);
        assert!(text.contains("\nerror: "), "{text}");
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "snapshots/overrides" }, {
            insta::assert_snapshot!(name.as_str(), text);
        });
    }
}

/// Files that cannot be read are mistakes like others.
#[test]
fn files_that_are_no_text() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-text");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("templates")).unwrap();
    fs::write(root.join("values.yaml"), b"grace:\n  pods: \xff\xfe5m\n").unwrap();
    fs::write(root.join("templates/service.yaml"), vec![0u8; 5 << 20]).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("templates/x.yaml")).unwrap();
    std::os::unix::fs::symlink("..", root.join("templates/loop")).unwrap();
    let problems = lotest::layer_files::read(&root).unwrap_err();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let text = text.join("\n\n").replace(root.to_str().unwrap(), "cluster");
    for expected in [
        "the file is not UTF-8 text\n  --> cluster/values.yaml:2:9",
        "cannot be read: it is larger than 4 MiB\n  --> cluster/templates/service.yaml",
        "cannot be read: No such file or directory (os error 2)\n  --> cluster/templates/x.yaml",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let missing = lotest::layer_files::read(&root.join("nothing")).unwrap_err();
    assert!(missing[0].to_string().contains("no-text/nothing"));
}
