//! Every override of tests/broken.yaml, given to an operator that runs: it is refused with what is wrong and where, and
//! the operator goes on with the bundle that it had.

use crate::mount::{Directory, Live};
use crate::support::{Room, condition, endless, until};
use lotest::bundle::Layer;
use lotest::engine::admit::admit;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What is wrong with an override, as `/status` says it.
fn mistakes(layer: &Directory, files: &BTreeMap<String, String>) -> Vec<Value> {
    let layer = Layer {
        name: layer.0.display().to_string(),
        files: files.clone(),
    };
    let problems = admit(&[Layer::built_in(), layer], &BTreeMap::new()).unwrap_err();
    let place = |p: &lotest::bundle::problem::Problem| json!([p.file, p.line, p.column, p.message]);
    problems.iter().map(place).collect()
}

#[tokio::test]
async fn no_broken_override_stops_an_operator() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken.yaml");
    let all = std::fs::read_to_string(path).unwrap();
    let all: BTreeMap<String, BTreeMap<String, String>> = serde_saphyr::from_str(&all).unwrap();
    assert!(all.len() >= 30);
    let room = Room::new("overrides").await;
    let layer = Directory::new();
    layer.mount(&[("values.yaml", "workerLosses: 1\n")]);
    let live = Live::new(&room, &[&layer]).await;
    let good = live.digest();
    room.create(endless("before")).await;
    for (name, files) in &all {
        let expected = mistakes(&layer, files);
        let written: Vec<(&str, &str)> = files
            .iter()
            .map(|(f, t)| (f.as_str(), t.as_str()))
            .collect();
        layer.mount(&written);
        until(&format!("what is said of {name}"), async || {
            let standing = live.standing();
            assert_eq!(standing["bundle"], *good, "{name}");
            let said = standing["mistakes"].as_array().cloned().unwrap_or_default();
            let said: Vec<Value> = said
                .iter()
                .map(|m| json!([m["file"], m["line"], m["column"], m["message"]]))
                .collect();
            (said == expected).then_some(())
        })
        .await;
    }
    let running = |t: &Value| {
        t["status"]["phase"] == "Running" && condition(t, "WorkersConnected")["status"] == "True"
    };
    room.create(endless("after")).await;
    for name in ["before", "after"] {
        let test = room.until("LocustTest", name, running).await;
        assert_eq!(test["status"]["bundle"], *good);
    }
}
