//! Every rule and every value of rules is there for something: without it, or with another value, some timeline ends
//! otherwise.

use super::support::yaml;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::golden::Case;
use lotest::engine::replay::replay;
use lotest::engine::timeline::Timeline;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

/// What no timeline can show, because in one everything can be made, and at once. Tests against an API server do.
const NOT_IN_TIMELINES: [&str; 4] = [
    "ready-error",
    "ready-refused",
    "ready-creating",
    "ready-recreating",
];

fn load(layers: &[Layer]) -> Bundle {
    Bundle::load(layers, &BTreeMap::new())
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
        .0
}

/// A timeline, with what was reviewed for it.
struct Told {
    case: Case,
    /// What it tells with all rules; asked when it is needed.
    whole: OnceLock<Option<String>>,
    /// When it needs no bundle of its own.
    timeline: Option<Timeline>,
    verdicts: String,
}

fn timelines() -> Vec<Told> {
    let root = format!("{}/golden/timeline", env!("CARGO_MANIFEST_DIR"));
    let directories = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let told = |directory: std::path::PathBuf| {
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        };
        let files: Files = fs::read_dir(&directory).unwrap().map(read).collect();
        let plain = files.len() == 2;
        let timeline = plain.then(|| serde_saphyr::from_str(&files["timeline.yaml"]).unwrap());
        Told {
            whole: OnceLock::new(),
            timeline,
            verdicts: files["verdicts.yaml"].clone(),
            case: Case {
                name: directory.display().to_string(),
                files,
            },
        }
    };
    directories.map(told).collect()
}

impl Told {
    fn tell(&self, bundle: &Arc<Bundle>, layers: &[Layer]) -> Option<String> {
        match &self.timeline {
            Some(timeline) => {
                let entries = replay(bundle, timeline).ok()?;
                serde_saphyr::to_string(&entries).ok()
            }
            None => Some(self.case.run(layers).ok()?.text),
        }
    }

    /// How much of what a rule says is in it.
    fn speaks_of(&self, words: &[String]) -> usize {
        let said = words.iter().filter(|w| self.verdicts.contains(w.as_str()));
        said.map(String::len).sum()
    }
}

/// A rule: its file, where it is in it, and its id.
struct Place {
    file: &'static str,
    pointer: String,
    id: String,
    /// What it says, without what is filled in.
    words: Vec<String>,
}

/// Where lists of rules are: file, pointer to the list.
fn lists() -> Vec<(&'static str, String)> {
    let conditions = yaml("rules/conditions.yaml");
    let conditions = conditions.as_array().unwrap().iter().enumerate();
    let cases = conditions.map(|(n, _)| ("rules/conditions.yaml", format!("/{n}/cases")));
    let flat = ["signals", "actions", "events"];
    let flat = flat.map(|name| match name {
        "signals" => ("rules/signals.yaml", String::new()),
        "actions" => ("rules/actions.yaml", String::new()),
        _ => ("rules/events.yaml", String::new()),
    });
    let transitions = [("rules/phase.yaml", "/transitions".to_string())];
    flat.into_iter().chain(transitions).chain(cases).collect()
}

fn rules() -> Vec<Place> {
    let mut places = Vec::new();
    for (file, pointer) in lists() {
        let rules = yaml(file);
        for rule in rules.pointer(&pointer).unwrap().as_array().unwrap().iter() {
            let id = rule["id"].as_str().unwrap().to_string();
            let mut words = vec![id.clone()];
            for said in ["/reason", "/message", "/event/reason", "/event/message"] {
                let said = rule
                    .pointer(said)
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let plain = said
                    .split("{{")
                    .map(|p| p.split_once("}}").map_or(p, |(_, rest)| rest));
                words.extend(
                    plain
                        .map(str::trim)
                        .filter(|w| w.len() > 3)
                        .map(str::to_string),
                );
            }
            places.push(Place {
                file,
                pointer: pointer.clone(),
                id,
                words,
            });
        }
    }
    places
}

impl Place {
    /// The layers of a bundle without the rule.
    fn switched_off(&self) -> Vec<Layer> {
        let off = json!([{"id": self.id, "disable": true}]);
        let names: Vec<&str> = self.pointer.split('/').skip(1).collect();
        let rules = match names.as_slice() {
            [] => off,
            ["transitions"] => json!({"transitions": off}),
            [n, ..] => {
                let kind = &yaml(self.file)[n.parse::<usize>().unwrap()]["type"];
                json!([{"type": kind, "cases": off}])
            }
        };
        let files = Files::from([(self.file.to_string(), rules.to_string())]);
        vec![Layer::built_in(), files.into()]
    }
}

/// A bundle that is not as it should be.
struct Change {
    name: String,
    layers: Vec<Layer>,
    /// What timelines may say that notice it.
    words: Vec<String>,
}

/// The changes that no timeline notices. The likely ones are asked first, and the first that differs is enough.
fn unnoticed(changes: Vec<Change>) -> Vec<String> {
    let layers = [Layer::built_in()];
    let bundle = Arc::new(load(&layers));
    let timelines = timelines();
    let whole = |told: &Told| {
        let whole = told.whole.get_or_init(|| told.tell(&bundle, &layers));
        whole.clone()
    };
    let is_noticed = |change: &Change| {
        let other = Arc::new(load(&change.layers));
        let mut likely: Vec<&Told> = timelines.iter().collect();
        likely.sort_by_cached_key(|t| Reverse(t.speaks_of(&change.words)));
        let mut likely = likely.iter();
        likely.any(|t| t.tell(&other, &change.layers) != whole(t))
    };
    let changes = Mutex::new(changes.into_iter());
    let unnoticed = Mutex::new(Vec::new());
    let work = || {
        while let Some(change) = { changes.lock().unwrap().next() } {
            if !is_noticed(&change) {
                unnoticed.lock().unwrap().push(change.name);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(4));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    unnoticed.into_inner().unwrap()
}

#[test]
fn every_rule_is_missed() {
    let mut rules = rules();
    assert!(rules.len() > 80, "the rules were not found");
    rules.retain(|rule| !NOT_IN_TIMELINES.contains(&rule.id.as_str()));
    let without = |rule: Place| Change {
        name: format!("{}: {}", rule.file, rule.id),
        layers: rule.switched_off(),
        words: rule.words,
    };
    let never_missed = unnoticed(rules.into_iter().map(without).collect());
    assert!(
        never_missed.is_empty(),
        "no timeline misses {never_missed:#?}"
    );
}

#[test]
fn every_value_of_the_rules_matters() {
    let values = yaml("values.yaml");
    let mut changes = Vec::new();
    for pointer in [
        "/grace/pods",
        "/grace/room",
        "/grace/hopeless",
        "/grace/start",
        "/grace/evidence",
        "/grace/mount",
        "/retention/passed/children",
        "/retention/passed/test",
        "/retention/failed/children",
        "/retention/failed/test",
    ] {
        let mut values = values.clone();
        let value = values.pointer_mut(pointer).unwrap();
        *value = "7s".into();
        let mut layer = Layer::built_in().files;
        layer.insert("values.yaml".into(), values.to_string());
        changes.push(Change {
            name: pointer.to_string(),
            layers: vec![layer.into()],
            words: Vec::new(),
        });
    }
    let ignored = unnoticed(changes);
    assert!(ignored.is_empty(), "no timeline is about {ignored:#?}");
}
