//! Whether this replica leads, and the fence around its writes.
//!
//! A lease does not fence: a leader that was stopped for a while and goes on knows nothing of the next one. So each write
//! asks here first, right before it is sent and each time it is waited for: whether the lease was renewed lately enough by
//! a clock that goes on while the process is stopped. What was begun in one term is never sent in another: connections
//! end with it. Only a request that is on the wire already, or is just being put there at the moment of a stop, can arrive
//! too late, and does no harm then:
//!
//! - a status carries the resourceVersion that it follows from, and is refused. So is every later write then, until the
//!   lease has been looked at (see [`Lead::doubt`]);
//! - a ControllerRevision is created under a name made of the test's uid, and is there already;
//! - a child is what the ControllerRevision says, whoever applies it, and goes with its test. Only a Job that was made by
//!   the next leader, has run and was removed while its twin was still on the wire would run again: the API knows no
//!   condition for what is made but that it is not there;
//! - patches and deletions name the uid of their object, and follow from a phase that never changes again or from a
//!   status that was written just before them;
//! - an event has a name made from what it says.

use axum::http::{Method, Request, Response, StatusCode};
use futures::future::BoxFuture;
use kube::Client;
use kube::client::Body;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::{Notify, watch};
use tower::Service;

/// A write that is not sent because another replica may lead.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead any more")]
pub struct Lost;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hold {
    No,
    Until(Instant),
    /// Nobody else takes part.
    Always,
}

#[derive(Debug, Clone, Copy)]
struct State {
    hold: Hold,
    /// Counts how often this replica began to lead.
    term: u64,
    /// The term for which writes may be sent.
    begun: u64,
    /// Counts the terms that are over.
    lost: u64,
    /// Counts what casts doubt on whether we lead; so many doubts were looked into.
    doubts: u64,
    settled: u64,
}

impl State {
    fn holds(&self) -> bool {
        match self.hold {
            Hold::No => false,
            Hold::Until(until) => Instant::now() < until,
            Hold::Always => true,
        }
    }

    fn may_write(&self, term: u64) -> bool {
        self.term == term && self.begun == term && self.holds()
    }

    /// When it holds no more, if nothing happens.
    async fn ends(&self) {
        match self.hold {
            Hold::No => {}
            Hold::Until(until) => tokio::time::sleep_until(until.into()).await,
            Hold::Always => std::future::pending().await,
        }
    }

    fn term(&self) -> Option<u64> {
        (self.hold != Hold::No).then_some(self.term)
    }
}

/// Shared by the election, which says who leads, and by those who write.
#[derive(Debug)]
pub struct Lead {
    state: watch::Sender<State>,
    look: Notify,
}

impl Lead {
    fn new(hold: Hold) -> Arc<Lead> {
        let state = State {
            hold,
            term: 0,
            begun: 0,
            lost: 0,
            doubts: 0,
            settled: 0,
        };
        Arc::new(Lead {
            state: watch::Sender::new(state),
            look: Notify::new(),
        })
    }

    /// Leads without an election.
    pub fn always() -> Arc<Lead> {
        Lead::new(Hold::Always)
    }

    pub fn standby() -> Arc<Lead> {
        Lead::new(Hold::No)
    }

    /// A new term begins; it lasts until then.
    pub fn gain(&self, until: Instant) {
        self.state.send_modify(|s| {
            s.term += 1;
            s.hold = Hold::Until(until);
            s.settled = s.doubts;
        });
    }

    /// The term goes on; so many doubts came before that was asked.
    pub fn renewed(&self, until: Instant, doubts: u64) {
        self.state.send_modify(|s| {
            s.hold = Hold::Until(until);
            s.settled = doubts;
        });
    }

    pub fn lose(&self) {
        self.state.send_modify(|s| {
            s.lost += u64::from(s.hold != Hold::No);
            s.hold = Hold::No;
        });
    }

    /// Nothing of an earlier term is under way any more: the writes of this one may be sent.
    pub fn begin(&self, term: u64) {
        self.state.send_modify(|s| s.begun = term);
    }

    /// Somebody else has written what only the leader writes, or it looks like that. No write is sent until the lease has
    /// been looked at.
    pub fn doubt(&self) {
        if self.state.borrow().hold == Hold::Always {
            return;
        }
        self.state.send_modify(|s| s.doubts += 1);
        self.look.notify_one();
    }

    pub fn doubts(&self) -> u64 {
        self.state.borrow().doubts
    }

    /// Waits for a doubt.
    pub async fn doubted(&self) {
        self.look.notified().await;
    }

    pub fn holds(&self) -> bool {
        self.state.borrow().holds()
    }

    /// The term in which this replica leads.
    pub fn term(&self) -> Option<u64> {
        self.state.borrow().term()
    }

    /// Waits until the term is another one.
    pub async fn other_than(&self, term: Option<u64>) -> Option<u64> {
        let mut states = self.state.subscribe();
        let other = states
            .wait_for(|s| s.term() != term)
            .await
            .map(|s| s.term());
        match other {
            Ok(other) => other,
            Err(_) => std::future::pending().await,
        }
    }

    /// The term in which a write may be sent now. Waits while there is a doubt.
    async fn permit(&self) -> Result<u64, Lost> {
        let mut states = self.state.subscribe();
        loop {
            let state = *states.borrow_and_update();
            if !state.may_write(state.term) {
                return Err(Lost);
            }
            if state.doubts <= state.settled {
                return Ok(state.term);
            }
            tokio::select! {
                _ = states.changed() => {}
                () = state.ends() => {}
            }
        }
    }

    /// Waits until nothing of a term may be written any more.
    async fn lost(&self, term: u64) {
        let mut states = self.state.subscribe();
        loop {
            let state = *states.borrow_and_update();
            if !state.may_write(term) {
                return;
            }
            tokio::select! {
                _ = states.changed() => {}
                () = state.ends() => {}
            }
        }
    }

    /// Goes on with something as long as the term lasts.
    async fn during<T>(&self, term: u64, work: impl Future<Output = T>) -> Result<T, Lost> {
        let mut lost = pin!(self.lost(term));
        let mut work = pin!(work);
        poll_fn(|context| {
            // The clock is asked too: timers are late after the process was stopped.
            let is_over = !self.state.borrow().may_write(term);
            if is_over || lost.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Lost));
            }
            work.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// A connection, for as long as no term ends: what it was given to send and has not sent by then is never sent.
    pub async fn connected(&self, connection: impl Future<Output = ()>) {
        let lost = self.state.borrow().lost;
        let mut connection = pin!(connection);
        poll_fn(|context| {
            let state = *self.state.borrow();
            let is_over = state.lost != lost || (state.hold != Hold::No && !state.holds());
            if is_over {
                return Poll::Ready(());
            }
            connection.as_mut().poll(context)
        })
        .await;
    }

    /// A client whose writes are sent only while this replica leads.
    pub fn fence(self: &Arc<Lead>, client: Client) -> Client {
        if self.state.borrow().hold == Hold::Always {
            return client;
        }
        let namespace = client.default_namespace().to_string();
        let lead = Arc::clone(self);
        Client::new(Fence { client, lead }, namespace)
    }
}

#[derive(Clone)]
struct Fence {
    client: Client,
    lead: Arc<Lead>,
}

impl Fence {
    async fn send(self, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let method = request.method().clone();
        if method == Method::GET {
            return self.client.send(request).await;
        }
        let lost = |e: Lost| kube::Error::Service(Box::new(e));
        let term = self.lead.permit().await.map_err(lost)?;
        let answer = self.lead.during(term, self.client.send(request));
        let answer = answer.await.map_err(lost)??;
        // What is created may be there since before: that says nothing about now.
        if answer.status() == StatusCode::CONFLICT && method != Method::POST {
            self.lead.doubt();
        }
        Ok(answer)
    }
}

impl Service<Request<Body>> for Fence {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_term_that_is_over_by_the_clock_is_over_before_anybody_says_so() {
        let lead = Lead::standby();
        lead.gain(Instant::now());
        lead.begin(1);
        assert_eq!(lead.term(), Some(1), "nobody has said so");
        assert!(!lead.holds());
        assert!(lead.permit().await.is_err());
        assert!(lead.during(1, ready(())).await.is_err(), "nothing is begun");
    }

    #[tokio::test]
    async fn nothing_is_sent_before_the_term_has_begun_nor_in_the_next_one() {
        let lead = Lead::standby();
        assert!(lead.permit().await.is_err());
        lead.gain(soon());
        assert!(
            lead.permit().await.is_err(),
            "something older may be under way"
        );
        lead.begin(1);
        assert_eq!(lead.permit().await.ok(), Some(1));
        let mut work = pin!(lead.during(1, pending::<()>()));
        assert!(futures::poll!(work.as_mut()).is_pending());
        lead.lose();
        lead.gain(soon());
        lead.begin(2);
        assert!(work.await.is_err());
        assert!(lead.during(1, ready(())).await.is_err());
        assert!(lead.during(2, ready(())).await.is_ok());
    }

    #[tokio::test]
    async fn connections_end_with_a_term_before_they_send_anything_more() {
        let lead = Lead::standby();
        let mut before = pin!(lead.connected(pending()));
        assert!(futures::poll!(before.as_mut()).is_pending(), "it stands by");
        lead.gain(soon());
        assert!(futures::poll!(before.as_mut()).is_pending());
        lead.lose();
        lead.lose();
        assert!(futures::poll!(before.as_mut()).is_ready());
        let mut later = pin!(lead.connected(pending()));
        assert!(futures::poll!(later.as_mut()).is_pending());
        lead.gain(Instant::now());
        assert!(
            futures::poll!(later.as_mut()).is_ready(),
            "it is over by the clock"
        );
    }

    #[tokio::test]
    async fn a_doubt_holds_writes_back_until_a_renewal_that_was_asked_for_after_it() {
        let lead = Lead::standby();
        lead.gain(soon());
        lead.begin(1);
        let before = lead.doubts();
        lead.doubt();
        lead.doubted().await;
        let mut permit = pin!(lead.permit());
        assert!(futures::poll!(permit.as_mut()).is_pending());
        lead.renewed(soon(), before);
        assert!(futures::poll!(permit.as_mut()).is_pending());
        lead.renewed(soon(), lead.doubts());
        assert_eq!(permit.await.ok(), Some(1));

        lead.doubt();
        let mut permit = pin!(lead.permit());
        assert!(futures::poll!(permit.as_mut()).is_pending());
        lead.lose();
        assert!(permit.await.is_err());
    }

    #[tokio::test]
    async fn without_an_election_nothing_is_held_back() {
        let lead = Lead::always();
        lead.doubt();
        assert_eq!(lead.permit().await.ok(), Some(0));
        assert!(lead.during(0, ready(())).await.is_ok());
    }
}
