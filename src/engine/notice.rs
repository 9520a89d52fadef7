//! Events for a person to read, made by rules: those of `rules/events.yaml` here, those of phases and conditions in
//! [`super::verdict`].

use super::path::Scope;
use super::render::text;
use super::rule::{Event, EventType, Occasion};
use crate::bundle::{Bundle, Secrets};
use serde_json::{Value, json};

/// An event to send, about the test.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Notice {
    #[serde(rename = "type")]
    pub kind: EventType,
    pub reason: String,
    pub message: String,
    /// What the event is about, when that has an identity of its own: then the same event is sent once, whatever the
    /// message says by the time that somebody looks again.
    #[serde(skip)]
    pub occurrence: Option<String>,
}

impl Event {
    pub fn notice(&self, scope: &dyn Scope) -> Notice {
        Notice {
            kind: self.kind,
            reason: self.reason.render(scope),
            message: self.message.render(scope),
            occurrence: None,
        }
    }
}

/// What to say when a child was made or is gone.
pub fn about_child(bundle: &Bundle, on: Occasion, child: &Value) -> Vec<Notice> {
    let facts = json!({
        "kind": text(child, "/kind"),
        "name": text(child, "/metadata/name"),
        "uid": text(child, "/metadata/uid"),
    });
    let root = Root {
        name: "child",
        facts,
        test: &Value::Null,
        bundle,
    };
    notices(on, &root)
}

/// What to say when a template has a warning about the test.
pub fn about_warning(bundle: &Bundle, test: &Value, message: &str) -> Vec<Notice> {
    let root = Root {
        name: "warning",
        facts: json!({"message": message}),
        test,
        bundle,
    };
    notices(Occasion::Warning, &root)
}

fn notices(on: Occasion, root: &Root) -> Vec<Notice> {
    let rules = root.bundle.rules.notices.iter().filter(|n| n.on == on);
    rules.map(|n| n.event.notice(root)).collect()
}

/// One root with its facts, and the test.
struct Root<'a> {
    name: &'static str,
    facts: Value,
    test: &'a Value,
    bundle: &'a Bundle,
}

impl Scope for Root<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "test" => Some(self.test),
            name if name == self.name => Some(&self.facts),
            _ => None,
        }
    }

    fn secrets(&self) -> Option<&Secrets> {
        Some(self.bundle.secrets())
    }
}
