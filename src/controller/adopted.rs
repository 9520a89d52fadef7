//! What another operator started a test with: it is recorded as it runs, not as the templates would make it now.

use super::children::Found;
use crate::engine::render::Child;
use serde_json::Value;

/// Labels that the Job controller chose for the pods of this very Job.
const OF_THE_JOB: &[&str] = &[
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
];

/// Children with the specs of those that run already.
pub fn as_they_run(mut children: Vec<Child>, found: &Found) -> Vec<Child> {
    for child in &mut children {
        let running = found.ours.iter().find(|(stem, _)| *stem == child.stem);
        if let Some(spec) = running.and_then(|(_, object)| object.get("spec")) {
            child.object["spec"] = without_what_was_chosen(child.kind(), spec.clone());
        }
    }
    children
}

/// A spec that may be made again: without what the cluster chose for one object alone.
fn without_what_was_chosen(kind: &str, mut spec: Value) -> Value {
    let selected = spec.pointer("/selector/matchLabels");
    let is_chosen = selected.is_some_and(|l| l.get("batch.kubernetes.io/controller-uid").is_some());
    if let Some(fields) = spec.as_object_mut() {
        if is_chosen {
            fields.remove("selector");
        }
        if kind == "Service" {
            fields.remove("clusterIP");
            fields.remove("clusterIPs");
        }
    }
    if is_chosen && let Some(labels) = spec.pointer_mut("/template/metadata/labels") {
        let labels = labels.as_object_mut().into_iter();
        labels.for_each(|l| l.retain(|key, _| !OF_THE_JOB.contains(&key.as_str())));
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_is_recorded_without_what_was_chosen_for_it() {
        let child = |spec: Value| Child {
            stem: "job".into(),
            object: json!({"kind": "Job", "metadata": {"name": "a"}, "spec": spec}),
        };
        let running = json!({"spec": {
            "parallelism": 3,
            "ttlSecondsAfterFinished": 60,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
            "template": {"metadata": {"labels": {"app": "a", "controller-uid": "u", "job-name": "a"}}},
        }});
        let found = Found {
            ours: vec![("job".into(), running)],
            refused: Vec::new(),
        };
        let recorded = as_they_run(vec![child(json!({"parallelism": 1}))], &found);
        let wanted = json!({
            "parallelism": 3,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": {"app": "a"}}},
        });
        assert_eq!(recorded[0].object, child(wanted).object);
        let none = as_they_run(vec![child(json!({"parallelism": 1}))], &Found::default());
        assert_eq!(none[0].object["spec"], json!({"parallelism": 1}));
    }

    #[test]
    fn a_service_keeps_its_own_selector() {
        let spec =
            json!({"selector": {"app": "a"}, "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]});
        let kept = without_what_was_chosen("Service", spec);
        assert_eq!(kept, json!({"selector": {"app": "a"}}));
    }
}
