//! That the API server trusts the certificates: the `caBundle` of the CustomResourceDefinition and of the
//! ValidatingWebhookConfiguration, each watched by its name and put right when it differs. What leads to another
//! server is left alone.

use super::Settings;
use super::secret::wait;
use crate::controller::{Board, backoff, patch_params, with_causes};
use crate::engine::render::text;
use axum::http::Uri;
use futures::{StreamExt, pin_mut};
use k8s_openapi::ByteString;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two writes: somebody may put back at once what was wrong.
const INTERVAL: Duration = Duration::from_secs(1);

pub const DEFINITION: &str = "locusttests.locust.io";

/// What refers to the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Definition,
    Configuration,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, kind) = match self {
            Kind::Definition => ("apiextensions.k8s.io", "CustomResourceDefinition"),
            Kind::Configuration => (
                "admissionregistration.k8s.io",
                "ValidatingWebhookConfiguration",
            ),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
    }

    /// What counts of an object: a definition is large.
    fn facts(self, object: &DynamicObject) -> Value {
        let part = match self {
            Kind::Definition => object.data.pointer("/spec/conversion/webhook/clientConfig"),
            Kind::Configuration => object.data.get("webhooks"),
        };
        json!({
            "resourceVersion": object.metadata.resource_version,
            "part": part,
            "danger": danger(object),
        })
    }
}

/// What is to be said of an object that a Helm release would take along when it goes. Helm decides by what it has
/// recorded, not by the object: to add the annotation here would only look like help.
fn danger(object: &DynamicObject) -> Option<String> {
    let annotation = |key: &str| object.metadata.annotations.as_ref()?.get(key);
    let policy = annotation("helm.sh/resource-policy").map(|p| p.trim());
    if policy == Some("keep") || object.metadata.name.as_deref() != Some(DEFINITION) {
        return None;
    }
    let release = annotation("meta.helm.sh/release-name")?;
    let namespace = annotation("meta.helm.sh/release-namespace")?;
    Some(format!(
        "it is part of the Helm release {namespace}/{release}, which does not keep it: `helm uninstall {release}` would delete every test. Upgrade that release to the chart of lotest, or let Helm forget it, as docs/take-over.md says"
    ))
}

/// Where the API server finds the server.
#[derive(Debug)]
struct Us {
    namespace: String,
    service: String,
    hosts: Vec<String>,
}

/// What is to be done about an object.
#[derive(Debug, PartialEq)]
enum Verdict {
    Right,
    /// A patch of it.
    Wrong(Value),
    /// It leads elsewhere.
    Foreign(String),
}

pub struct Keeper {
    api: Api<DynamicObject>,
    kind: Kind,
    name: String,
    us: Us,
    board: Arc<Board>,
    facts: Option<Value>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Keeper {
    pub fn new(
        client: Client,
        kind: Kind,
        name: String,
        settings: &Settings,
        board: Arc<Board>,
    ) -> Keeper {
        Keeper {
            api: Api::all_with(client, &kind.resource()),
            kind,
            name,
            us: Us {
                namespace: settings.namespace.clone(),
                service: settings.service.clone(),
                hosts: settings.hosts.clone(),
            },
            board,
            facts: None,
            failures: 0,
            not_before: None,
        }
    }

    /// Keeps one object in order until it is aborted.
    pub async fn keep(mut self, mut trust: watch::Receiver<Option<Vec<u8>>>) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let stream = watcher(self.api.clone(), config).default_backoff();
        pin_mut!(stream);
        let mut again = None;
        loop {
            tokio::select! {
                Some(event) = stream.next() => if !self.see(event) {
                    continue;
                },
                changed = trust.changed() => if changed.is_err() {
                    return;
                },
                () = wait(again) => {}
            }
            let bundle = trust.borrow_and_update().clone();
            again = match bundle {
                Some(bundle) => self.look(&bundle).await,
                None => None,
            };
        }
    }

    /// Takes in what the watch has seen; whether it says anything new.
    fn see(&mut self, event: watcher::Result<watcher::Event<DynamicObject>>) -> bool {
        match event {
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                self.facts = Some(self.kind.facts(&object));
            }
            Ok(watcher::Event::Init | watcher::Event::Delete(_)) => self.facts = None,
            Ok(watcher::Event::InitDone) => {}
            Err(error) => {
                let error = with_causes(&error);
                self.say(Some(format!("it cannot be watched: {error}")));
                return false;
            }
        }
        true
    }

    /// Puts the object right, if it is not; says when to look again.
    async fn look(&mut self, bundle: &[u8]) -> Option<Instant> {
        let verdict = self
            .facts
            .as_ref()
            .map(|facts| judge(self.kind, facts, &self.us, bundle));
        let patch = match verdict {
            // Where there is none, nothing refers to the server.
            None | Some(Verdict::Right) => {
                self.failures = 0;
                self.say(self.danger());
                return None;
            }
            Some(Verdict::Foreign(to)) => {
                self.say(Some(format!("it leads to {to} and is left alone")));
                return None;
            }
            Some(Verdict::Wrong(patch)) => patch,
        };
        if let Some(not_before) = self.not_before.filter(|t| *t > Instant::now()) {
            return Some(not_before);
        }
        self.not_before = Some(Instant::now() + INTERVAL);
        let patch = match self.kind {
            Kind::Definition => Patch::Merge(patch),
            // Webhooks are told apart by their names.
            Kind::Configuration => Patch::Strategic(patch),
        };
        match self.api.patch(&self.name, &patch_params(), &patch).await {
            Ok(object) => {
                tracing::info!(name = self.name, "the API server trusts the certificates");
                self.facts = Some(self.kind.facts(&object));
                self.failures = 0;
                self.say(self.danger());
                None
            }
            Err(error) => {
                let wait = backoff(self.failures);
                self.failures += 1;
                let overtaken = matches!(&error, kube::Error::Api(e) if e.code == 409);
                if !overtaken {
                    let error = with_causes(&error);
                    self.say(Some(format!("its caBundle cannot be set: {error}")));
                }
                Some(Instant::now() + wait)
            }
        }
    }

    fn danger(&self) -> Option<String> {
        let danger = self.facts.as_ref()?.get("danger")?;
        danger.as_str().map(str::to_string)
    }

    fn say(&self, trouble: Option<String>) {
        let topic = match self.kind {
            Kind::Definition => "CustomResourceDefinition",
            Kind::Configuration => "ValidatingWebhookConfiguration",
        };
        let trouble = trouble.map(|trouble| format!("{}: {trouble}", self.name));
        self.board.webhook(topic, trouble);
    }
}

fn judge(kind: Kind, facts: &Value, us: &Us, bundle: &[u8]) -> Verdict {
    let wanted = serde_json::to_value(ByteString(bundle.to_vec())).unwrap_or_default();
    let version = json!({"resourceVersion": facts["resourceVersion"]});
    let part = &facts["part"];
    match kind {
        // Without conversion there is nothing to trust.
        Kind::Definition if part.is_null() => Verdict::Right,
        Kind::Definition => match us.foreign(part) {
            Some(to) => Verdict::Foreign(to),
            None if part["caBundle"] == wanted => Verdict::Right,
            None => {
                let config = json!({"clientConfig": {"caBundle": wanted}});
                let spec = json!({"conversion": {"webhook": config}});
                Verdict::Wrong(json!({"metadata": version, "spec": spec}))
            }
        },
        Kind::Configuration => {
            let all: Vec<&Value> = part.as_array().into_iter().flatten().collect();
            let foreign = |hook: &&&Value| us.foreign(&hook["clientConfig"]).is_some();
            let wrong =
                |hook: &&&Value| !foreign(hook) && hook["clientConfig"]["caBundle"] != wanted;
            let patches: Vec<Value> = all
                .iter()
                .filter(wrong)
                .map(|hook| json!({"name": hook["name"], "clientConfig": {"caBundle": wanted}}))
                .collect();
            match all.first() {
                _ if !patches.is_empty() => {
                    Verdict::Wrong(json!({"metadata": version, "webhooks": patches}))
                }
                Some(first) if all.iter().all(|hook| foreign(&hook)) => {
                    Verdict::Foreign(us.foreign(&first["clientConfig"]).unwrap_or_default())
                }
                _ => Verdict::Right,
            }
        }
    }
}

impl Us {
    /// Where else a client configuration leads; nothing when it leads here.
    fn foreign(&self, config: &Value) -> Option<String> {
        let url = text(config, "/url");
        if !url.is_empty() {
            let uri = url.parse::<Uri>().ok();
            let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let here = self.hosts.iter().any(|h| h == host);
            return (!here).then(|| url.to_string());
        }
        let (namespace, name) = (
            text(config, "/service/namespace"),
            text(config, "/service/name"),
        );
        let here = namespace == self.namespace && name == self.service;
        (!here).then(|| format!("Service {namespace}/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> Us {
        Us {
            namespace: "ns".into(),
            service: "hook".into(),
            hosts: vec!["127.0.0.1".into(), "::1".into()],
        }
    }

    fn config(config: Value) -> Value {
        json!({"resourceVersion": "7", "part": config})
    }

    #[test]
    fn a_definition_that_helm_would_take_along_is_said() {
        let object = |name: &str, annotations: Value| {
            let metadata = json!({"name": name, "annotations": annotations});
            let object = serde_json::from_value(json!({"metadata": metadata}));
            danger(&object.unwrap())
        };
        let helm =
            json!({"meta.helm.sh/release-name": "old", "meta.helm.sh/release-namespace": "ns"});
        let said = object(DEFINITION, helm.clone()).unwrap();
        assert!(said.contains("release ns/old") && said.contains("helm uninstall old"));
        assert_eq!(object("other", helm.clone()), None);
        let mut kept = helm;
        kept["helm.sh/resource-policy"] = "keep".into();
        assert_eq!(object(DEFINITION, kept), None);
        assert_eq!(object(DEFINITION, json!({})), None);
    }

    #[test]
    fn a_definition_is_patched_only_where_it_leads_here() {
        let judged = |part: Value| judge(Kind::Definition, &config(part), &us(), b"ca");
        let service =
            |ns: &str| json!({"service": {"namespace": ns, "name": "hook"}, "caBundle": "b2xk"});
        let patch = json!({
            "metadata": {"resourceVersion": "7"},
            "spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": "Y2E="}}}},
        });
        assert_eq!(judged(service("ns")), Verdict::Wrong(patch));
        let elsewhere = "Service other/hook".to_string();
        assert_eq!(judged(service("other")), Verdict::Foreign(elsewhere));
        let right = json!({"url": "https://127.0.0.1:9443/convert", "caBundle": "Y2E="});
        assert_eq!(judged(right), Verdict::Right);
        assert!(matches!(
            judged(json!({"url": "https://[::1]:1/"})),
            Verdict::Wrong(_)
        ));
        for url in ["https://127.0.0.2/", "https://user@/", "%"] {
            assert!(
                matches!(judged(json!({"url": url})), Verdict::Foreign(_)),
                "{url}"
            );
        }
        assert_eq!(judged(Value::Null), Verdict::Right);
    }

    #[test]
    fn of_webhooks_those_that_lead_here_are_patched() {
        let judged = |part: Value| judge(Kind::Configuration, &config(part), &us(), b"ca");
        let hook = |name: &str, service: &str| {
            json!({
                "name": name,
                "clientConfig": {"service": {"namespace": "ns", "name": service}},
            })
        };
        let patch = json!({
            "metadata": {"resourceVersion": "7"},
            "webhooks": [{"name": "a", "clientConfig": {"caBundle": "Y2E="}}],
        });
        let both = json!([hook("a", "hook"), hook("b", "other")]);
        assert_eq!(judged(both), Verdict::Wrong(patch));
        let other = json!([hook("b", "other")]);
        assert_eq!(judged(other), Verdict::Foreign("Service ns/other".into()));
        assert_eq!(judged(json!([])), Verdict::Right);
    }
}
