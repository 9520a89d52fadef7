//! What the API server, the controllers and the watches do while a timeline is played.

use super::Player;
use crate::engine::action::Deed;
use crate::engine::index::{Index, Key, Listed};
use crate::engine::lookup::{Answer, Question, Said};
use crate::engine::notice::{self, Notice};
use crate::engine::patch::merge;
use crate::engine::render::{Child, group, owner_reference, text};
use crate::engine::rule::{Act, Occasion};
use crate::engine::timeline::{BEGINNING, KubernetesEvent, Step, patch_object};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Player<'_> {
    /// Makes a child as the API server answers when it is applied.
    pub(super) fn make(&mut self, child: &Child, at: SignedDuration) -> Vec<Notice> {
        let mut object = child.object.clone();
        self.version += 1;
        let stored = json!({
            "uid": format!("{}-{}", child.stem, self.version),
            "creationTimestamp": (BEGINNING + at).to_string(),
            "resourceVersion": self.version.to_string(),
        });
        merge(&mut object["metadata"], &stored);
        self.index.apply_child(&object, BEGINNING + at);
        self.children.insert(child.stem.clone(), object.clone());
        notice::about_child(self.bundle, Occasion::Created, &object)
    }

    pub(super) fn apply(&mut self, step: &Step) -> Result<(), String> {
        if step.test.get("spec").is_some() {
            let generation = self.test["metadata"]["generation"].as_i64().unwrap_or(0);
            self.test["metadata"]["generation"] = (generation + 1).into();
        }
        if !step.test.is_null() {
            patch_object(&mut self.test, &step.test, "the test")?;
            self.store();
        }
        for (stem, patch) in &step.children {
            self.change_child(stem, patch, step.at)?;
        }
        for (name, patch) in &step.pods {
            self.change_pod(name, patch, step.at)?;
        }
        let events = step.events.iter().cloned();
        self.kubernetes_events.extend(events.map(|e| (step.at, e)));
        if let Some(fail) = step.lookups_fail {
            self.lookups_fail = fail;
        }
        Ok(())
    }

    fn change_child(
        &mut self,
        stem: &str,
        patch: &Value,
        at: SignedDuration,
    ) -> Result<(), String> {
        let known: Vec<&str> = self.children.keys().map(String::as_str).collect();
        // An action of the rules may have removed it already.
        let was_there = self.started.children.iter().any(|c| c.stem == stem);
        if patch.is_null() && was_there && !self.children.contains_key(stem) {
            return Ok(());
        }
        let unknown = || format!("there is no child `{stem}`; there are {}", known.join(", "));
        let mut object = self.children.get(stem).cloned().ok_or_else(unknown)?;
        if patch.is_null() {
            self.children.remove(stem);
            if !self.unwatched {
                self.index.delete_child(&object);
            }
            return Ok(());
        }
        self.version += 1;
        patch_object(&mut object, patch, format_args!("the child `{stem}`"))?;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if !self.unwatched {
            self.index.apply_child(&object, BEGINNING + at);
        }
        self.children.insert(stem.to_string(), object);
        Ok(())
    }

    fn change_pod(&mut self, name: &str, patch: &Value, at: SignedDuration) -> Result<(), String> {
        if patch.is_null() {
            let pod = self.pods.remove(name);
            let pod = pod.ok_or_else(|| format!("there is no pod `{name}`"))?;
            if !self.unwatched {
                self.index.delete_pod(&pod);
            }
            return Ok(());
        }
        let mut patch = patch.clone();
        let of = patch.as_object_mut().and_then(|p| p.remove("of"));
        let mut pod = match (self.pods.get(name), of.as_ref().and_then(Value::as_str)) {
            (Some(pod), None) => pod.clone(),
            (None, Some(stem)) => self.new_pod(name, stem, at)?,
            (Some(_), Some(_)) => {
                return Err(format!("there is a pod `{name}` already; leave out `of`"));
            }
            (None, None) => {
                return Err(format!(
                    "the pod `{name}` is new; say in `of` which child made it"
                ));
            }
        };
        patch_object(&mut pod, &patch, format_args!("the pod `{name}`"))?;
        if !self.unwatched {
            self.index.apply_pod(&pod, BEGINNING + at);
        }
        self.pods.insert(name.to_string(), pod);
        Ok(())
    }

    fn new_pod(&self, name: &str, stem: &str, at: SignedDuration) -> Result<Value, String> {
        let child = self.children.get(stem);
        let child =
            child.ok_or_else(|| format!("the pod `{name}` is of `{stem}`, which is not there"))?;
        let template = child.pointer("/spec/template");
        let mut pod = template.cloned().unwrap_or_else(|| json!({"metadata": {}}));
        let own = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": *self.key.namespace,
                "uid": name,
                "creationTimestamp": (BEGINNING + at).to_string(),
                "ownerReferences": [owner_reference(child)],
            },
        });
        merge(&mut pod, &own);
        Ok(pod)
    }

    /// What an operator knows that was started just now.
    pub(super) fn restart(&mut self, at: SignedDuration) {
        self.index = Index::new(Arc::clone(self.bundle));
        self.list(at);
        let run = self.started.taken_over(BEGINNING);
        self.index.set_run(&self.key, run);
        self.index.has_no_more(&self.key);
    }

    /// What there is, as lists show it.
    fn list(&mut self, at: SignedDuration) {
        if !self.test.is_null() {
            self.index.apply_test(self.test.clone());
        }
        for child in self.children.values() {
            self.index.apply_child(child, BEGINNING + at);
        }
        for pod in self.pods.values() {
            self.index.apply_pod(pod, BEGINNING + at);
        }
    }

    /// Lists everything, and looks by name for the children that were in no list.
    pub(super) fn relist(&mut self, at: SignedDuration) {
        self.list(at);
        let listed = |objects: &mut dyn Iterator<Item = &Value>| Listed {
            namespace: None,
            seen: objects.map(Key::of).collect(),
        };
        let tests = listed(&mut [&self.test].into_iter().filter(|t| !t.is_null()));
        self.index.retain_tests(&tests);
        let started = self.started.children.iter();
        let kinds: BTreeSet<_> = started
            .map(|c| (group(c.api_version()), c.kind()))
            .collect();
        for (group_of, kind) in kinds {
            let is =
                |c: &&Value| group(text(c, "/apiVersion")) == group_of && text(c, "/kind") == kind;
            let children = listed(&mut self.children.values().filter(is));
            self.index.retain_children(group_of, kind, &children);
        }
        let pods = listed(&mut self.pods.values());
        self.index.retain_pods(&pods);
        self.index.has_no_more(&self.key);
    }

    /// The events that a rule asks for.
    pub(super) fn answer(&self, question: &Question) -> Answer {
        if self.lookups_fail {
            return Answer::Failed;
        }
        let about = |event: &&KubernetesEvent| {
            let child = self.children.get(&event.about);
            let uid = child.map_or(event.about.as_str(), |c| text(c, "/metadata/uid"));
            uid == question.about.uid && question.reasons.contains(&event.reason)
        };
        let asked = self.kubernetes_events.iter().filter(|(_, e)| about(&e));
        let said = asked.map(|(at, event)| Said {
            message: event.message.clone(),
            at: Some(BEGINNING + *at),
        });
        Answer::Events(said.collect())
    }

    /// Does what an action asks for, as the API server would.
    pub(super) fn act(&mut self, deed: &Deed, at: SignedDuration) -> Result<String, String> {
        let object = &deed.object;
        let child = self
            .children
            .iter()
            .find(|(_, c)| text(c, "/metadata/uid") == object.uid);
        let stem = child.map(|(stem, _)| stem.clone());
        let what = match (&deed.act, stem) {
            (Act::Patch(patch), Some(stem)) => {
                self.change_child(&stem, patch, at)?;
                format!("patch {} {} with {patch}", object.kind, object.name)
            }
            (Act::Delete, Some(stem)) => {
                self.change_child(&stem, &Value::Null, at)?;
                format!("delete {} {}", object.kind, object.name)
            }
            (Act::Patch(patch), None) => {
                patch_object(&mut self.test, patch, "the test")?;
                self.store();
                format!("patch {} {} with {patch}", object.kind, object.name)
            }
            (Act::Delete, None) => {
                self.index.delete_test(&self.key);
                self.test = Value::Null;
                format!("delete {} {}", object.kind, object.name)
            }
        };
        Ok(format!("{}: {what}", deed.rule))
    }

    pub(super) fn store(&mut self) {
        self.version += 1;
        self.test["metadata"]["resourceVersion"] = self.version.to_string().into();
        if !self.unwatched {
            self.index.apply_test(self.test.clone());
        }
    }
}
