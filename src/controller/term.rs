//! From one term to the next: what this replica begins when it leads, and leaves when it does so no more.

use super::Controller;
use super::children::Claims;
use super::queue::Queue;
use super::reconcile::Context;
use crate::engine::run::Run;
use std::sync::Arc;
use tokio::task::JoinSet;

impl Controller {
    /// Leads in this term, or stands by. What is watched goes on: the index stays.
    pub(super) fn follow(&mut self, term: Option<u64>) {
        // Never asked again, they send nothing more.
        self.tasks = JoinSet::new();
        self.running.clear();
        self.queue = Queue::default();
        self.term = term;
        self.context = Arc::new(Context {
            client: self.context.client.clone(),
            bundle: Arc::clone(&self.context.bundle),
            claims: Arc::new(Claims::default()),
            crowded: Arc::default(),
        });
        let Some(term) = term else {
            return self.metrics.queue(0, 0);
        };
        // What became of the tests meanwhile others have decided: it is read again, as after a start.
        let keys: Vec<_> = self.index.keys().cloned().collect();
        for key in &keys {
            self.index.set_run(key, Run::default());
        }
        self.look_at_all();
        self.lead.begin(term);
    }

    /// Whether work may begin.
    pub(super) fn may_start(&self) -> bool {
        let is_leader = self.term.is_some() && self.lead.holds();
        self.synced && is_leader
    }
}
