//! Where the operator stands: which bundle it runs, and what keeps it from the one that its layers say. `/status` and
//! `lotest status` say it.

use super::metrics::Metrics;
use crate::bundle::problem::Problem;
use crate::engine::text::escape;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The digest of the bundle that runs.
    pub bundle: String,
    /// Since when it runs.
    pub since: Timestamp,
    pub layers: Vec<Used>,
    /// The layers say something else than what runs.
    pub stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
    /// Why it does not run.
    pub mistakes: Vec<Mistake>,
    /// What is wrong with the webhooks, by what it is about. Version 2 of the API needs none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub webhook: BTreeMap<String, String>,
    /// Nothing without an election.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
}

/// Which of the replicas leads, as far as this one knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leader {
    /// Namespace and name.
    pub lease: String,
    /// Empty when nobody holds it, or when that is not known yet.
    pub holder: String,
    /// This replica.
    pub identity: String,
    pub leads: bool,
}

/// A layer, and whether what runs is made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Used {
    pub name: String,
    pub used: bool,
}

/// A [`Problem`] for other programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    pub file: String,
    /// From 1; 0 is the whole file.
    pub line: usize,
    pub column: usize,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// All of it with the excerpt, for a person.
    pub text: String,
}

impl From<&Problem> for Mistake {
    fn from(problem: &Problem) -> Mistake {
        Mistake {
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            help: problem.help.clone(),
            text: problem.to_string(),
        }
    }
}

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = escape(&self.holder);
        match (self.leads, holder.as_str()) {
            (true, _) => write!(f, "this replica"),
            (false, "") => write!(f, "nobody (standby)"),
            (false, other) => write!(f, "{other} (standby)"),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "bundle  {} since {:.0}", self.bundle, self.since)?;
        for (n, layer) in self.layers.iter().enumerate() {
            let title = if n == 0 { "layers" } else { "" };
            let not = if layer.used { "" } else { " (not used)" };
            writeln!(f, "{title:8}{}{not}", layer.name)?;
        }
        for (about, trouble) in &self.webhook {
            writeln!(f, "\nwebhook {about}: {}", escape(trouble))?;
        }
        if let Some(leader) = &self.leader {
            writeln!(f, "leader  {leader}")?;
        }
        if !self.stale {
            return Ok(());
        }
        writeln!(
            f,
            "\nThe layers are not what runs, since {:.0}:",
            self.stale_since.unwrap_or(self.since)
        )?;
        for mistake in &self.mistakes {
            writeln!(f, "\n{}", mistake.text)?;
        }
        Ok(())
    }
}

/// The standing, shared by those who change it and those who say it.
#[derive(Debug)]
pub struct Board {
    standing: Mutex<(Standing, u64)>,
    /// The number of the bundle that was the last to run.
    running: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Board {
    pub fn new(metrics: Arc<Metrics>, bundle: &str, layers: Vec<Used>) -> Board {
        metrics.runs(bundle);
        let standing = Standing {
            bundle: bundle.to_string(),
            since: Timestamp::now(),
            layers,
            ..Standing::default()
        };
        Board {
            standing: Mutex::new((standing, 0)),
            running: watch::Sender::new(0),
            metrics,
        }
    }

    pub fn get(&self) -> Standing {
        self.lock().0.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Standing, u64)> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a bundle that is about to run.
    pub fn number(&self) -> u64 {
        let mut locked = self.lock();
        locked.1 += 1;
        locked.1
    }

    /// What the operator starts with after all, and nothing is wrong with it.
    pub fn begins(&self, bundle: &str, layers: Vec<Used>) {
        self.metrics.runs(bundle);
        self.metrics.stale(false);
        let mut locked = self.lock();
        let webhook = std::mem::take(&mut locked.0.webhook);
        let leader = locked.0.leader.take();
        locked.0 = Standing {
            bundle: bundle.to_string(),
            since: Timestamp::now(),
            layers,
            webhook,
            leader,
            ..Standing::default()
        };
    }

    /// What is wrong with something about the webhooks; nothing when it is as it should be. Said in the log when it
    /// changes.
    pub fn webhook(&self, about: &str, trouble: Option<String>) {
        let mut locked = self.lock();
        let all = &mut locked.0.webhook;
        if all.get(about) == trouble.as_ref() {
            return;
        }
        match trouble {
            Some(trouble) => {
                tracing::warn!("webhook {about}: {}", escape(&trouble));
                all.insert(about.to_string(), trouble);
            }
            None => {
                tracing::info!("webhook {about}: as it should be");
                all.remove(about);
            }
        }
    }

    /// When the certificate that the webhooks are served with expires.
    pub fn certificate_expires(&self, at: Timestamp) {
        self.metrics.certificate_expires(at.as_second());
    }

    /// Who leads.
    pub fn led(&self, leader: Leader) {
        self.lock().0.leader = Some(leader);
    }

    /// Waits until the bundle of this number runs; whether it ever did, and no other in its place.
    pub async fn until_runs(&self, number: u64) -> bool {
        let mut running = self.running.subscribe();
        let last = running.wait_for(|last| *last >= number).await;
        last.is_ok_and(|last| *last == number)
    }

    /// The bundle of this number runs. The layers may have been refused again since it got the number.
    pub fn runs(&self, number: u64, bundle: &str, layers: &[Used]) {
        let mut locked = self.lock();
        let (standing, last) = &mut *locked;
        if standing.bundle != bundle {
            standing.since = Timestamp::now();
            standing.bundle = bundle.to_string();
        }
        standing.layers = layers.to_vec();
        self.metrics.runs(bundle);
        self.metrics.reloaded("success");
        if *last == number {
            standing.stale = false;
            standing.stale_since = None;
            standing.mistakes.clear();
            self.metrics.stale(false);
        }
        drop(locked);
        self.running.send_replace(number);
    }

    /// The bundle of this number is in order and does not run yet, for this reason.
    pub fn waits(&self, number: u64, problem: &Problem) {
        let mut locked = self.lock();
        let (standing, last) = &mut *locked;
        // What was refused since says more.
        if *last == number {
            standing.stale = true;
            standing.stale_since.get_or_insert_with(Timestamp::now);
            standing.mistakes = vec![Mistake::from(problem)];
            self.metrics.stale(true);
        }
    }

    /// The layers are not taken.
    pub fn refused(&self, problems: &[Problem]) {
        let mut locked = self.lock();
        locked.1 += 1;
        let standing = &mut locked.0;
        standing.stale = true;
        standing.stale_since.get_or_insert_with(Timestamp::now);
        standing.mistakes = problems.iter().map(Mistake::from).collect();
        self.metrics.stale(true);
        self.metrics.reloaded("failure");
    }
}
