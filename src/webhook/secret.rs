//! Certificates in a Secret that all replicas share. Whoever comes first makes them; whoever finds them lost, garbled,
//! expired or due makes new ones, and all take up what is stored. A write that comes too late is refused by the API
//! server, and then the watch brings what another wrote.

use super::certificates::{self, Data, Plan};
use super::{Credentials, Settings};
use crate::controller::{MANAGER, backoff, with_causes};
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Error};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two writes: somebody may put back at once what was wrong.
const INTERVAL: Duration = Duration::from_secs(1);

/// No timer runs longer: they do not count the time that a machine sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

pub struct Keeper {
    api: Api<Secret>,
    name: String,
    hosts: Vec<String>,
    credentials: Credentials,
    /// What is stored, as far as it is known.
    stored: Option<Secret>,
    /// The first list is in: what is not known is not there.
    listed: bool,
    failures: u32,
    /// The next write is not before this.
    not_before: Option<Instant>,
}

impl Keeper {
    pub fn new(
        client: Client,
        settings: &Settings,
        name: String,
        credentials: Credentials,
    ) -> Keeper {
        Keeper {
            api: Api::namespaced(client, &settings.namespace),
            name,
            hosts: settings.names(),
            credentials,
            stored: None,
            listed: false,
            failures: 0,
            not_before: None,
        }
    }

    /// Keeps them until it is aborted.
    pub async fn keep(mut self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let stream = watcher(self.api.clone(), config).default_backoff();
        pin_mut!(stream);
        let mut again = None;
        loop {
            tokio::select! {
                Some(event) = stream.next() => if !self.see(event) {
                    continue;
                },
                () = wait(again) => {}
            }
            if self.listed {
                again = self.look().await;
            }
        }
    }

    /// Takes in what the watch has seen; whether it says anything new.
    fn see(&mut self, event: watcher::Result<watcher::Event<Secret>>) -> bool {
        match event {
            Ok(watcher::Event::Init) => {
                self.stored = None;
                self.listed = false;
            }
            Ok(watcher::Event::InitApply(secret) | watcher::Event::Apply(secret)) => {
                self.stored = Some(secret);
            }
            Ok(watcher::Event::InitDone) => self.listed = true,
            Ok(watcher::Event::Delete(_)) => self.stored = None,
            Err(error) => {
                let error = with_causes(&error);
                let trouble = format!("Secret {} cannot be watched: {error}", self.name);
                self.credentials.say(Some(trouble));
                return false;
            }
        }
        true
    }

    /// Serves with what is stored, or stores something better; says when to look again.
    async fn look(&mut self) -> Option<Instant> {
        let data = self.stored.as_ref().map(data);
        match certificates::plan(data.as_ref(), &self.hosts, Timestamp::now()) {
            Ok(Plan::Keep(pair, next)) => {
                self.failures = 0;
                self.credentials.serve(pair);
                let wait = Duration::try_from(next.duration_since(Timestamp::now()));
                // Not too early: then there would be nothing to do.
                let wait = wait.unwrap_or_default() + Duration::from_millis(10);
                Some(Instant::now() + wait.min(LONGEST_WAIT))
            }
            Ok(Plan::Store(data, why)) => {
                if let Some(not_before) = self.not_before.filter(|t| *t > Instant::now()) {
                    return Some(not_before);
                }
                self.not_before = Some(Instant::now() + INTERVAL);
                self.store(data, &why).await
            }
            Err(error) => Some(self.failed(&error.to_string())),
        }
    }

    async fn store(&mut self, data: Data, why: &str) -> Option<Instant> {
        let data = data.into_iter().map(|(k, v)| (k, ByteString(v))).collect();
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_string()),
            ..PostParams::default()
        };
        let written = match self.stored.clone() {
            Some(mut secret) => {
                secret.data = Some(data);
                // Of the version that was looked at: what another wrote since stays.
                self.api.replace(&self.name, &parameters, &secret).await
            }
            None => {
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        ..ObjectMeta::default()
                    },
                    type_: Some("kubernetes.io/tls".to_string()),
                    data: Some(data),
                    ..Secret::default()
                };
                self.api.create(&parameters, &secret).await
            }
        };
        match written {
            Ok(secret) => {
                tracing::info!(secret = self.name, "new certificates are stored: {why}");
                self.stored = Some(secret);
                Some(Instant::now())
            }
            // Another replica was first, or the Secret is gone again: the watch says it. The time is for a watch that
            // lags behind.
            Err(Error::Api(e)) if e.code == 409 || e.code == 404 => {
                Some(Instant::now() + backoff(self.failures))
            }
            Err(error) => {
                let error = with_causes(&error);
                Some(self.failed(&format!("Secret {}: {error} ({why})", self.name)))
            }
        }
    }

    fn failed(&mut self, trouble: &str) -> Instant {
        let wait = backoff(self.failures);
        self.failures += 1;
        self.credentials.say(Some(trouble.to_string()));
        Instant::now() + wait
    }
}

fn data(secret: &Secret) -> Data {
    let data = secret.data.iter().flatten();
    data.map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

/// Waits until that time; forever where there is none.
pub(super) async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
