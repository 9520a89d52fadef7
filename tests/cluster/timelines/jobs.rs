//! The Jobs of a timeline, which are left to the Job controller: their pods end and are ready such that it comes to the
//! same.

use super::player::{Player, poll};
use super::pods::Pod;
use super::steps::{Ends, is_over};
use crate::pods::name;
use crate::support::{Room, uid};
use lotest::bundle::Bundle;
use serde_json::{Value, json};

/// The quota that keeps Jobs from making more pods than the timeline has.
pub struct Quota {
    workers: u64,
}

impl Quota {
    /// Has the workers of a test ask for so much more than its master that the quota can leave room for the one and not the
    /// other.
    pub fn of(test: &mut Value) -> Quota {
        test["spec"]["master"]["resources"] =
            json!({"requests": {"cpu": "1m"}, "limits": {"cpu": "1"}});
        test["spec"]["worker"]["resources"] =
            json!({"requests": {"cpu": "10"}, "limits": {"cpu": "10"}});
        let replicas = test["spec"]["worker"]["replicas"].as_u64();
        Quota {
            workers: replicas.unwrap_or(1),
        }
    }

    /// Leaves no room at first.
    pub async fn make(&self, room: &Room) {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "cpu"}, "spec": {"hard": {"requests.cpu": "0"}}});
        room.create(quota).await;
        let in_force = |q: &Value| q["status"]["hard"].is_object();
        room.until("ResourceQuota", "cpu", in_force).await;
    }
}

impl<F: Fn() -> Bundle> Player<F> {
    /// Leaves room for as many pods as the timeline has by now.
    pub(super) async fn raise_quota(&mut self) {
        let Some(quota) = &self.quota else { return };
        let pods = |stem: &str| {
            let number = |key| self.jobs.get(stem).and_then(|job| job[key].as_u64());
            number("active").unwrap_or(0) + number("succeeded").unwrap_or(0)
        };
        let (masters, workers) = (pods("master-job"), pods("worker-job"));
        if masters > 0 && workers >= quota.workers {
            self.delete("ResourceQuota", "cpu").await;
            self.quota = None;
        } else {
            let cpu = (workers * 10 + masters * 5).to_string();
            let hard = json!({"spec": {"hard": {"requests.cpu": cpu}}});
            self.patch("ResourceQuota", "cpu", hard).await;
        }
    }

    /// Has the pods of a Job end and be ready such that the Job is as the timeline says, and waits until it is.
    pub(super) async fn lead_job(&mut self, stem: &str) -> Result<(), String> {
        let wanted = self.jobs[stem].clone();
        let (kind, job) = self.children[stem].clone();
        let mut ends = Ends::of(&wanted);
        if let Some(suspended) = self.suspended.get(stem) {
            ends.suspended = *suspended;
        }
        let mut mine: Vec<String> = self.pods.keys().cloned().collect();
        mine.retain(|p| self.pods[p].stem == stem && !self.pods[p].goes);
        let real = poll(self.patience, async || self.room.get(&kind, &job).await).await;
        let real = real.ok_or_else(|| format!("there is never a {kind} {job}"))?;
        if ends.suspended != (real["spec"]["suspend"] == true) {
            self.patch(&kind, &job, json!({"spec": {"suspend": ends.suspended}}))
                .await;
        }
        let is_played = self.pods.values().any(|p| p.stem == stem);
        if ends.over() && !is_played && !self.bereft.contains(stem) {
            let some = async || (!self.free(uid(&real)).await.is_empty()).then_some(());
            poll(self.patience, some).await;
        }
        let mut others = self.free(uid(&real)).await;
        others.retain(|p| !is_over(p));

        if ends.failed {
            self.fail(stem, &mine, &others).await?;
        } else if ends.complete {
            let all = mine.iter().map(|p| self.pods[p].real.clone());
            let all: Vec<String> = all
                .chain(others.iter().map(|p| name(p).to_string()))
                .collect();
            for pod in all {
                let over = self.room.get("Pod", &pod).await.is_none_or(|p| is_over(&p));
                if !over {
                    self.room
                        .bring_into(&pod, &json!({"phase": "Succeeded"}))
                        .await;
                }
            }
        } else if !ends.suspended {
            self.make_ready(&mine, &others, stem, wanted["ready"].as_u64().unwrap_or(0))
                .await;
        }
        self.until_job(&kind, &job, &wanted, &ends, stem).await
    }

    /// Has a pod of a Job fail, when none has.
    async fn fail(&mut self, stem: &str, mine: &[String], others: &[Value]) -> Result<(), String> {
        let phase = |pod: &String| &self.pods[pod].status["phase"];
        if mine.iter().any(|p| phase(p) == "Failed") || self.bereft.contains(stem) {
            return Ok(());
        }
        let victim = mine.iter().find(|p| phase(p) == "Running");
        let victim = match victim.or(mine.first()) {
            Some(pod) => self.pods[pod].real.clone(),
            None => name(others.first().ok_or("no pod to fail")?).to_string(),
        };
        self.used_others = true;
        self.room
            .bring_into(&victim, &json!({"phase": "Failed"}))
            .await;
        Ok(())
    }

    async fn make_ready(&mut self, mine: &[String], others: &[Value], stem: &str, count: u64) {
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
                        self.write(pod).await;
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
                let state = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "reason": "PodCompleted"}]});
                self.room.bring_into(name(pod), &state).await;
            }
        }
    }

    async fn until_job(
        &self,
        kind: &str,
        job: &str,
        wanted: &Value,
        ends: &Ends,
        stem: &str,
    ) -> Result<(), String> {
        let mut last = Value::Null;
        let there = poll(self.patience, async || {
            // Its Jobs are stopped as soon as it has failed.
            if self.has_failed().await {
                return Some(());
            }
            last = self.room.get(kind, job).await?["status"].take();
            let is = Ends::of(&last);
            let number = |status: &Value, key: &str| status[key].as_u64().unwrap_or(0);
            // A Job of workers ends as soon as they all have; some timelines leave that out.
            let workers_done = number(wanted, "active") == 0 && number(wanted, "succeeded") > 0;
            let mut same = is.failed == ends.failed
                && (is.complete == ends.complete || is.complete && workers_done)
                && is.suspended == ends.suspended;
            if !ends.over() && !ends.suspended {
                same &= (number(&last, "active") > 0) == (number(wanted, "active") > 0);
                same &= stem == "master-job" || number(&last, "ready") == number(wanted, "ready");
            }
            same.then_some(())
        });
        there
            .await
            .ok_or_else(|| format!("the Job controller has {job} {last}, and never {wanted}"))
    }
}
