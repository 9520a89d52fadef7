//! What Kubernetes' events say to the questions of a verdict.

use super::render::text;
use super::signals::Question;
use serde_json::Value;

/// The text of the latest event about the object with one of the reasons that are asked for.
pub fn latest(events: &[Value], question: &Question) -> Option<String> {
    let asked = |event: &&Value| {
        text(event, "/involvedObject/uid") == question.about.uid
            && question.reasons.iter().any(|r| r == text(event, "/reason"))
    };
    let when = |event: &&Value| {
        let last = text(event, "/lastTimestamp");
        let time = if last.is_empty() {
            text(event, "/eventTime")
        } else {
            last
        };
        time.parse::<jiff::Timestamp>().ok()
    };
    let latest = events.iter().filter(asked).max_by_key(when)?;
    Some(text(latest, "/message").to_string())
}
