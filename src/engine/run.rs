//! The run of a test: what it was started with, and what the operator did for it since.

use super::facts::state;
use super::packed::Packed;
use super::render::Child;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the operator did for a test and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The digest of the bundle that the test was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The stems of the children that the test was started with.
    pub children: Vec<String>,
    /// What the children were started with, by stem, without their pods.
    #[serde(skip)]
    pub started: BTreeMap<String, Packed>,
    /// Stems of children that should be there and are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Those of them that nobody saw go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// Stems of children that were looked for by name and not found: a list may be older than a child, or not
    /// show one that has lost its labels.
    #[serde(skip)]
    pub looked_for: BTreeSet<String>,
    /// Children that could not be made: `child`, `apiVersion`, `kind`, `name`, `message`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Value>,
    /// Paths of the spec that differ from what the test was started with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// Templates and rules that fail for this test.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// When the test was started: its ControllerRevision was made.
    #[serde(skip)]
    pub since: Option<Timestamp>,
    /// By an operator that ran before: what came of it is not known.
    #[serde(skip)]
    pub taken_over: bool,
    /// The label selector of the pods of what the test was started with.
    #[serde(skip)]
    pub pod_selector: Option<String>,
    /// The spec that the test was started with.
    #[serde(skip)]
    pub spec: Option<Packed>,
    /// The children that are still to be made of what the test is started with. Nothing is said of the test until they are.
    #[serde(skip)]
    pub rest: Option<Packed>,
    /// After a failure: when to try again, unless the test asks for something
    /// else by then than it did (see [`super::drift::asked`]).
    #[serde(skip)]
    pub retry: Option<(Timestamp, u64)>,
}

/// What a test was started with: the data of its ControllerRevision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revision {
    pub spec: Value,
    /// The bundle's digest.
    pub bundle: String,
    /// The bundle's `podSelector`. Not known of a test that an older version of lotest has started.
    #[serde(
        rename = "podSelector",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub pod_selector: Option<String>,
    pub children: Vec<Child>,
}

impl Revision {
    /// The run of a test that another operator started with this at a time.
    pub fn taken_over(&self, started: Timestamp) -> Run {
        Run {
            taken_over: true,
            ..self.run(Some(started))
        }
    }

    /// The run of a test that was started with this at a time and for which nothing was done yet.
    pub fn run(&self, started: Option<Timestamp>) -> Run {
        Run {
            since: started,
            bundle: Some(self.bundle.clone()),
            pod_selector: self.pod_selector.clone(),
            children: self.children.iter().map(|c| c.stem.clone()).collect(),
            started: self
                .children
                .iter()
                .map(|c| (c.stem.clone(), Packed::new(&state(&c.object))))
                .collect(),
            spec: Some(Packed::new(&self.spec)),
            ..Run::default()
        }
    }
}
