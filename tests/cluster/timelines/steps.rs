//! What steps of a timeline hold: changes, and the states of Jobs and pods that come of them.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// When timelines begin.
const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// When a step is taken.
pub fn at(step: &Value) -> SignedDuration {
    step["at"].as_str().unwrap().parse().unwrap()
}

/// The entries of an object; of anything else none.
pub fn object(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().into_iter().flatten().collect()
}

/// Dates of the timeline as dates of now, as far from each other.
pub fn translate(value: &mut Value, at: SignedDuration) {
    match value {
        Value::String(text) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                let ago = time.duration_since(BEGINNING + at);
                *text = format!("{:.0}", Timestamp::now() + ago);
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(|e| translate(e, at)),
        Value::Object(entries) => entries.values_mut().for_each(|e| translate(e, at)),
        _ => {}
    }
}

/// A JSON merge patch (RFC 7386) that keeps its nulls out.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(key);
            }
            value => merge(&mut target[key], value),
        }
    }
}

/// How a Job ends.
#[derive(Debug, PartialEq)]
pub struct Ends {
    pub failed: bool,
    pub complete: bool,
    pub suspended: bool,
}

impl Ends {
    pub fn of(status: &Value) -> Ends {
        let conditions = status["conditions"].as_array();
        let conditions: Vec<&Value> = conditions
            .into_iter()
            .flatten()
            .filter(|c| c["status"] == "True")
            .collect();
        let is = |kinds: &[&str]| {
            conditions
                .iter()
                .any(|c| kinds.iter().any(|k| c["type"] == *k))
        };
        Ends {
            failed: is(&["FailureTarget", "Failed"]),
            complete: is(&["SuccessCriteriaMet", "Complete"]),
            suspended: is(&["Suspended"]),
        }
    }

    pub fn over(&self) -> bool {
        self.failed || self.complete
    }
}

pub fn is_over(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

/// Whether the node of a pod is why it ends.
pub fn is_disrupted(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut true_ones = conditions.filter(|c| c["status"] == "True");
    true_ones.any(|c| c["type"] == "DisruptionTarget")
}

pub fn makes_pods(step: &Value) -> bool {
    let number = |c: &Value, key: &str| c["status"][key].as_u64().unwrap_or(0);
    let jobs = object(&step["children"]);
    let some = jobs.into_iter().any(|(_, c)| {
        number(c, "active") + number(c, "succeeded") > 0 || Ends::of(&c["status"]).over()
    });
    some || !object(&step["pods"]).is_empty()
}
