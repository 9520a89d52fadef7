//! Which timelines a real control plane can be driven through.

use super::steps::{Ends, at, is_disrupted, is_over, makes_pods, merge, object};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whether something keeps the Jobs from making their pods: it is said, or there are none for long.
pub fn needs_quota(steps: &[Value]) -> bool {
    let refused = |e: &Value| e["reason"] == "FailedCreate";
    let mut events = steps
        .iter()
        .filter_map(|s| s["events"].as_array())
        .flatten();
    let early = |s: &&Value| at(s) < SignedDuration::from_mins(1);
    events.any(refused) || !steps.iter().filter(early).any(makes_pods)
}

/// Why a control plane is never in the states of a timeline; `None` when it is. `end` is when its test ends.
pub fn why_impossible(
    timeline: &Value,
    end: Option<SignedDuration>,
    jobs_remove_themselves: bool,
) -> Option<String> {
    let mut read = Read {
        jobs: BTreeMap::new(),
        pods: BTreeMap::new(),
        end,
        jobs_remove_themselves,
    };
    read.why_impossible(timeline)
}

/// A timeline as far as it was read.
struct Read {
    end: Option<SignedDuration>,
    jobs_remove_themselves: bool,
    jobs: BTreeMap<String, Value>,
    /// With the Job of each.
    pods: BTreeMap<String, (String, Value)>,
}

impl Read {
    fn why_impossible(&mut self, timeline: &Value) -> Option<String> {
        let volumes = timeline["test"]["spec"]["volumes"].as_array();
        let claims = |v: &Value| v.get("persistentVolumeClaim").is_some();
        if volumes.is_some_and(|all| all.iter().any(claims)) {
            return Some("nobody makes its volume".into());
        }
        for step in timeline["steps"].as_array().unwrap() {
            if let Some(why) = self.step(step) {
                return Some(why);
            }
            let workers = self.pods.values().filter(|(job, status)| {
                job == "worker-job" && !is_over(&json!({"status": status}))
            });
            let wanted = timeline["test"]["spec"]["worker"]["replicas"].as_u64();
            if workers.count() as u64 > wanted.unwrap_or(1) {
                return Some("it has more workers than its Job makes".into());
            }
        }
        self.why_not_at_last()
    }

    fn step(&mut self, step: &Value) -> Option<String> {
        if step["test"].is_null() && step.get("test").is_some() {
            return Some("the test itself is deleted".into());
        }
        if step["relist"] == true || step.get("lookupsFail").is_some() {
            return Some("the API server is not out of reach".into());
        }
        if step["test"].get("status").is_some() || step["test"].get("metadata").is_some() {
            return Some("it writes the metadata or the status of the test".into());
        }
        for (stem, change) in object(&step["children"]) {
            if change.is_null() && self.jobs_remove_themselves {
                return Some("Jobs that remove themselves do so when they like".into());
            }
            if change.is_null() {
                self.jobs.remove(stem);
                self.pods.retain(|_, (job, _)| job != stem);
                continue;
            }
            let job = self.jobs.entry(stem.clone()).or_default();
            merge(job, &change["status"]);
            if let Some(suspend) = change.pointer("/spec/suspend") {
                merge(job, &json!({"suspend": suspend}));
            }
        }
        for (pod, change) in object(&step["pods"]) {
            if change.is_null() && !self.pods.contains_key(pod) {
                continue; // It went with its Job.
            }
            if change.get("spec").is_some() {
                return Some("its pods have another spec than those of the Jobs".into());
            }
            let entry = self.pods.entry(pod.clone()).or_default();
            if let Some(of) = change["of"].as_str() {
                entry.0 = of.to_string();
            }
            merge(&mut entry.1, &change["status"]);
            let gone = change.is_null();
            if gone || change.pointer("/metadata/deletionTimestamp").is_some() {
                let (job, status) = &self.pods[pod];
                let has_ended = self.end.is_some_and(|end| end < at(step));
                if !has_ended && !self.may_be_deleted(job, status, gone) {
                    return Some(format!(
                        "{pod} is deleted, which its Job counts as a failure"
                    ));
                }
            }
            if gone {
                self.pods.remove(pod);
            }
        }
        None
    }

    /// A pod that is deleted counts as failed: the master's at once, a worker's when it ends and no node is why.
    fn may_be_deleted(&self, job: &str, status: &Value, gone: bool) -> bool {
        let of = self.jobs.get(job).unwrap_or(&Value::Null);
        let ends = Ends::of(of);
        let is_worker = job == "worker-job";
        is_over(&json!({"status": status}))
            || ends.over()
            || of["suspend"] == true
            || is_worker && (!gone || is_disrupted(status))
    }

    fn why_not_at_last(&self) -> Option<String> {
        for (pod, (stem, status)) in &self.pods {
            let ends = Ends::of(self.jobs.get(stem).unwrap_or(&Value::Null));
            let borne = is_disrupted(status) && stem == "worker-job";
            if status["phase"] == "Failed" && !ends.failed && !borne {
                return Some(format!("{pod} fails, and its Job does not"));
            }
            if status["phase"] == "Succeeded" && !ends.complete && stem == "master-job" {
                return Some(format!("{pod} ends well, and its Job does not"));
            }
        }
        let all = self.jobs.values();
        let mut conditions = all.filter_map(|j| j["conditions"].as_array()).flatten();
        let reason = conditions.find_map(|c| {
            [
                "DeadlineExceeded",
                "PodFailurePolicy",
                "FailedIndexes",
                "MaxFailedIndexesExceeded",
            ]
            .into_iter()
            .find(|r| c["reason"] == **r)
        });
        reason.map(|reason| format!("the Jobs never end with {reason}"))
    }
}
