//! The golden timelines on a real control plane: the operator makes the Jobs, the Job controller their pods, and KWOK
//! brings the pods into the states of the timeline. The test ends as the pure engine says it does.
//!
//! Only the order of what happens is kept, not its dates: each step is taken when the test is where the pure engine
//! has it by then, and a grace that passes between two steps is waited for. The grace is shorter here, so that minutes
//! are seconds.
//!
//! Of timelines whose verdicts are the same but for their words, one is played. `LOTEST_TEST_TIMELINE` plays those whose
//! names contain it instead; with an empty one, all.

mod agreement;
mod jobs;
mod player;
mod pods;
mod possible;
mod steps;

use agreement::{Said, course};
use futures::StreamExt;
use jiff::SignedDuration;
use lotest::bundle::{Bundle, Layer};
use lotest::engine::replay::replay;
use lotest::engine::timeline::{Entry, Timeline};
use player::Player;
use possible::why_impossible;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// So many timelines are played at the least.
const AT_LEAST: usize = 40;

/// So many are played at a time.
const AT_A_TIME: usize = 30;

/// What `grace` of the values is here.
const GRACE: &[(&str, &str)] = &[
    ("pods: 2m", "pods: 15s"),
    ("room: 10m", "room: 40s"),
    ("mount: 2m10s", "mount: 20s"),
];

/// A control plane that is busy may not come to a step before a grace is over. When all have been played, those get more
/// time, and fewer are played at a time.
const MORE_GRACE: &[(&str, &str)] = &[
    ("pods: 2m", "pods: 45s"),
    ("room: 10m", "room: 110s"),
    ("mount: 2m10s", "mount: 50s"),
];
const MORE_PATIENCE: Duration = Duration::from_secs(180);
const FEWER_AT_A_TIME: usize = 10;

fn bundle(settings: &BTreeMap<String, String>, grace: &[(&str, &str)]) -> Bundle {
    let mut files = Layer::built_in().files;
    let values = files.get_mut("values.yaml").unwrap();
    for (from, to) in grace {
        assert!(values.contains(from), "{from} is not in values.yaml");
        *values = values.replace(from, to);
    }
    Bundle::load(&[files.clone().into()], settings).unwrap().0
}

/// A golden timeline with what the pure engine makes of it.
struct Case {
    name: String,
    timeline: Value,
    settings: BTreeMap<String, String>,
    entries: Vec<Entry>,
}

/// The bundles as they are delivered, by their settings: to load one takes longer than to replay a timeline.
type Delivered = BTreeMap<BTreeMap<String, String>, Arc<Bundle>>;

impl Case {
    fn read(directory: &Path, delivered: &mut Delivered) -> Case {
        let text = fs::read_to_string(directory.join("timeline.yaml")).unwrap();
        let settings = fs::read_to_string(directory.join("environment.yaml"));
        let settings: BTreeMap<String, String> = settings.map_or_else(
            |_| BTreeMap::new(),
            |text| serde_saphyr::from_str(&text).unwrap(),
        );
        let played: Timeline = serde_saphyr::from_str(&text).unwrap();
        let pure = delivered
            .entry(settings.clone())
            .or_insert_with(|| Arc::new(bundle(&settings, &[])));
        Case {
            name: directory.file_name().unwrap().to_str().unwrap().to_string(),
            timeline: serde_saphyr::from_str(&text).unwrap(),
            entries: replay(pure, &played).unwrap(),
            settings,
        }
    }

    fn why_impossible(&self) -> Option<String> {
        let mut said = Said::default();
        let mut ends = self.entries.iter().filter(|entry| {
            said.add(entry);
            said.has_ended()
        });
        let end = ends.next().map(|entry| entry.at.parse().unwrap());
        let ttl = self.settings.contains_key("JOB_TTL_SECONDS_AFTER_FINISHED");
        why_impossible(&self.timeline, end, ttl)
    }

    /// Plays it; says where the cluster leaves it.
    async fn play(&self, slowly: bool) -> Result<(), String> {
        let mut last = Said::default();
        for entry in &self.entries {
            last.add(entry);
        }
        let grace = if slowly { MORE_GRACE } else { GRACE };
        let make = || bundle(&self.settings, grace);
        let mut player = Player::start(&self.name, &self.timeline, make).await;
        player.tells = self.settings.is_empty();
        if slowly {
            player.patience = MORE_PATIENCE;
        }
        let mut steps = self.timeline["steps"].as_array().unwrap().iter().peekable();
        let mut said = Said::default();
        for (n, entry) in self.entries.iter().enumerate() {
            let had_ended = n > 0 && said.has_ended();
            said.add(entry);
            let at: SignedDuration = entry.at.parse().unwrap();
            let step = steps.next_if(|s| n > 0 && steps::at(s) == at);
            if let Some(step) = step {
                let taken = player.step(step, had_ended).await;
                taken.map_err(|why| format!("at {}: {why}", entry.at))?;
            }
            // The Job controller makes pods as soon as it can; in the timeline they come with the first step.
            if n > 0 {
                let mut next = said.clone();
                if let Some(entry) = self.entries.get(n + 1) {
                    next.add(entry);
                }
                player.until_agreed(&said, &next, &last, &entry.at).await?;
            }
        }
        assert!(
            steps.next().is_none(),
            "{}: every step is an entry",
            self.name
        );
        player.until_same(&last).await
    }
}

/// Plays some; gives back those that are not the same, and where.
async fn play_all(cases: Vec<&Case>, slowly: bool) -> Vec<(&Case, String)> {
    let at_a_time = if slowly { FEWER_AT_A_TIME } else { AT_A_TIME };
    let plays = cases.into_iter().map(async |case| {
        let why = case.play(slowly).await.err()?;
        println!("{}: {why}", case.name);
        Some((case, why))
    });
    let outcomes: Vec<_> = futures::stream::iter(plays)
        .buffer_unordered(at_a_time)
        .collect()
        .await;
    outcomes.into_iter().flatten().collect()
}

#[tokio::test]
async fn golden_timelines_end_on_a_cluster_as_in_the_pure_engine() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/timeline");
    let mut all: Vec<PathBuf> = fs::read_dir(all)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    // What was recorded has been played by a cluster already, and by a real one.
    all.retain(|path| !path.to_str().unwrap().contains("/recorded-"));
    all.sort();
    let mut delivered = Delivered::new();
    let read = all.iter().map(|path| Case::read(path, &mut delivered));
    let mut cases: Vec<Case> = read.collect();
    let only = std::env::var("LOTEST_TEST_TIMELINE").ok();
    cases.retain(|case| match case.why_impossible() {
        Some(why) => {
            println!("{}: not played: {why}", case.name);
            false
        }
        None => true,
    });
    let mut courses = BTreeSet::new();
    cases.retain(|case| match &only {
        Some(only) => case.name.contains(only),
        None => courses.insert(course(&case.entries)),
    });
    println!("{} of {} timelines are played", cases.len(), all.len());
    assert!(
        only.is_some() || cases.len() >= AT_LEAST,
        "{} of at least {AT_LEAST}",
        cases.len()
    );
    let again = play_all(cases.iter().collect(), false).await;
    println!("{} are played again, slowly", again.len());
    let again = again.into_iter().map(|(case, _)| case).collect();
    let differ = play_all(again, true).await;
    let differ: Vec<String> = differ
        .into_iter()
        .map(|(case, why)| format!("{}: {why}", case.name))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}
