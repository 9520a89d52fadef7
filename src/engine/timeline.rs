//! What a timeline holds, and how what comes of it is written.

use super::notice::Notice;
use super::patch::merge;
use super::render::text;
use crate::bundle::problem::Problem;
use crate::bundle::{durations, tree};
use jiff::fmt::friendly::{Spacing, SpanPrinter};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// When timelines begin: 2026-01-01T00:00:00Z.
pub(super) const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// No timeline is longer than a year: its times are times of a calendar, and a rule may have a timer every second.
pub(super) const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// A test and what happens to it. Everything is a JSON merge patch (RFC 7386) onto what was there before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// The LocustTest as it was created, at `0s`.
    pub(super) test: Value,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Step {
    /// Time since the test was created: `0s`, `90s`, `2m5s`. Never before that of the step above.
    #[schemars(with = "String")]
    #[serde(deserialize_with = "duration")]
    pub(super) at: SignedDuration,
    /// The operator was not running when this happened; it starts again after it.
    #[serde(default)]
    pub(super) restart: bool,
    /// The watches were interrupted when this happened; then everything is listed again.
    #[serde(default)]
    pub(super) relist: bool,
    /// A change of the test.
    #[serde(default)]
    pub(super) test: Value,
    /// Changes of children by the name of their template; `null` is a deletion.
    #[serde(default)]
    pub(super) children: BTreeMap<String, Value>,
    /// Changes of pods by name; `null` is a deletion. A pod that is new names in `of` the child that made it, and
    /// has the labels and the spec of that child's pod template.
    #[serde(default)]
    pub(super) pods: BTreeMap<String, Value>,
    /// Kubernetes events that occur now.
    #[serde(default)]
    pub(super) events: Vec<KubernetesEvent>,
    /// Whether the API server fails to list events from now on.
    pub(super) lookups_fail: Option<bool>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = durations::parse(&text).filter(|d| !d.is_negative());
    read.ok_or_else(|| D::Error::custom(format!("`{text}` is not a duration: {}", durations::HELP)))
}

/// Why a timeline cannot be played.
#[derive(Debug)]
pub struct Stopped {
    /// The number of the step, from 0.
    pub(super) step: Option<usize>,
    pub(super) message: String,
}

impl From<String> for Stopped {
    fn from(message: String) -> Stopped {
        let step = None;
        Stopped { step, message }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Stopped {
    /// With the place of the step in the file of the timeline.
    pub fn problem(&self, file: &str, source: &str) -> Problem {
        let problem = Problem::new(file, &self.message);
        let place = || {
            let timeline = tree::parse(file, source, 0).ok()??;
            timeline.place(&format!("steps[{}]", self.step?))
        };
        match place() {
            Some(at) => problem.at(source, at.line, at.column),
            None => problem,
        }
    }
}

/// As far as rules ask for it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesEvent {
    /// The name of a pod, or of the template of a child.
    pub(super) about: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What changed in the status at one time, and what was said.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub at: String,
    /// Fields of the status by name and conditions by type, those that changed; `null` is one that went away.
    #[serde(flatten)]
    pub changes: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// What was done to the test and its children.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// When the rules are asked again though nothing happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks_again_at: Option<String>,
}

pub(super) fn since_beginning(time: Timestamp) -> SignedDuration {
    time.duration_since(BEGINNING)
}

/// As Kubernetes writes durations: `2m5s`.
pub(super) fn written(duration: SignedDuration) -> String {
    let printer = SpanPrinter::new().spacing(Spacing::None);
    printer.duration_to_string(&duration)
}

pub(super) fn line(notice: &Notice) -> String {
    format!("{:?} {}: {}", notice.kind, notice.reason, notice.message)
}

/// What of two statuses differs, with conditions in one line each.
pub(super) fn changes(before: &Value, after: &Value) -> Map<String, Value> {
    let (before, after) = (flat(before), flat(after));
    let mut changes = Map::new();
    for (name, value) in &after {
        if before.get(name) != Some(value) {
            changes.insert(name.clone(), value.clone());
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        changes.insert(name.clone(), Value::Null);
    }
    changes
}

fn flat(status: &Value) -> Map<String, Value> {
    let mut flat = Map::new();
    for (name, value) in status.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("conditions", Value::Array(conditions)) => {
                for c in conditions {
                    let line = format!(
                        "{} {}: {}",
                        text(c, "/status"),
                        text(c, "/reason"),
                        text(c, "/message")
                    );
                    flat.insert(text(c, "/type").to_string(), line.into());
                }
            }
            _ => {
                flat.insert(name.clone(), relative(value));
            }
        }
    }
    flat
}

/// Times as what they are in a timeline: since its beginning.
fn relative(value: &Value) -> Value {
    if let Value::Object(entries) = value {
        let entries = entries.iter();
        return entries.map(|(k, v)| (k.clone(), relative(v))).collect();
    }
    match value.as_str().and_then(|t| t.parse::<Timestamp>().ok()) {
        Some(time) => written(since_beginning(time)).into(),
        None => value.clone(),
    }
}

/// Patches an object of the cluster, which stays one.
pub(super) fn patch_object(
    object: &mut Value,
    patch: &Value,
    what: impl Display,
) -> Result<(), String> {
    merge(object, patch);
    // Also where `object` is no object.
    match object["metadata"].is_object() {
        true => Ok(()),
        false => Err(format!("the change of {what} leaves it without `metadata`")),
    }
}
