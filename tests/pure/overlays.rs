//! The manifests in deploy/ name every file of a layer, at its place; and each overlay is admitted with its golden cases.

use crate::support::{file, yaml};
use lotest::bundle::Layer;
use lotest::engine::admit::admit;
use lotest::engine::golden;
use lotest::layer_files;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const OVERLAYS: [&str; 2] = ["example-cluster", "shared-cluster"];

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// What the ConfigMaps of a kustomization hold: name and key to file.
fn generated(kustomization: &Value) -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    for map in list(&kustomization["configMapGenerator"]) {
        for written in list(&map["files"]) {
            let written = written.as_str().unwrap();
            let name = written.rsplit('/').next().unwrap();
            let (key, file) = written.split_once('=').unwrap_or((name, written));
            let map = map["name"].as_str().unwrap().to_string();
            all.insert((map, key.to_string()), file.to_string());
        }
    }
    all
}

/// Where a projected volume puts them: name and key to path.
fn mounted(volume: &Value) -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    for source in list(&volume["projected"]["sources"]) {
        let map = &source["configMap"];
        for item in list(&map["items"]) {
            let text = |key: &str| item[key].as_str().unwrap().to_string();
            let name = map["name"].as_str().unwrap().to_string();
            all.insert((name, text("key")), text("path"));
        }
    }
    all
}

#[test]
fn the_base_mounts_every_template_and_rule_of_the_repository() {
    let patch = yaml("deploy/base/layer.yaml");
    let volumes = &list(&patch).last().unwrap()["value"];
    let mounted = mounted(&volumes[0]);
    let mut expected = BTreeMap::new();
    for folder in ["templates", "rules"] {
        for (key, file) in generated(&yaml(&format!("{folder}/kustomization.yaml"))) {
            expected.insert(key, format!("{folder}/{file}"));
        }
    }
    assert_eq!(mounted, expected);
    let built_in = Layer::built_in().files.into_keys();
    let built_in: BTreeSet<String> = built_in.filter(|f| f.contains('/')).collect();
    assert_eq!(mounted.into_values().collect::<BTreeSet<_>>(), built_in);
}

#[test]
fn an_overlay_mounts_every_file_of_its_layer() {
    for overlay in OVERLAYS {
        let directory = format!("deploy/overlays/{overlay}");
        let kustomization = yaml(&format!("{directory}/kustomization.yaml"));
        let patch = kustomization["patches"][0]["patch"].as_str().unwrap();
        let patch: Vec<Value> = serde_saphyr::from_str(patch).unwrap();
        let volume = &patch.last().unwrap()["value"];
        assert_eq!(mounted(volume), generated(&kustomization), "{overlay}");
        let files = layer_files::read(&path(&directory)).unwrap().files;
        let mounted: BTreeSet<String> = mounted(volume).into_values().collect();
        assert_eq!(mounted, files.into_keys().collect(), "{overlay}");
    }
}

#[test]
fn an_overlay_is_admitted_on_the_base_with_its_golden_cases() {
    let mut base = Layer::built_in();
    base.files.retain(|file, _| file.contains('/'));
    for overlay in OVERLAYS {
        let layer = layer_files::read(&path(&format!("deploy/overlays/{overlay}"))).unwrap();
        assert!(golden::cases(&layer).len() >= 2, "{overlay}");
        let layers = [Layer::built_in(), base.clone(), layer];
        if let Err(problems) = admit(&layers, &BTreeMap::new()) {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{overlay}: {}", problems.join("\n"));
        }
        assert!(file(&format!("deploy/overlays/{overlay}/README.md")).contains(overlay));
    }
}
