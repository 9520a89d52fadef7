//! Kubernetes events about tests. An event's name is made from what it says, so
//! that one occurrence is one event, whoever sends it how often. They are of the
//! core group: `kubectl describe` sorts by a time that only those may set.

use super::MANAGER;
use crate::engine::lookup::{Answer, Question, Said};
use crate::engine::notice::Notice;
use crate::engine::render::text;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The API's limit for the note of an event, in bytes.
const MAX_NOTE: usize = 1024;

/// Sends an event about a test as it was: what it says follows from the status as it was stored, so that status is the
/// occurrence. Whoever concludes the same from it again, after a restart or because the test was changed meanwhile,
/// sends the same event. Events are best effort: what cannot be sent is logged.
pub async fn send(client: &Client, test: &Value, notice: &Notice) {
    let status = test.get("status").map(Value::to_string);
    send_about(client, test, &status.unwrap_or_default(), notice).await;
}

/// Sends an event about an occurrence that has an identity of its own.
pub async fn send_about(client: &Client, test: &Value, occurrence: &str, notice: &Notice) {
    let namespace = text(test, "/metadata/namespace");
    let name = text(test, "/metadata/name");
    let mut note = notice.message.clone();
    if note.len() > MAX_NOTE {
        let end = note.floor_char_boundary(MAX_NOTE - '…'.len_utf8());
        note.truncate(end);
        note.push('…');
    }
    let now = format!("{:.0}", Timestamp::now());
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event_name(test, occurrence, notice)},
        "type": notice.kind,
        "reason": notice.reason,
        "message": note,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": MANAGER,
        "involvedObject": {
            "apiVersion": text(test, "/apiVersion"),
            "kind": text(test, "/kind"),
            "namespace": namespace,
            "name": name,
            "uid": text(test, "/metadata/uid"),
        },
    });
    let event: Event = match serde_json::from_value(event) {
        Ok(event) => event,
        Err(e) => {
            tracing::error!(error = %e, "an event could not be made");
            return;
        }
    };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => {}
        Err(kube::Error::Api(e)) if e.reason == "AlreadyExists" => {}
        Err(e) => {
            let error = super::with_causes(&e);
            tracing::warn!(
                test = format!("{namespace}/{name}"),
                error,
                reason = notice.reason,
                "an event could not be sent"
            );
        }
    }
}

/// Looks up the events that a signal asks for. Events cannot be watched by label, so they are listed, when the signal
/// counts.
pub async fn look_up(client: &Client, test: &Value, question: &Question) -> Answer {
    let api: Api<Event> = Api::namespaced(client.clone(), text(test, "/metadata/namespace"));
    let about = ListParams::default().fields(&format!("involvedObject.uid={}", question.about.uid));
    let events = match api.list(&about).await {
        Ok(events) => events,
        Err(e) => {
            let error = super::with_causes(&e);
            tracing::warn!(error, "events could not be listed");
            return Answer::Failed;
        }
    };
    let asked = |event: &Event| {
        let reason = event.reason.as_ref();
        reason.is_some_and(|r| question.reasons.contains(r))
    };
    let events = events.items.into_iter().filter(asked);
    let said = events.map(|event| Said {
        at: last_occurred(&event),
        message: event.message.unwrap_or_default(),
    });
    Answer::Events(said.collect())
}

/// Old and new senders of events date them in different fields.
fn last_occurred(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref();
    let dates = [
        series
            .and_then(|s| s.last_observed_time.as_ref())
            .map(|t| t.0),
        event.last_timestamp.as_ref().map(|t| t.0),
        event.event_time.as_ref().map(|t| t.0),
    ];
    let created = event.metadata.creation_timestamp.as_ref().map(|t| t.0);
    dates.into_iter().flatten().max().or(created)
}

/// The same for the same occurrence and what is said of it. `kubectl get events` sorts by name, so the latest time in the
/// status comes first.
fn event_name(test: &Value, occurrence: &str, notice: &Notice) -> String {
    let (occurrence, message) = match &notice.occurrence {
        Some(own) => (own.as_str(), ""),
        None => (occurrence, notice.message.as_str()),
    };
    let mut hash = Sha256::new();
    for part in [
        text(test, "/metadata/uid"),
        occurrence,
        &notice.reason,
        message,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    // A child is known by its uid alone, whatever has become of the test.
    let status: Option<Value> = serde_json::from_str(occurrence).ok();
    let latest = status.as_ref().map_or(0, latest_time);
    let hash = format!("{:x}", hash.finalize());
    format!(
        "{}.{latest:012x}{}",
        text(test, "/metadata/name"),
        &hash[..8]
    )
}

/// The latest time that a value says, in seconds; 0 when it says none.
fn latest_time(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.parse().map_or(0, |t: Timestamp| t.as_second().max(0)),
        Value::Array(entries) => entries.iter().map(latest_time).max().unwrap_or(0),
        Value::Object(entries) => entries.values().map(latest_time).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rule::EventType;

    fn name(version: &str, status: Value, message: &str, occurrence: Option<&str>) -> String {
        let test = json!({"metadata": {"name": "load", "uid": "u", "resourceVersion": version}, "status": status});
        let notice = Notice {
            kind: EventType::Warning,
            reason: "Reason".into(),
            message: message.into(),
            occurrence: occurrence.map(str::to_string),
        };
        let status = test["status"].to_string();
        event_name(&test, &status, &notice)
    }

    #[test]
    fn what_follows_from_the_same_status_is_the_same_event() {
        let status =
            |time: &str| json!({"phase": "Pending", "conditions": [{"lastTransitionTime": time}]});
        let (first, later) = (
            status("2026-01-01T00:00:00Z"),
            status("2026-01-01T00:00:01Z"),
        );
        let event = name("1", first.clone(), "a", None);
        assert_eq!(event, name("2", first.clone(), "a", None));
        assert_ne!(event, name("1", first.clone(), "b", None));
        assert!(event < name("1", later.clone(), "a", None));
        // So is what happened to a child.
        let child = |status: &Value| {
            let test = json!({"metadata": {"name": "load", "uid": "u"}, "status": status});
            let notice = Notice {
                kind: EventType::Normal,
                reason: "Created".into(),
                message: "Created Job load".into(),
                occurrence: None,
            };
            event_name(&test, "a-uid", &notice)
        };
        assert_eq!(child(&first), child(&later));
        // A signal that is warned of is known by its rule and its date, whatever became of the test since.
        let warning = name("1", first.clone(), "on one pod", Some("no-room since 1"));
        assert_eq!(
            warning,
            name("2", later, "on two pods", Some("no-room since 1"))
        );
        assert_ne!(
            warning,
            name("1", first, "on one pod", Some("no-room since 2"))
        );
    }
}
