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

/// Sends an event about a test as it was. Events are best effort: what cannot be
/// sent is logged.
pub async fn send(client: &Client, test: &Value, notice: &Notice) {
    send_about(
        client,
        test,
        text(test, "/metadata/resourceVersion"),
        notice,
    )
    .await;
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

/// The same for the same occurrence and what is said of it. `kubectl get events` sorts by name, so a version of the
/// test, which grows with time, comes first.
fn event_name(test: &Value, occurrence: &str, notice: &Notice) -> String {
    let mut hash = Sha256::new();
    for part in [
        text(test, "/metadata/uid"),
        occurrence,
        &notice.reason,
        &notice.message,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let version: u64 = occurrence.parse().unwrap_or_default();
    let hash = format!("{:x}", hash.finalize());
    format!(
        "{}.{version:012x}{}",
        text(test, "/metadata/name"),
        &hash[..8]
    )
}
