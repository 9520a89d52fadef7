//! Rules as they are written. Everything here comes straight from YAML; what it
//! means, and whether it makes sense, is decided in [`super::compile`].

use super::typed::Placed;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// `rules/signals.yaml`: one thing that a pod, a container or a child may suffer from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signal {
    pub id: Placed,
    pub on: On,
    pub when: Placed<Clause>,
    /// How long it must last before it counts: `2m`, or a path into the values.
    #[serde(rename = "for")]
    pub lasting: Option<Placed>,
    /// Path to the time that `for` counts from; the pod's (or child's) creation when left out
    /// or missing. `seen` is for what Kubernetes does not date: it is dated when it is first seen
    /// on any pod, in `firstSeen` of the test's status.
    pub since: Option<Placed>,
    /// Path to a time before which this could not begin: when it is later than `since`, `for` counts from it.
    pub not_before: Option<Placed>,
    /// Reasons of Kubernetes events about the pod (or child). The text of the latest of them is added
    /// to the message; it is looked up when the signal counts, and a few more times while there is none. When it last
    /// occurred is `said` of the signal.
    pub events: Option<Vec<String>>,
    /// The fields of the test that the message is about; they are added to it.
    pub names: Option<Vec<Names>>,
    pub reason: Placed,
    pub severity: Severity,
    /// The highest priority on a pod wins; each is given once.
    pub priority: Placed<u32>,
    pub message: Placed,
}

/// Which fields of the test a message is about.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Names {
    /// A regular expression over the message: the fields whose value is its first group are meant. With a group
    /// `beside`, only those where another field of the same map has the value of that.
    pub message: Placed,
    /// A regular expression over the paths of fields (`spec.env.secretRefs[0].name`); no others are meant.
    pub fields: Placed,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct On {
    /// Names of children (of their templates) whose pods are meant; all when left out.
    pub role: Option<Vec<Placed>>,
    pub each: Each,
    /// Classes of containers; all when left out. Only with `each: container`.
    pub class: Option<Vec<Class>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Each {
    Pod,
    Container,
    Child,
}

/// A native sidecar is an init container with `restartPolicy: Always`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    Main,
    Init,
    Sidecar,
}

/// What a signal does: `ignore` silences the lower rules of its pod; `info` is evidence, which other
/// rules and explain may show; `warn` is an event, `degraded` a condition, `fatal` a condition and a phase.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    Ignore,
    Info,
    Warn,
    Degraded,
    Fatal,
}

/// Exactly one of `path` with one operator, `all`, `any` and `not`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Clause {
    pub all: Option<Vec<Placed<Clause>>>,
    pub any: Option<Vec<Placed<Clause>>>,
    pub not: Option<Box<Placed<Clause>>>,
    pub path: Option<Placed>,
    pub eq: Option<Value>,
    pub ne: Option<Value>,
    #[serde(rename = "in")]
    pub one_of: Option<Vec<Value>>,
    pub not_in: Option<Vec<Value>>,
    pub prefix: Option<Value>,
    pub matches: Option<Placed>,
    pub exists: Option<bool>,
    pub absent: Option<bool>,
    pub gt: Option<Value>,
    pub gte: Option<Value>,
    pub lt: Option<Value>,
    pub lte: Option<Value>,
    /// A duration: the time at `path` is at most so long after the time at `of`.
    pub within: Option<Placed>,
    pub of: Option<Placed>,
}

/// `rules/phase.yaml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Phase {
    pub initial: Placed,
    /// Phases that a test never leaves.
    pub terminal: Vec<Placed>,
    /// A child that was like this when it was removed has done its work and is not made again.
    pub done: Option<Placed<Clause>>,
    /// The first that holds is taken.
    pub transitions: Vec<Transition>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transition {
    pub id: Placed,
    pub from: Vec<Placed>,
    pub to: Placed,
    pub when: Placed<Clause>,
    #[serde(rename = "for")]
    pub lasting: Option<Placed>,
    pub since: Option<Placed>,
    pub event: Option<Event>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventType,
    pub reason: Placed,
    pub message: Placed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
pub enum EventType {
    Normal,
    Warning,
}

/// `rules/conditions.yaml`: one condition type. The first case that holds is
/// its value; when none does, the test has no such condition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Placed,
    /// Keeps its last value once the phase is terminal: it then says how the test ended.
    #[serde(rename = "final", default)]
    pub kept: bool,
    /// Otherwise the stored condition stays.
    pub when: Option<Placed<Clause>>,
    pub cases: Vec<Case>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    pub id: Placed,
    /// Always, when left out.
    pub when: Option<Placed<Clause>>,
    #[serde(rename = "for")]
    pub lasting: Option<Placed>,
    pub since: Option<Placed>,
    pub status: ConditionStatus,
    pub reason: Placed,
    pub message: Placed,
    /// Sent when the condition changes to this case.
    pub event: Option<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// `rules/status.yaml`: one field of the status.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    pub field: Placed,
    /// Otherwise the stored value stays.
    pub when: Option<Placed<Clause>>,
    /// Where the value comes from. Exactly one of `path` and `now`.
    pub path: Option<Placed>,
    /// The time of the verdict, RFC 3339 in UTC, whole seconds.
    #[serde(default)]
    pub now: bool,
    /// When the path selects nothing and nothing is stored: a value, or `{path: ...}`.
    pub default: Option<Placed<Value>>,
    /// Written once; the stored value stays from then on.
    #[serde(default)]
    pub once: bool,
}

/// `rules/events.yaml`: the event for something that the operator itself did or found.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notice {
    pub id: Placed,
    pub on: Occasion,
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Occasion {
    /// A child was made. Root: `child` (`kind`, `name`).
    Created,
    /// A child is gone before the test ended. Root: `child`.
    Deleted,
    /// A template has something to say about the test. Root: `warning` (`message`).
    Warning,
}

/// `rules/actions.yaml`: what is done to objects of a test while something holds. Exactly one of
/// `patch` and `delete`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Action {
    pub id: Placed,
    pub on: ActionOn,
    pub when: Placed<Clause>,
    #[serde(rename = "for")]
    pub lasting: Option<Placed>,
    pub since: Option<Placed>,
    /// A JSON merge patch (RFC 7386), sent while the object does not have it already.
    pub patch: Option<Value>,
    /// Delete the object.
    #[serde(default)]
    pub delete: bool,
}

/// `rules/admission.yaml`: something that is legal but surely not meant, said to whoever applies the test. Roots: `test`,
/// `operation` (`CREATE` or `UPDATE`), `values`, and when a test is changed `oldTest`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admission {
    pub id: Placed,
    pub when: Placed<Clause>,
    /// What is wrong, and what to write instead. A line of a terminal holds 120 characters.
    pub message: Placed,
}

/// Exactly one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionOn {
    /// Names of children.
    pub children: Option<Vec<Placed>>,
    /// The test itself.
    #[serde(default)]
    pub test: bool,
}
