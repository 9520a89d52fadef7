//! Drives a control plane through a golden timeline: it takes the steps, of which those of pods are the kubelet's
//! ([`pods`](super::pods)) and those of Jobs the Job controller's ([`jobs`](super::jobs)).

use super::jobs::Quota;
use super::pods::Pod;
use super::possible::needs_quota;
use super::steps::{Ends, at, merge, object};
use crate::operators::InProcess;
use crate::pods::name;
use crate::support::{Room, uid};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lotest::bundle::Bundle;
use lotest::engine::render::render;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Anything may take so long; a grace is part of it.
const PATIENCE: Duration = Duration::from_secs(75);

pub struct Player<F: Fn() -> Bundle> {
    pub(super) room: Room,
    pub(super) test: String,
    make: F,
    operator: Option<InProcess>,
    /// Kind and name of a child by its stem.
    pub(super) children: BTreeMap<String, (String, String)>,
    /// What the timeline says of the Jobs: their status.
    pub(super) jobs: BTreeMap<String, Value>,
    /// Whether the timeline suspends a Job, or resumes it.
    pub(super) suspended: BTreeMap<String, bool>,
    /// Jobs of which a pod was deleted that counts as failed.
    pub(super) bereft: BTreeSet<String>,
    pub(super) pods: BTreeMap<String, Pod>,
    /// Pods end that the timeline does not name.
    pub(super) used_others: bool,
    pub(super) names_pods: bool,
    pub(super) quota: Option<Quota>,
    pub(super) used_quota: bool,
    /// What conditions say is compared to the word.
    pub tells: bool,
    pub patience: Duration,
}

impl<F: Fn() -> Bundle> Player<F> {
    pub async fn start(case: &str, timeline: &Value, make: F) -> Player<F> {
        let mut test = timeline["test"].clone();
        for role in ["master", "worker"] {
            let annotations = &mut test["spec"][role]["annotations"];
            annotations["kwok.lotest/behaviour"] = "manual".into();
        }
        // Where the pods run is said in their status.
        test["spec"].as_object_mut().unwrap().remove("scheduling");
        let steps = timeline["steps"].as_array().unwrap();
        let quota = needs_quota(steps).then(|| Quota::of(&mut test));
        let bundle = make();
        let typed = lotest::api::v2::LocustTest::parse_strict(test.clone()).unwrap();
        let rendered = render(&bundle, &typed.to_value()).unwrap().children;
        let children = rendered.iter().map(|c| {
            let named = (c.kind().to_string(), c.name().to_string());
            (c.stem.clone(), named)
        });
        let room: String = case.chars().take(40).collect();
        let room = Room::new(room.trim_end_matches('-')).await;
        let mut player = Player {
            test: name(&test).to_string(),
            children: children.collect(),
            jobs: BTreeMap::new(),
            suspended: BTreeMap::new(),
            bereft: BTreeSet::new(),
            pods: BTreeMap::new(),
            used_others: false,
            names_pods: steps.iter().any(|s| s.get("pods").is_some()),
            used_quota: quota.is_some(),
            quota,
            operator: None,
            tells: true,
            patience: PATIENCE,
            room,
            make,
        };
        if let Some(quota) = &player.quota {
            quota.make(&player.room).await;
        }
        player.operator = Some(player.room.operator_of(bundle).await);
        player.room.create(test).await;
        player
    }

    /// Takes a step of the timeline; `has_ended` says that the test has by then.
    pub async fn step(&mut self, step: &Value, has_ended: bool) -> Result<(), String> {
        let restart = step["restart"] == true;
        if restart {
            self.operator = None;
        }
        if step.get("test").is_some() {
            self.patch("LocustTest", &self.test, step["test"].clone())
                .await;
        }
        for (stem, change) in object(&step["children"]) {
            self.change_child(stem, change).await?;
        }
        self.raise_quota().await;
        // Jobs that end in one step may not end at the same time.
        let mut ends: Vec<Option<String>> = self.jobs.keys().map(|j| self.end_of(j)).collect();
        ends.sort();
        ends.dedup();
        for (n, end) in ends.iter().enumerate() {
            let is_now = |stem: &str| match self.jobs.contains_key(stem) {
                true => self.end_of(stem) == *end,
                false => n == 0,
            };
            let (jobs, pods): (Vec<String>, Vec<(&String, &Value)>) = (
                self.jobs.keys().filter(|j| is_now(j)).cloned().collect(),
                object(&step["pods"])
                    .into_iter()
                    .filter(|(pod, change)| self.job_of(pod, change).is_some_and(is_now))
                    .collect(),
            );
            if n > 0 && !pods.is_empty() {
                until_next_second().await;
            }
            self.change_pods(&pods, at(step), has_ended).await?;
            if !has_ended {
                for stem in jobs {
                    self.lead_job(&stem).await?;
                }
            }
        }
        for event in step["events"].as_array().into_iter().flatten() {
            self.say(event).await?;
        }
        if restart {
            self.operator = Some(self.room.operator_of((self.make)()).await);
        }
        Ok(())
    }

    async fn change_child(&mut self, stem: &str, change: &Value) -> Result<(), String> {
        let (kind, name) = self.children[stem].clone();
        if change.is_null() {
            self.delete(&kind, &name).await;
            self.jobs.remove(stem);
            // Its pods go with it.
            self.pods.retain(|_, pod| pod.stem != stem);
            return Ok(());
        }
        let mut change = change.clone();
        if let Some(status) = change.as_object_mut().unwrap().remove("status") {
            merge(self.jobs.entry(stem.to_string()).or_default(), &status);
        }
        if let Some(suspend) = change.pointer("/spec/suspend").and_then(Value::as_bool) {
            self.suspended.insert(stem.to_string(), suspend);
        }
        if change != json!({}) {
            let there = poll(self.patience, async || self.room.get(&kind, &name).await).await;
            there.ok_or_else(|| format!("there is never a {kind} {name}"))?;
            self.patch(&kind, &name, change).await;
        }
        Ok(())
    }

    /// When the timeline has a Job end.
    fn end_of(&self, stem: &str) -> Option<String> {
        let job = &self.jobs[stem];
        let mut conditions = job["conditions"].as_array().into_iter().flatten();
        let first = conditions.find(|c| Ends::of(&json!({"conditions": [c]})).over())?;
        first["lastTransitionTime"].as_str().map(String::from)
    }

    fn job_of<'a>(&'a self, pod: &str, change: &'a Value) -> Option<&'a str> {
        let known = self.pods.get(pod).map(|p| p.stem.as_str());
        known.or(change["of"].as_str())
    }

    pub(super) async fn has_failed(&self) -> bool {
        let test = self.room.get("LocustTest", &self.test).await;
        test.is_some_and(|t| t["status"]["phase"] == "Failed")
    }

    /// Deletes what may be gone already, as when its time to live is over.
    pub(super) async fn delete(&self, kind: &str, name: &str) {
        let _ = self
            .room
            .api(kind)
            .delete(name, &DeleteParams::background())
            .await;
    }

    /// The same for a change.
    pub(super) async fn patch(&self, kind: &str, name: &str, change: Value) {
        let api = self.room.api(kind);
        let patched = api
            .patch(name, &PatchParams::default(), &Patch::Merge(&change))
            .await;
        match patched {
            Err(kube::Error::Api(e)) if e.code == 404 => {}
            other => drop(other.unwrap()),
        }
    }

    async fn say(&self, event: &Value) -> Result<(), String> {
        let about = event["about"].as_str().unwrap();
        let (kind, of) = match self.pods.get(about) {
            Some(pod) => ("Pod".to_string(), pod.real.clone()),
            None => self
                .children
                .get(about)
                .cloned()
                .ok_or("an event about a pod that is gone")?,
        };
        if self.used_quota {
            return Ok(()); // The Job controller says it by itself.
        }
        let object = self
            .room
            .get(&kind, &of)
            .await
            .ok_or_else(|| format!("{kind} {of} is gone"))?;
        let now = format!("{:.0}", Timestamp::now());
        let event = json!({
            "metadata": {"generateName": "said-"},
            "type": "Warning",
            "reason": event["reason"],
            "message": event["message"],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "involvedObject": {"kind": kind, "name": of, "namespace": self.room.namespace, "uid": uid(&object)},
        });
        let event: Event = serde_json::from_value(event).unwrap();
        let api: Api<Event> = Api::namespaced(self.room.client.clone(), &self.room.namespace);
        api.create(&PostParams::default(), &event).await.unwrap();
        Ok(())
    }
}

/// Kubernetes dates to the second: what comes now is dated later than what came before.
async fn until_next_second() {
    let began = Timestamp::now().as_second();
    let later = async || (Timestamp::now().as_second() > began).then_some(());
    poll(PATIENCE, later).await;
}

/// Asks until there is an answer, or patience ends.
pub async fn poll<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}
