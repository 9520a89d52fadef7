//! What golden cases hold is what the API server takes.

use crate::older::{minor, without_newer};
use crate::support::Room;
use kube::api::{Patch, PatchParams};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Cases about what the API server refuses from a minor version on, with what it says; the last that fits counts.
/// Before 1.34 it drops claims.
const REFUSED: &[(&str, u32, &str)] = &[
    ("env-from-file", 0, "valueFrom: Invalid value"),
    (
        "env-from-file",
        35,
        "valueFrom.fileKeyRef.volumeName: Not found",
    ),
    ("resources-claims", 34, "resources.claims[0]: Not found"),
    ("resources-unset", 34, "resources.claims[0]: Not found"),
];

#[tokio::test]
async fn the_api_server_takes_what_golden_cases_hold() {
    let room = Room::new("golden").await;
    let dry_run = PatchParams::apply("lotest").validation_strict().dry_run();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/render");
    let minor = minor(&room).await;
    let mut wrong = Vec::new();
    for case in fs::read_dir(cases).unwrap().map(|entry| entry.unwrap()) {
        let name = case.file_name().into_string().unwrap();
        let text = fs::read_to_string(case.path().join("children.yaml")).unwrap();
        let children: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert!(!children.is_empty(), "{name}");
        let mut refusals = String::new();
        for mut child in children {
            child["metadata"]["namespace"] = room.namespace.clone().into();
            without_newer(&mut child, minor);
            let api = room.api(child["kind"].as_str().unwrap());
            let name = child["metadata"]["name"].as_str().unwrap().to_string();
            if let Err(e) = api.patch(&name, &dry_run, &Patch::Apply(child)).await {
                refusals.push_str(&e.to_string());
            }
        }
        let mut refused = REFUSED.iter().rev();
        let expected = refused.find(|(case, since, _)| *case == name && minor >= *since);
        let as_expected = match expected {
            Some((.., message)) => refusals.contains(message),
            None => refusals.is_empty(),
        };
        if !as_expected {
            wrong.push(format!("{name}: {refusals:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
