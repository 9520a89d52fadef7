//! Drives a control plane through a golden timeline. What a kubelet would write is written into the pods; the Jobs are
//! left to the Job controller, whose pods end such that it comes to the same.

use crate::pods::name;
use crate::support::{InProcess, Room, condition, uid};
use crate::timelines::Said;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lotest::bundle::Bundle;
use lotest::engine::render::render;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Why a timeline was not played to its end.
#[derive(Debug)]
pub enum Cannot {
    /// A real control plane is never in such a state.
    Drive(String),
    /// It is, and something else comes of it.
    Agree(String),
}

fn never(why: impl Into<String>) -> Cannot {
    Cannot::Drive(why.into())
}

/// Anything may take so long; a grace is part of it.
const PATIENCE: Duration = Duration::from_secs(75);

/// When timelines begin.
const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// A pod of the timeline and the real one that plays it.
struct Pod {
    real: String,
    stem: String,
    status: Value,
    ready: bool,
}

pub struct Player<F: Fn() -> Bundle> {
    room: Room,
    test: String,
    make: F,
    operator: Option<InProcess>,
    /// Kind and name of a child by its stem.
    children: BTreeMap<String, (String, String)>,
    /// What the timeline says of the Jobs.
    jobs: BTreeMap<String, Value>,
    pods: BTreeMap<String, Pod>,
    /// Pods that the timeline does not name, or names no more.
    others: BTreeMap<String, String>,
    names_pods: bool,
    /// A quota keeps the Jobs from making pods.
    quota: bool,
    used_quota: bool,
    /// What conditions say is compared to the word.
    pub tells: bool,
    pub patience: Duration,
}

impl<F: Fn() -> Bundle> Player<F> {
    pub async fn start(case: &str, timeline: &Value, make: F) -> Result<Player<F>, Cannot> {
        is_possible(timeline)?;
        let mut test = timeline["test"].clone();
        for role in ["master", "worker"] {
            let annotations = &mut test["spec"][role]["annotations"];
            annotations["kwok.lotest/behaviour"] = "manual".into();
        }
        // Where the pods run is said in their status.
        test["spec"].as_object_mut().unwrap().remove("scheduling");
        let bundle = make();
        let typed = lotest::api::v2::LocustTest::parse_strict(test.clone()).unwrap();
        let rendered = render(&bundle, &typed.to_value()).unwrap().children;
        let children = rendered.iter().map(|c| {
            let named = (c.kind().to_string(), c.name().to_string());
            (c.stem.clone(), named)
        });
        let room: String = case.chars().take(40).collect();
        let room = Room::new(room.trim_end_matches('-')).await;
        let steps = timeline["steps"].as_array().unwrap();
        let mut player = Player {
            test: name(&test).to_string(),
            children: children.collect(),
            jobs: BTreeMap::new(),
            pods: BTreeMap::new(),
            others: BTreeMap::new(),
            names_pods: steps.iter().any(|s| s.get("pods").is_some()),
            quota: !steps
                .iter()
                .any(|s| makes_pods(s) && at(s) < SignedDuration::from_mins(1)),
            operator: None,
            used_quota: false,
            tells: true,
            patience: PATIENCE,
            room,
            make,
        };
        player.used_quota = player.quota;
        if player.quota {
            let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
            player.room.create(quota).await;
            let in_force = |q: &Value| q["status"]["hard"].is_object();
            player.room.until("ResourceQuota", "none", in_force).await;
        }
        player.operator = Some(player.room.operator_of(bundle).await);
        player.room.create(test).await;
        Ok(player)
    }

    /// Takes a step of the timeline; `has_ended` says that the test has by then.
    pub async fn step(&mut self, step: &Value, has_ended: bool) -> Result<(), Cannot> {
        let restart = step["restart"] == true;
        if restart {
            self.operator = None;
        }
        if self.quota && makes_pods(step) {
            self.room.delete("ResourceQuota", "none").await;
            self.quota = false;
        }
        if step.get("test").is_some() {
            self.patch("LocustTest", &self.test, step["test"].clone())
                .await?;
        }
        for (stem, change) in object(&step["children"]) {
            self.change_child(stem, change).await?;
        }
        let at = at(step);
        let pods = object(&step["pods"]);
        // A pod that is new may come in place of one that ends in this very step.
        let (new, known): (Vec<_>, Vec<_>) =
            pods.into_iter().partition(|(_, c)| c.get("of").is_some());
        for (pod, change) in known {
            self.change_pod(pod, change, at, has_ended).await?;
        }
        for (pod, change) in new {
            let real = self.claim(change["of"].as_str().unwrap()).await?;
            let stem = change["of"].as_str().unwrap().to_string();
            let played = Pod {
                real,
                stem,
                status: json!({}),
                ready: false,
            };
            self.pods.insert(pod.clone(), played);
            self.change_pod(pod, change, at, has_ended).await?;
        }
        if !has_ended {
            for stem in self.jobs.keys().cloned().collect::<Vec<_>>() {
                self.lead_job(&stem).await?;
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

    async fn change_child(&mut self, stem: &str, change: &Value) -> Result<(), Cannot> {
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
        if change != json!({}) {
            poll(self.patience, async || self.room.get(&kind, &name).await).await;
            self.patch(&kind, &name, change).await?;
        }
        Ok(())
    }

    async fn change_pod(
        &mut self,
        pod: &str,
        change: &Value,
        at: SignedDuration,
        has_ended: bool,
    ) -> Result<(), Cannot> {
        let Some(played) = self.pods.get(pod) else {
            return Ok(()); // It went with its Job.
        };
        let real = played.real.clone();
        if change.is_null() || change.pointer("/metadata/deletionTimestamp").is_some() {
            let over = is_over(&json!({"status": played.status}));
            if !has_ended && !over {
                return Err(never(format!(
                    "{pod} is deleted, which its Job counts as a failure"
                )));
            }
            self.delete("Pod", &real).await;
            if change.is_null() {
                self.pods.remove(pod);
                return Ok(());
            }
        }
        let mut status = change["status"].clone();
        translate(&mut status, at);
        if let Some(played) = self.pods.get_mut(pod) {
            merge(&mut played.status, &status);
        }
        match self.write(pod).await {
            // The pods of a test that has failed are gone.
            Err(_) if has_ended || self.has_failed().await => Ok(()),
            other => other,
        }
    }

    async fn has_failed(&self) -> bool {
        let test = self.room.get("LocustTest", &self.test).await;
        test.is_some_and(|t| t["status"]["phase"] == "Failed")
    }

    /// Writes into a pod what the timeline says of it.
    async fn write(&self, pod: &str) -> Result<(), Cannot> {
        let pod = &self.pods[pod];
        let mut status = pod.status.clone();
        let fields = status.as_object_mut().unwrap();
        for (statuses, specs) in [
            ("containerStatuses", "containers"),
            ("initContainerStatuses", "initContainers"),
        ] {
            let Some(list) = fields.get_mut(statuses).and_then(Value::as_array_mut) else {
                continue;
            };
            let real = self.room.get("Pod", &pod.real).await;
            let real = real.ok_or_else(|| never(format!("the pod {} is gone", pod.real)))?;
            let known = real["spec"][specs].as_array().cloned().unwrap_or_default();
            for status in list {
                let spec = known.iter().find(|c| c["name"] == status["name"]);
                let spec = spec
                    .ok_or_else(|| never(format!("no pod has a container {}", status["name"])))?;
                let mut whole = json!({"image": spec["image"], "imageID": "", "ready": false, "restartCount": 0});
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
        self.set(&pod.real, status).await
    }

    /// Deletes what may be gone already, as when its time to live is over.
    async fn delete(&self, kind: &str, name: &str) {
        let _ = self
            .room
            .api(kind)
            .delete(name, &DeleteParams::background())
            .await;
    }

    async fn patch(&self, kind: &str, name: &str, change: Value) -> Result<(), Cannot> {
        let api = self.room.api(kind);
        let patched = api
            .patch(name, &PatchParams::default(), &Patch::Merge(&change))
            .await;
        patched
            .map(drop)
            .map_err(|e| never(format!("the API server says: {e}")))
    }

    async fn set(&self, real: &str, status: Value) -> Result<(), Cannot> {
        match self.room.set_status(real, status).await {
            Ok(_) => Ok(()),
            Err(e) => Err(never(format!("the API server says: {e}"))),
        }
    }

    /// A real pod for one of the timeline.
    async fn claim(&self, stem: &str) -> Result<String, Cannot> {
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
            .ok_or_else(|| never(format!("{stem} makes no more pods")))
    }

    /// The pods of a Job that play none of the timeline.
    async fn free(&self, job: &str) -> Vec<Value> {
        let mut pods = self.room.list("Pod").await;
        let taken = |p: &Value| self.pods.values().any(|played| played.real == name(p));
        pods.retain(|p| p["metadata"]["ownerReferences"][0]["uid"] == job && !taken(p));
        pods
    }

    /// Has the pods of a Job end and be ready such that the Job is as the timeline says, and waits until it is.
    async fn lead_job(&mut self, stem: &str) -> Result<(), Cannot> {
        let wanted = self.jobs[stem].clone();
        let (kind, job) = self.children[stem].clone();
        let ends = Ends::of(&wanted);
        let mut mine: Vec<String> = self.pods.keys().cloned().collect();
        mine.retain(|p| self.pods[p].stem == stem);
        let real = poll(self.patience, async || self.room.get(&kind, &job).await).await;
        let real = real.ok_or_else(|| never(format!("no {kind} {job}")))?;
        let mut others = Vec::new();
        if !self.quota {
            if ends.over() && mine.is_empty() {
                let some = poll(self.patience, async || {
                    let free = self.free(uid(&real)).await;
                    (!free.is_empty()).then_some(())
                });
                some.await;
            }
            others = self.free(uid(&real)).await;
            others.retain(|p| !is_over(p) && p["metadata"].get("deletionTimestamp").is_none());
        }

        if ends.suspended != (real["spec"]["suspend"] == true) {
            self.patch(&kind, &job, json!({"spec": {"suspend": ends.suspended}}))
                .await?;
        }
        if ends.failed
            && !mine
                .iter()
                .any(|p| self.pods[p].status["phase"] == "Failed")
        {
            let victim = mine
                .iter()
                .find(|p| self.pods[*p].status["phase"] == "Running");
            let victim = match victim.or(mine.first()) {
                Some(pod) => self.pods[pod].real.clone(),
                None => name(others.first().ok_or_else(|| never("no pod to fail"))?).to_string(),
            };
            self.set(&victim, json!({"phase": "Failed"})).await?;
            self.others.insert(victim, "Failed".into());
        }
        if ends.complete {
            let all = mine.iter().map(|p| self.pods[p].real.clone());
            let all: Vec<String> = all
                .chain(others.iter().map(|p| name(p).to_string()))
                .collect();
            for pod in all {
                let over = self.room.get("Pod", &pod).await.is_none_or(|p| is_over(&p));
                if !over {
                    self.set(&pod, json!({"phase": "Succeeded"})).await?;
                }
            }
        } else if !ends.failed {
            self.make_ready(&mine, &others, stem, wanted["ready"].as_u64().unwrap_or(0))
                .await?;
        }
        self.until_job(&kind, &job, &wanted, &ends, stem).await
    }

    async fn make_ready(
        &mut self,
        mine: &[String],
        others: &[Value],
        stem: &str,
        count: u64,
    ) -> Result<(), Cannot> {
        let mut left = count;
        let runs = |pod: &Pod| pod.status["phase"] == "Running";
        for pod in mine {
            let played = self.pods.get_mut(pod).unwrap();
            let conditions = played.status["conditions"].as_array();
            let ready = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready"));
            match ready.map(|c| c["status"] == "True") {
                Some(true) => left = left.saturating_sub(1),
                Some(false) => {}
                None => {
                    let ready = runs(played) && left > 0;
                    left -= u64::from(ready);
                    if ready != played.ready {
                        played.ready = ready;
                        self.write(pod).await?;
                    }
                }
            }
        }
        // The timeline names too few pods. No rule asks how ready a master is.
        let all_run = self.names_pods
            && self
                .pods
                .values()
                .all(|p| p.status["phase"] != "Pending" && !p.status["phase"].is_null());
        for pod in others {
            let ready = left > 0 && stem != "master-job";
            if ready || all_run {
                left -= u64::from(ready);
                let ready = if ready { "True" } else { "False" };
                let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "reason": "PodCompleted"}]});
                self.set(name(pod), status).await?;
            }
        }
        Ok(())
    }

    async fn until_job(
        &self,
        kind: &str,
        job: &str,
        wanted: &Value,
        ends: &Ends,
        stem: &str,
    ) -> Result<(), Cannot> {
        let mut last = Value::Null;
        let there = poll(self.patience, async || {
            // Its Jobs are stopped as soon as it has failed.
            if self.has_failed().await {
                return Some(());
            }
            last = self.room.get(kind, job).await?["status"].take();
            let is = Ends::of(&last);
            let number = |status: &Value, key: &str| status[key].as_u64().unwrap_or(0);
            let mut same = is.failed == ends.failed
                && is.complete == ends.complete
                && is.suspended == ends.suspended;
            if !ends.over() && !ends.suspended {
                same &= (number(&last, "active") > 0) == (number(wanted, "active") > 0);
                same &= stem == "master-job" || number(&last, "ready") == number(wanted, "ready");
            }
            same.then_some(())
        });
        there.await.ok_or_else(|| {
            never(format!(
                "the Job controller has {job} {last}, and never {wanted}"
            ))
        })
    }

    async fn say(&self, event: &Value) -> Result<(), Cannot> {
        let about = event["about"].as_str().unwrap();
        let (kind, of) = match self.pods.get(about) {
            Some(pod) => ("Pod".to_string(), pod.real.clone()),
            None => self
                .children
                .get(about)
                .cloned()
                .ok_or_else(|| never("an event about a pod that is gone"))?,
        };
        if self.quota {
            return Ok(()); // The Job controller says it by itself.
        }
        let object = self
            .room
            .get(&kind, &of)
            .await
            .ok_or_else(|| never(format!("{kind} {of} is gone")))?;
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

    /// Waits until the test is where the pure engine has it by now, or next. A Job may be quicker than in the timeline, where
    /// it follows its pods in a step of its own: then the test may have ended already.
    pub async fn until_agreed(
        &self,
        said: &Said,
        next: &Said,
        last: &Said,
        at: &str,
    ) -> Result<(), Cannot> {
        self.wait(
            at,
            |test| {
                let ahead = last.has_ended() && test["status"]["phase"] == last.phase();
                let agrees = |said| differences(test, said, false).is_empty();
                ahead || agrees(said) || agrees(next)
            },
            said,
        )
        .await
    }

    /// Waits until the test has come to the end that the pure engine has for it.
    pub async fn until_same(&self, last: &Said) -> Result<(), Cannot> {
        // The Job controller has words of its own, and a Job with a time to live takes the evidence with it.
        let messages = !self.used_quota && self.others.is_empty() && self.tells;
        self.wait(
            "its end",
            |test| differences(test, last, messages).is_empty(),
            last,
        )
        .await
    }

    async fn wait(
        &self,
        at: &str,
        agrees: impl Fn(&Value) -> bool,
        said: &Said,
    ) -> Result<(), Cannot> {
        let mut last = Value::Null;
        let there = poll(self.patience, async || {
            last = self.room.get("LocustTest", &self.test).await?;
            agrees(&last).then_some(())
        });
        there.await.ok_or_else(|| {
            let differences = differences(&last, said, true).join("\n");
            Cannot::Agree(format!("at {at} the two do not agree:\n{differences}"))
        })
    }
}

/// Where a test differs from what the pure engine says.
fn differences(test: &Value, said: &Said, messages: bool) -> Vec<String> {
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
    for (kind, truth, message) in said.conditions() {
        let real = condition(test, kind);
        let is = format!("{} {}", text(&real["status"]), text(&real["reason"]));
        compare(kind, is, truth);
        // How many workers were left when a test failed is a matter of moments.
        let number = kind == "WorkersConnected" && said.phase() == "Failed";
        if messages && !number && !message.contains("pod(s) affected") {
            compare(kind, text(&real["message"]), message);
        }
    }
    differences
}

/// How a Job ends.
#[derive(Debug, PartialEq)]
struct Ends {
    failed: bool,
    complete: bool,
    suspended: bool,
}

impl Ends {
    fn of(status: &Value) -> Ends {
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

    fn over(&self) -> bool {
        self.failed || self.complete
    }
}

/// Looks for what a control plane does not do; what else there is shows when it is tried.
fn is_possible(timeline: &Value) -> Result<(), Cannot> {
    let mut jobs: BTreeMap<String, Value> = BTreeMap::new();
    let mut pods: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for step in timeline["steps"].as_array().unwrap() {
        if step["relist"] == true || step.get("lookupsFail").is_some() {
            return Err(never("the API server is not out of reach"));
        }
        if step["test"].get("status").is_some() || step["test"].get("metadata").is_some() {
            return Err(never("it writes the metadata or the status of the test"));
        }
        for (stem, change) in object(&step["children"]) {
            merge(jobs.entry(stem.clone()).or_default(), &change["status"]);
        }
        for (pod, change) in object(&step["pods"]) {
            if change.is_null() {
                pods.remove(pod);
                continue;
            }
            if change.get("spec").is_some() {
                return Err(never("its pods have another spec than those of the Jobs"));
            }
            let entry = pods.entry(pod.clone()).or_default();
            if let Some(of) = change["of"].as_str() {
                entry.0 = of.to_string();
            }
            merge(&mut entry.1, &change["status"]);
        }
        let workers = pods
            .values()
            .filter(|(stem, status)| stem == "worker-job" && !is_over(&json!({"status": status})));
        let wanted = timeline["test"]["spec"]["worker"]["replicas"].as_u64();
        if workers.count() as u64 > wanted.unwrap_or(1) {
            return Err(never("it has more workers than its Job makes"));
        }
    }
    for (pod, (stem, status)) in &pods {
        let ends = Ends::of(jobs.get(stem).unwrap_or(&Value::Null));
        let conditions = status["conditions"].as_array();
        let disrupted = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "DisruptionTarget" && c["status"] == "True");
        let borne = disrupted && stem == "worker-job";
        if status["phase"] == "Failed" && !ends.failed && !borne {
            return Err(never(format!("{pod} fails, and its Job does not")));
        }
        if status["phase"] == "Succeeded" && !ends.complete && stem == "master-job" {
            return Err(never(format!("{pod} ends well, and its Job does not")));
        }
    }
    for reason in jobs
        .values()
        .flat_map(|j| j["conditions"].as_array().cloned().unwrap_or_default())
    {
        let reason = reason["reason"].as_str().unwrap_or_default();
        if [
            "DeadlineExceeded",
            "PodFailurePolicy",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
        ]
        .contains(&reason)
        {
            return Err(never(format!("the Jobs never end with {reason}")));
        }
    }
    Ok(())
}

/// When a step is taken.
pub fn at(step: &Value) -> SignedDuration {
    step["at"].as_str().unwrap().parse().unwrap()
}

fn makes_pods(step: &Value) -> bool {
    let number = |c: &Value, key: &str| c["status"][key].as_u64().unwrap_or(0);
    let jobs = object(&step["children"]);
    let some = jobs.into_iter().any(|(_, c)| {
        number(c, "active") + number(c, "succeeded") > 0 || Ends::of(&c["status"]).over()
    });
    some || !object(&step["pods"]).is_empty()
}

fn is_over(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

fn object(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().into_iter().flatten().collect()
}

/// Dates of the timeline as dates of now, as far from each other.
fn translate(value: &mut Value, at: SignedDuration) {
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
fn merge(target: &mut Value, patch: &Value) {
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

/// Asks until there is an answer, or patience ends.
async fn poll<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}
