//! The pods of a timeline, each of which a real one plays: KWOK brings it into the states of the timeline.

use super::player::{Player, poll};
use super::steps::{is_disrupted, is_over, merge, translate};
use crate::pods::name;
use crate::support::uid;
use jiff::{SignedDuration, Timestamp};
use lotest::bundle::Bundle;
use serde_json::{Value, json};

/// A pod of the timeline and the real one that plays it.
pub struct Pod {
    pub real: String,
    pub stem: String,
    pub status: Value,
    pub ready: bool,
    /// It is deleted and not gone.
    pub goes: bool,
}

impl<F: Fn() -> Bundle> Player<F> {
    pub(super) async fn change_pods(
        &mut self,
        pods: &[(&String, &Value)],
        at: SignedDuration,
        has_ended: bool,
    ) -> Result<(), String> {
        // A pod that is new may come in place of one that ends in this very step.
        let (new, known): (Vec<_>, Vec<_>) = pods.iter().partition(|(_, c)| c.get("of").is_some());
        for (pod, change) in known {
            self.change_pod(pod, change, at, has_ended).await?;
        }
        for (pod, change) in new {
            let stem = change["of"].as_str().unwrap().to_string();
            let played = Pod {
                real: self.claim(&stem).await?,
                stem,
                status: json!({}),
                ready: false,
                goes: false,
            };
            self.pods.insert((*pod).clone(), played);
            self.change_pod(pod, change, at, has_ended).await?;
        }
        Ok(())
    }

    async fn change_pod(
        &mut self,
        pod: &str,
        change: &Value,
        at: SignedDuration,
        has_ended: bool,
    ) -> Result<(), String> {
        let Some(played) = self.pods.get_mut(pod) else {
            return Ok(()); // It went with its Job.
        };
        let real = played.real.clone();
        if change.is_null() {
            let gone = self.pods.remove(pod).unwrap();
            self.end(&gone).await;
            return Ok(());
        }
        let mut status = change["status"].clone();
        translate(&mut status, at);
        merge(&mut played.status, &status);
        let goes = change.pointer("/metadata/deletionTimestamp").is_some();
        if goes {
            played.goes = true;
            let stays = json!({"metadata": {"annotations": {"kwok.lotest/ends": "when-told"}}});
            self.patch("Pod", &real, stays).await;
            // What is true of a pod when it is deleted is written before.
            self.write(pod).await;
            self.delete("Pod", &real).await;
            return Ok(());
        }
        match self.write(pod).await {
            Some(()) => Ok(()),
            // The pods of a test that has failed are gone.
            None if has_ended || self.pods[pod].goes || self.has_failed().await => Ok(()),
            None => Err(format!("the pod {real} is gone")),
        }
    }

    /// Has a pod end and go.
    async fn end(&mut self, pod: &Pod) {
        let is_counted = is_over(&json!({"status": pod.status})) || is_disrupted(&pod.status);
        if !is_counted {
            self.bereft.insert(pod.stem.clone());
        }
        let ends = json!({"metadata": {"annotations": {"kwok.lotest/ends": null}}});
        self.patch("Pod", &pod.real, ends).await;
        self.delete("Pod", &pod.real).await;
    }

    /// Has a pod be as the timeline says; None when it is gone.
    pub(super) async fn write(&self, pod: &str) -> Option<()> {
        let pod = &self.pods[pod];
        let mut state = pod.status.clone();
        let fields = state.as_object_mut().unwrap();
        let spec = self.room.get("Pod", &pod.real).await?["spec"].take();
        for (statuses, specs) in [
            ("containerStatuses", "containers"),
            ("initContainerStatuses", "initContainers"),
        ] {
            let told = fields.get_mut(statuses).and_then(Value::as_array_mut);
            for status in told.into_iter().flatten() {
                let mut containers = spec[specs].as_array().into_iter().flatten();
                let container = containers.find(|c| c["name"] == status["name"]);
                let image = &container.expect("a container of the pod")["image"];
                let mut whole =
                    json!({"image": image, "imageID": "", "ready": false, "restartCount": 0});
                merge(&mut whole, status);
                *status = whole;
            }
        }
        if pod.ready {
            let mut conditions = fields.get("conditions").cloned().unwrap_or(json!([]));
            let now = format!("{:.0}", Timestamp::now());
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
            conditions.as_array_mut().unwrap().push(ready);
            fields.insert("conditions".into(), conditions);
        }
        self.room.bring_into(&pod.real, &state).await
    }

    /// A real pod for one of the timeline.
    async fn claim(&self, stem: &str) -> Result<String, String> {
        let (kind, job) = self.children[stem].clone();
        let found = poll(self.patience, async || {
            let job = self.room.get(&kind, &job).await?;
            let mut free = self.free(uid(&job)).await;
            // The scheduler would write over what is written before it.
            free.retain(|p| p["spec"]["nodeName"].is_string() && !is_over(p));
            Some(name(free.first()?).to_string())
        });
        found
            .await
            .ok_or_else(|| format!("{stem} makes no more pods"))
    }

    /// The pods of a Job that play none of the timeline.
    pub(super) async fn free(&self, job: &str) -> Vec<Value> {
        let mut pods = self.room.list("Pod").await;
        let taken = |p: &Value| self.pods.values().any(|played| played.real == name(p));
        pods.retain(|p| {
            let metadata = &p["metadata"];
            let goes = metadata.get("deletionTimestamp").is_some();
            metadata["ownerReferences"][0]["uid"] == job && !taken(p) && !goes
        });
        pods
    }
}
