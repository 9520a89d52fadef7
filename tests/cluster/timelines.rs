//! The golden timelines on a real control plane: the operator makes the Jobs, the Job controller their pods, and the
//! pods go through the states of the timeline. The test ends as the pure engine says it does.
//!
//! Only the order of what happens is kept, not its dates: each step is taken when the test is where the pure engine
//! has it by then, and a grace that passes between two steps is waited for. The grace is shorter here, so that minutes
//! are seconds.

use crate::player::{self, Cannot, Player};
use futures::StreamExt;
use jiff::SignedDuration;
use lotest::bundle::{Bundle, embedded};
use lotest::engine::replay::replay;
use lotest::engine::timeline::{Entry, Timeline};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// So many timelines can be driven at the least.
const AT_LEAST: usize = 60;

/// So many are played at a time.
const AT_A_TIME: usize = 20;

/// What `grace` of the values is here.
const GRACE: &[(&str, &str)] = &[
    ("pods: 2m", "pods: 15s"),
    ("room: 10m", "room: 40s"),
    ("mount: 2m10s", "mount: 20s"),
];

/// A control plane that is busy may not come to a step before a grace is over. Then it gets more time.
const MORE_GRACE: &[(&str, &str)] = &[
    ("pods: 2m", "pods: 45s"),
    ("room: 10m", "room: 110s"),
    ("mount: 2m10s", "mount: 50s"),
];
const MORE_PATIENCE: Duration = Duration::from_secs(180);

fn bundle(settings: &BTreeMap<String, String>, grace: &[(&str, &str)]) -> Bundle {
    let mut files = embedded();
    let values = files.get_mut("values.yaml").unwrap();
    for (from, to) in grace {
        assert!(values.contains(from), "{from} is not in values.yaml");
        *values = values.replace(from, to);
    }
    Bundle::load(&files, settings).unwrap().0
}

/// A golden timeline with what the pure engine makes of it.
struct Case {
    timeline: Value,
    settings: BTreeMap<String, String>,
    entries: Vec<Entry>,
}

impl Case {
    fn read(directory: &Path) -> Case {
        let text = fs::read_to_string(directory.join("timeline.yaml")).unwrap();
        let settings = fs::read_to_string(directory.join("environment.yaml"));
        let settings: BTreeMap<String, String> = settings.map_or_else(
            |_| BTreeMap::new(),
            |text| serde_saphyr::from_str(&text).unwrap(),
        );
        let played: Timeline = serde_saphyr::from_str(&text).unwrap();
        let pure = Arc::new(bundle(&settings, &[]));
        Case {
            timeline: serde_saphyr::from_str(&text).unwrap(),
            settings,
            entries: replay(&pure, &played).unwrap(),
        }
    }
}

/// What the pure engine says up to some entry.
#[derive(Debug, Default, Clone)]
pub struct Said(Map<String, Value>);

impl Said {
    fn add(&mut self, entry: &Entry) {
        for (field, value) in &entry.changes {
            match value {
                Value::Null => self.0.remove(field),
                value => self.0.insert(field.clone(), value.clone()),
            };
        }
    }

    pub fn phase(&self) -> &str {
        self.0["phase"].as_str().unwrap()
    }

    pub fn has_ended(&self) -> bool {
        ["Succeeded", "Failed"].contains(&self.phase())
    }

    /// Type, `status reason` and message of each condition.
    pub fn conditions(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let conditions = self.0.iter().filter_map(|(name, line)| {
            let (truth, message) = line.as_str()?.split_once(": ")?;
            let is_condition = name.starts_with(char::is_uppercase);
            is_condition.then_some((name.as_str(), truth, message))
        });
        conditions.into_iter()
    }
}

/// Plays one timeline; says why not when it cannot be.
async fn play(name: &str, case: &Case, slowly: bool) -> Result<(), Cannot> {
    let mut last = Said::default();
    for entry in &case.entries {
        last.add(entry);
    }
    if !last.0.contains_key("phase") {
        return Err(Cannot::Drive("the test itself is deleted".into()));
    }
    let steps = case.timeline["steps"].as_array().unwrap();
    let deletes = |s: &Value| {
        let children = s["children"].as_object();
        children.is_some_and(|c| c.values().any(Value::is_null))
    };
    if steps.iter().any(deletes) && case.settings.contains_key("JOB_TTL_SECONDS_AFTER_FINISHED") {
        return Err(Cannot::Drive(
            "Jobs that remove themselves do so when they like".into(),
        ));
    }
    let mut steps = steps.iter().peekable();
    let grace = if slowly { MORE_GRACE } else { GRACE };
    let make = || bundle(&case.settings, grace);
    let mut player = Player::start(name, &case.timeline, make).await?;
    player.tells = case.settings.is_empty();
    if slowly {
        player.patience = MORE_PATIENCE;
    }
    let mut said = Said::default();
    for (n, entry) in case.entries.iter().enumerate() {
        let had_ended = n > 0 && said.has_ended();
        said.add(entry);
        let at: SignedDuration = entry.at.parse().unwrap();
        let step = steps.next_if(|s| n > 0 && player::at(s) == at);
        if let Some(step) = step {
            player.step(step, had_ended).await?;
        }
        // The Job controller makes pods as soon as it can; in the timeline they come with the first step.
        if n > 0 {
            let mut next = said.clone();
            if let Some(entry) = case.entries.get(n + 1) {
                next.add(entry);
            }
            player.until_agreed(&said, &next, &last, &entry.at).await?;
        }
    }
    assert!(steps.next().is_none(), "{name}: every step is an entry");
    player.until_same(&last).await
}

#[tokio::test]
#[ignore = "takes minutes: make timelines"]
async fn golden_timelines_end_on_a_cluster_as_in_the_pure_engine() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/timeline");
    let only = std::env::var("LOTEST_TEST_TIMELINE").ok();
    let mut cases: Vec<PathBuf> = fs::read_dir(all)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    cases.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    cases.retain(|path| only.as_ref().is_none_or(|only| name(path).contains(only)));
    let plays = cases.iter().map(|path| async move {
        let case = Case::read(path);
        let name = name(path);
        let outcome = match play(&name, &case, false).await {
            Err(Cannot::Agree(why)) => {
                println!("{name}: again, slowly: {why}");
                play(&name, &case, true).await
            }
            other => other,
        };
        match &outcome {
            Ok(()) => println!("{name}: the same"),
            Err(Cannot::Drive(why)) => println!("{name}: skipped, {why}"),
            Err(Cannot::Agree(why)) => println!("{name}: {why}"),
        }
        (name, outcome)
    });
    let outcomes: Vec<_> = futures::stream::iter(plays)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;

    let mut differ = Vec::new();
    let mut driven = 0;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => driven += 1,
            Err(Cannot::Drive(_)) => {}
            Err(Cannot::Agree(why)) => differ.push(format!("{name}: {why}")),
        }
    }
    println!("{driven} of {} timelines were driven", cases.len());
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
    assert!(
        only.is_some() || driven >= AT_LEAST,
        "{driven} of {AT_LEAST}"
    );
}
