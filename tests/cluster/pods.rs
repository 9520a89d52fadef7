//! Pods that a test plays with: they are found, told how to behave (see README.md), and given a status.

use crate::idle::logged;
use crate::operators::audit;
use crate::support::{Room, until};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub fn has_ended(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

impl Room {
    /// The pods of a test and role, as they are now; the oldest first.
    pub async fn pods_of(&self, test: &str, role: &str) -> Vec<Value> {
        let mut pods = self.list("Pod").await;
        let label = format!("{test}-{role}");
        pods.retain(|p| p["metadata"]["labels"]["performance-test-pod-name"] == *label);
        pods.sort_by_key(|p| {
            let created = p["metadata"]["creationTimestamp"].as_str().unwrap();
            (created.to_string(), name(p).to_string())
        });
        pods
    }

    /// Waits until so many pods of a test and role run.
    pub async fn until_running(&self, test: &str, role: &str, count: usize) -> Vec<Value> {
        until(
            &format!("{count} running pods of {test}-{role}"),
            async || {
                let mut pods = self.pods_of(test, role).await;
                pods.retain(|p| p["status"]["phase"] == "Running");
                (pods.len() == count).then_some(pods)
            },
        )
        .await
    }

    /// Changes how a pod behaves from now on.
    pub async fn tell(&self, pod: &Value, annotations: &[(&str, &str)]) {
        let mut all = json!({});
        for (key, value) in annotations {
            all[format!("kwok.lotest/{key}")] = (*value).into();
        }
        self.patch("Pod", name(pod), json!({"metadata": {"annotations": all}}))
            .await;
    }

    /// Lets a pod end well.
    pub async fn end(&self, pod: &Value) {
        self.tell(pod, &[("behaviour", "run"), ("run-for", "1s")])
            .await;
    }

    /// Lets a pod end with exit code 1.
    pub async fn break_down(&self, pod: &Value) {
        self.tell(pod, &[("behaviour", "fail"), ("run-for", "1s")])
            .await;
    }

    /// Has the simulated kubelet bring a pod of behaviour `manual` into a state, and waits until it has. None when the
    /// pod is gone, or goes.
    pub async fn bring_into(&self, pod: &str, state: &Value) -> Option<()> {
        let told = json!({"metadata": {"annotations": {"kwok.lotest/status": state.to_string()}}});
        let pods = self.api("Pod");
        let told = pods
            .patch(pod, &PatchParams::default(), &Patch::Merge(told))
            .await;
        match told {
            Err(kube::Error::Api(e)) if e.code == 404 => return None,
            other => other.unwrap(),
        };
        until(&format!("the state {state} of {pod}"), async || {
            let Some(now) = self.get("Pod", pod).await else {
                return Some(None);
            };
            let metadata = &now["metadata"];
            let goes = metadata.get("deletionTimestamp").is_some()
                && (has_ended(&now) || metadata["annotations"]["kwok.lotest/ends"] != "when-told");
            match holds(&now["status"], state) {
                true => Some(Some(())),
                false => goes.then_some(None),
            }
        })
        .await
    }

    /// How often the operator made an object of this name so far: an apply that creates is answered with 201.
    pub async fn times_made(&self, resource: &str, name: &str) -> usize {
        logged(self).await;
        let made = self.requests().into_iter().filter(|r| {
            r["objectRef"]["resource"] == resource
                && r["objectRef"]["name"] == name
                && r["responseStatus"]["code"] == 201
        });
        made.count()
    }

    /// The deletions that the operator has asked for so far: `<resource>/<name>` and when.
    pub async fn deletions(&self) -> Vec<(String, String)> {
        logged(self).await;
        let all = audit().into_iter().filter(|r| {
            r["objectRef"]["namespace"] == *self.namespace
                && r["verb"] == "delete"
                && r["user"]["username"] == crate::operators::OPERATOR
        });
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        all.map(|r| {
            let of = &r["objectRef"];
            let what = format!("{}/{}", text(&of["resource"]), text(&of["name"]));
            (what, text(&r["requestReceivedTimestamp"]))
        })
        .collect()
    }
}

/// Whether a status has all that a state has. The API server adds fields to the entries of a list.
fn holds(status: &Value, state: &Value) -> bool {
    match (status, state) {
        (Value::Object(status), Value::Object(state)) => state
            .iter()
            .all(|(key, value)| holds(status.get(key).unwrap_or(&Value::Null), value)),
        (Value::Array(status), Value::Array(state)) => {
            status.len() == state.len() && status.iter().zip(state).all(|(a, b)| holds(a, b))
        }
        // What is empty or zero may be left out.
        (Value::Null, state) => {
            [json!({}), json!([]), json!(""), json!(0), json!(false)].contains(state)
        }
        _ => status == state,
    }
}
