//! Taking layers up again when their files change: read, compared, admitted, and offered to the controller, or refused
//! with everything that is wrong.

use super::Offers;
use super::events;
use super::layers::{self, Contents, Stack, Start};
use super::metrics::Metrics;
use super::mounts::Mounts;
use super::rights::{self, Refusal};
use super::standing::{Board, Used};
use crate::bundle::problem::Problem;
use crate::bundle::rules::EventType;
use crate::bundle::{Bundle, Layer};
use crate::engine::notice::Notice;
use crate::engine::text::escape;
use kube::Client;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// After a refusal that has to do with the cluster, it is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// A bundle for the controller to run.
#[derive(Debug)]
pub struct Offer {
    pub bundle: Arc<Bundle>,
    pub layers: Vec<Used>,
    /// See [`Board::number`].
    pub number: u64,
}

/// Everything that a reload needs.
pub struct Reload {
    client: Client,
    namespaces: Vec<String>,
    stack: Arc<Stack>,
    board: Arc<Board>,
    offers: watch::Sender<Option<Arc<Offer>>>,
    /// What events about the bundle are about: the operator's pod.
    pod: Option<Value>,
    /// As last read.
    contents: Arc<Contents>,
    /// What was offered last.
    bundle: Arc<Bundle>,
    /// The layers that it is made of.
    layers: Vec<Layer>,
    /// Why the cluster does not allow what was last read.
    asked: Option<Refusal>,
}

impl Reload {
    /// Begins with what the operator starts with; takes away from it what its Role does not allow.
    pub async fn new(
        client: Client,
        namespaces: Vec<String>,
        stack: Stack,
        mut start: Start,
        pod: Option<Value>,
        metrics: Arc<Metrics>,
    ) -> Result<(Reload, Offers), Vec<Problem>> {
        let mut asked = None;
        let built_in = Bundle::load(&[Layer::built_in()], &stack.settings);
        while start.used > 1
            && let Ok((least, _)) = &built_in
            && let Err(refusal) = rights::check(&client, &namespaces, &start.bundle, least).await
        {
            for problem in refusal.problems() {
                if !start.problems.contains(problem) {
                    start.problems.push(problem.clone());
                }
            }
            asked = Some(refusal);
            start = stack.start_below(start.used, start.contents, start.problems)?;
        }
        let layers = stack.used(start.used);
        let board = Arc::new(Board::new(metrics, start.bundle.digest(), layers));
        let (offers, offered) = watch::channel(None);
        let mut layers = layers::layers(&start.contents);
        layers.truncate(start.used);
        let reload = Reload {
            client,
            namespaces,
            stack: Arc::new(stack),
            board,
            offers,
            pod,
            contents: Arc::new(start.contents),
            bundle: Arc::new(start.bundle),
            layers,
            asked,
        };
        for warning in &start.warnings {
            tracing::warn!("{}", escape(warning));
        }
        if !start.problems.is_empty() {
            reload.refuse(&start.problems).await;
        }
        Ok((reload, offered))
    }

    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    pub fn bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.bundle)
    }

    /// Takes up changes until it is aborted.
    pub async fn run(mut self) {
        let mut mounts = Mounts::new(&self.stack.directories);
        let mut ask_again = false;
        loop {
            self.look(ask_again).await;
            ask_again = false;
            if self.asked.is_some() {
                ask_again = tokio::time::timeout(ASK_AGAIN, mounts.changed())
                    .await
                    .is_err();
            } else {
                mounts.changed().await;
            }
            // Before the files are read, so that no change falls between.
            mounts = Mounts::new(&self.stack.directories);
        }
    }

    /// Reads the layers; `again`: even where they have not changed.
    async fn look(&mut self, again: bool) {
        let (stack, last) = (Arc::clone(&self.stack), Arc::clone(&self.contents));
        let running = self.layers.clone();
        // Off the thread on which everything else waits.
        let read = tokio::task::spawn_blocking(move || {
            let contents = stack.read();
            if contents == *last && !again {
                return None;
            }
            let is_running =
                layers::layers(&contents) == running && contents.len() == running.len();
            let admitted = (!is_running).then(|| stack.admit(&contents));
            Some((contents, admitted))
        });
        let (contents, admitted) = match read.await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the layers could not be looked at");
                return;
            }
        };
        self.contents = Arc::new(contents);
        let bundle = match admitted {
            // As they were before the last change.
            None => Arc::clone(&self.bundle),
            Some(Err(problems)) => {
                self.asked = None;
                return self.refuse(&problems).await;
            }
            Some(Ok((bundle, warnings))) => {
                for warning in warnings {
                    tracing::warn!("{}", escape(&warning));
                }
                let checked = rights::check(&self.client, &self.namespaces, &bundle, &self.bundle);
                if let Err(refusal) = checked.await {
                    if self.asked.as_ref() != Some(&refusal) {
                        self.refuse(refusal.problems()).await;
                    }
                    self.asked = Some(refusal);
                    return;
                }
                Arc::new(bundle)
            }
        };
        self.asked = None;
        self.offer(bundle).await;
    }

    async fn offer(&mut self, bundle: Arc<Bundle>) {
        self.bundle = Arc::clone(&bundle);
        self.layers = layers::layers(&self.contents);
        let offer = Offer {
            layers: self.stack.used(self.contents.len()),
            number: self.board.number(),
            bundle,
        };
        let digest = offer.bundle.digest().to_string();
        tracing::info!(bundle = digest, "layers taken");
        self.offers.send_replace(Some(Arc::new(offer)));
        let message = format!("The layers are taken as bundle {digest}");
        self.tell(EventType::Normal, "BundleLoaded", message).await;
    }

    async fn refuse(&self, problems: &[Problem]) {
        self.board.refused(problems);
        let bundle = self.bundle.digest();
        for problem in problems {
            tracing::error!(
                bundle,
                "the layers are refused, the bundle stays:\n{problem}"
            );
        }
        let lines: Vec<String> = problems.iter().map(Problem::one_line).collect();
        let message = format!(
            "The layers are refused, bundle {bundle} stays: {}",
            lines.join("; ")
        );
        self.tell(EventType::Warning, "BundleRefused", message)
            .await;
    }

    async fn tell(&self, kind: EventType, reason: &str, message: String) {
        let Some(pod) = &self.pod else {
            return;
        };
        let notice = Notice {
            kind,
            reason: reason.to_string(),
            message,
            occurrence: None,
        };
        let occurrence = jiff::Timestamp::now().as_microsecond().to_string();
        events::send_about(&self.client, pod, &occurrence, &notice).await;
    }
}
