//! The webhooks: conversion between the versions of the API, and warnings for who applies a test. Every replica serves
//! them, whether it leads or not, from before the first list is in.
//!
//! - [`server`]: HTTPS with what it takes against hostile requests.
//! - [`conversion`] and [`admission`]: a review in, its answer out; pure.
//! - [`certificates`]: made, examined and renewed; pure but for randomness.
//! - [`secret`] and [`files`]: where certificates are kept, and that they stay good.
//! - [`trust`]: that the API server trusts them.
//!
//! Without certificates, or without the rights for them, the operator works on: version 2 of the API needs no webhook.

pub mod admission;
pub mod certificates;
pub mod conversion;
mod files;
mod secret;
pub mod server;
mod trust;

use crate::bundle::Bundle;
use crate::controller::{Board, Error, Offer, http};
use arc_swap::ArcSwap;
use certificates::Pair;
use kube::Client;
use serde_json::Value;
use server::{Answers, Served};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a webhook server needs to know of where it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `HOST:PORT`.
    pub address: String,
    /// The operator's namespace, in which the Service and the Secret are.
    pub namespace: String,
    pub service: String,
    /// Other names and addresses that the API server reaches it by.
    pub hosts: Vec<String>,
    pub source: Source,
    /// The ValidatingWebhookConfiguration, if there is to be one.
    pub configuration: Option<String>,
}

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Made here and kept in a Secret of this name.
    Secret(String),
    /// Made by somebody else.
    Files {
        directory: PathBuf,
        certificate: String,
        key: String,
    },
}

impl Settings {
    /// The names that a certificate is for.
    fn names(&self) -> Vec<String> {
        let service = format!("{}.{}.svc", self.service, self.namespace);
        let mut names = vec![format!("{service}.cluster.local"), service];
        for host in &self.hosts {
            if !names.contains(host) {
                names.push(host.clone());
            }
        }
        names
    }
}

/// What is served, and what is to be trusted: written by those who keep certificates.
struct Credentials {
    served: Arc<Served>,
    trust: watch::Sender<Option<Vec<u8>>>,
    board: Arc<Board>,
}

impl Credentials {
    fn serve(&self, pair: Pair) {
        let known = self.served.0.load_full();
        if known.is_none_or(|known| known.cert != pair.serving.cert) {
            tracing::info!(expires = %pair.expires, "the webhooks are served with a new certificate");
        }
        self.served.0.store(Some(pair.serving));
        self.board.certificate_expires(pair.expires);
        self.trust.send_if_modified(|trust| {
            let differs = *trust != pair.trust;
            *trust = pair.trust;
            differs
        });
        self.say(None);
    }

    /// What keeps certificates from being as they should; nothing when they are.
    fn say(&self, trouble: Option<String>) {
        self.board.webhook("certificates", trouble);
    }
}

/// A webhook server; ends when it is dropped.
pub struct Server {
    bundle: Arc<ArcSwap<Bundle>>,
    tasks: JoinSet<()>,
}

/// Listens, and begins to keep certificates and the API server's trust in them.
pub async fn start(
    client: &Client,
    settings: Settings,
    bundle: Arc<Bundle>,
    board: &Arc<Board>,
) -> Result<Server, Error> {
    let listener = http::bind(&settings.address).await?;
    let bundle = Arc::new(ArcSwap::new(bundle));
    let served = Arc::new(Served::default());
    let (trust, trusted) = watch::channel(None);
    let mut tasks = JoinSet::new();
    match server::tls(Arc::clone(&served)) {
        Ok(tls) => {
            let router = server::router(Answers::new(Arc::clone(&bundle)));
            tasks.spawn(server::serve(listener, tls, router));
        }
        Err(error) => board.webhook("server", Some(format!("TLS is not possible: {error}"))),
    }
    let credentials = Credentials {
        served,
        trust,
        board: Arc::clone(board),
    };
    let configuration = settings.configuration.clone();
    let referring = [
        (trust::Kind::Definition, Some(trust::DEFINITION.to_string())),
        (trust::Kind::Configuration, configuration),
    ];
    for (kind, name) in referring {
        if let Some(name) = name {
            let board = Arc::clone(board);
            let keeper = trust::Keeper::new(client.clone(), kind, name, &settings, board);
            tasks.spawn(keeper.keep(trusted.clone()));
        }
    }
    match settings.source.clone() {
        Source::Secret(name) => {
            let keeper = secret::Keeper::new(client.clone(), &settings, name, credentials);
            tasks.spawn(keeper.keep());
        }
        Source::Files {
            directory,
            certificate,
            key,
        } => {
            tasks.spawn(files::keep(directory, certificate, key, credentials));
        }
    }
    Ok(Server { bundle, tasks })
}

impl Server {
    /// Takes the rules for warnings from this bundle, and from those that are offered after it.
    pub fn follow(&mut self, bundle: Arc<Bundle>, mut offers: watch::Receiver<Option<Arc<Offer>>>) {
        let current = Arc::clone(&self.bundle);
        current.store(bundle);
        self.tasks.spawn(async move {
            while offers.changed().await.is_ok() {
                if let Some(offer) = &*offers.borrow_and_update() {
                    current.store(Arc::clone(&offer.bundle));
                }
            }
        });
    }
}

/// The request of a review of this kind.
fn request(sent: &mut Value, api_version: &str, kind: &str) -> Result<Value, String> {
    if sent["apiVersion"] != api_version || sent["kind"] != kind {
        return Err(format!("expected a {kind} of {api_version}"));
    }
    match sent.get_mut("request").map(Value::take) {
        Some(request) if request.is_object() => Ok(request),
        _ => Err("`request` is missing".to_string()),
    }
}
