//! What the pure engine says of a test, and how far the one on the cluster differs from it.

use super::player::{Player, poll};
use crate::support::condition;
use lotest::bundle::Bundle;
use lotest::engine::timeline::Entry;
use serde_json::{Map, Value};

/// What the pure engine says up to some entry.
#[derive(Debug, Default, Clone)]
pub struct Said(Map<String, Value>);

impl Said {
    pub fn add(&mut self, entry: &Entry) {
        for (field, value) in &entry.changes {
            match value {
                Value::Null => self.0.remove(field),
                value => self.0.insert(field.clone(), value.clone()),
            };
        }
    }

    /// Empty when there is no test any more.
    pub fn phase(&self) -> &str {
        self.0
            .get("phase")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub fn has_ended(&self) -> bool {
        ["Succeeded", "Failed"].contains(&self.phase())
    }

    /// Type, `status reason` and message of each condition.
    fn conditions(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().filter_map(|(name, line)| {
            let (truth, message) = line.as_str()?.split_once(": ")?;
            let is_condition = name.starts_with(char::is_uppercase);
            is_condition.then_some((name.as_str(), truth, message))
        })
    }
}

impl<F: Fn() -> Bundle> Player<F> {
    /// Waits until the test is where the pure engine has it by now, or next. A Job may be quicker than in the timeline, where
    /// it follows its pods in a step of its own: then the test may have ended already.
    pub async fn until_agreed(
        &self,
        said: &Said,
        next: &Said,
        last: &Said,
        at: &str,
    ) -> Result<(), String> {
        let agrees = |test: &Value| {
            let ahead = last.has_ended() && test["status"]["phase"] == last.phase();
            let agrees = |said| differences(test, said, false).is_empty();
            ahead || agrees(said) || agrees(next)
        };
        self.wait(at, agrees, said, last, false).await
    }

    /// Waits until the test has come to the end that the pure engine has for it.
    pub async fn until_same(&self, last: &Said) -> Result<(), String> {
        // The Job controller has words of its own, and a Job with a time to live takes the evidence with it.
        let messages = !self.used_quota && !self.used_others && self.tells;
        let is_same = |test: &Value| differences(&self.as_played(test), last, messages).is_empty();
        self.wait("its end", is_same, last, last, messages).await
    }

    /// The test with the names that the timeline has for its pods.
    fn as_played(&self, test: &Value) -> Value {
        let mut text = test.to_string();
        for (name, pod) in &self.pods {
            text = text.replace(&pod.real, name);
        }
        serde_json::from_str(&text).unwrap()
    }

    async fn wait(
        &self,
        at: &str,
        agrees: impl Fn(&Value) -> bool,
        said: &Said,
        last: &Said,
        messages: bool,
    ) -> Result<(), String> {
        let mut test = Value::Null;
        let agreed = poll(self.patience, async || {
            test = self.room.get("LocustTest", &self.test).await?;
            let phase = &test["status"]["phase"];
            let has_ended = phase == "Succeeded" || phase == "Failed";
            match agrees(&test) {
                true => Some(true),
                // No test leaves a phase that is an end.
                false => (has_ended && phase != last.phase()).then_some(false),
            }
        });
        if agreed.await == Some(true) {
            return Ok(());
        }
        let differences = differences(&self.as_played(&test), said, messages).join("\n");
        Err(format!("at {at} the two do not agree:\n{differences}"))
    }
}

/// All that the verdicts come to, without what they say of it: phases, and truth and reason of conditions, one after
/// the other.
pub fn course(entries: &[Entry]) -> Vec<String> {
    let changes = entries.iter().flat_map(|e| &e.changes);
    let line = |(name, value): (&String, &Value)| {
        let text = value.as_str().unwrap_or_default();
        let is_condition = name.starts_with(char::is_uppercase);
        let truth = text.split(':').next().unwrap_or_default();
        (name == "phase" || is_condition).then(|| format!("{name} {truth}"))
    };
    changes.filter_map(line).collect()
}

/// Where a test differs from what the pure engine says.
pub fn differences(test: &Value, said: &Said, messages: bool) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, real: String, pure: &str| {
        if real != pure {
            differences.push(format!(
                "  {what}: on the cluster {real:?}, in the engine {pure:?}"
            ));
        }
    };
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    compare("phase", text(&test["status"]["phase"]), said.phase());
    // When it was is another matter.
    for time in ["startTime", "completionTime"] {
        let is_there = |there: bool| if there { "some" } else { "none" };
        let real = is_there(test["status"][time].is_string());
        compare(time, real.to_string(), is_there(said.0.contains_key(time)));
    }
    let expected = said.0.get("expectedWorkers").map(Value::to_string);
    let real = test["status"]["expectedWorkers"].to_string();
    compare("expectedWorkers", real, &expected.unwrap_or_default());
    for (kind, truth, message) in said.conditions() {
        let real = condition(test, kind);
        let is = format!("{} {}", text(&real["status"]), text(&real["reason"]));
        compare(kind, is, truth);
        // How many workers were left when a test failed is a matter of moments.
        let number = kind == "WorkersConnected" && said.phase() == "Failed";
        if messages && !number && !message.contains("pod(s) affected") {
            // The API server has one way to write a quantity.
            let message = message.replace("1024Mi", "1Gi");
            compare(kind, text(&real["message"]), &message);
        }
    }
    differences
}
