//! Several replicas: one leads and writes, whatever happens to it.

use crate::process::{free_port, get};
use crate::replicas::{BRIEF, LEASE, Replica, Way};
use crate::restart::{assert_ended_well, children, play_master};
use crate::support::{Room, config, endless, until};
use axum::http::{Method, Request};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use kube::client::{Body, ClientBuilder};
use lotest::controller::lease::{Settings, Terms};
use lotest::controller::{self, Addresses, Scope, Stack};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tower::{Layer, Service};

/// Two replicas, the leader first.
async fn two(room: &Room, flags: &[&str]) -> [Replica; 2] {
    let first = room.replica("first", flags).await;
    first.until_leads(true).await;
    let second = room.replica("second", flags).await;
    assert_eq!(second.readiness(), "200 ok: standby");
    [first, second]
}

/// The phases come in their order and none comes twice.
fn assert_goes_on(phases: &[String]) {
    let mut order = ["", "Pending", "Running", "Succeeded"].iter();
    for phase in phases {
        assert!(order.any(|p| p == phase), "{phases:?}");
    }
    assert_eq!(phases.last().unwrap(), "Succeeded");
}

#[tokio::test]
async fn one_replica_writes_and_on_sigterm_the_other_goes_on_at_once() {
    let room = Room::new("lead").await;
    let [mut first, second] = two(&room, &[]).await;
    room.create(endless("load")).await;
    let history = room.history("load");
    room.until_phase("load", "Running").await;
    assert!(first.writes().len() > 5);
    assert!(second.all_writes().is_empty(), "{:?}", second.all_writes());
    let leader = second.leader();
    assert_eq!(leader["leads"], false);
    let holder = leader["holder"].as_str().unwrap();
    assert!(holder.starts_with("first_"), "{leader}");
    let lease = room.lease().await.unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], holder);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert_eq!(lease["spec"]["leaseTransitions"], 0);

    let before = children(&room).await;
    let told = Timestamp::now();
    assert_eq!(first.operator.terminate().await, Some(0));
    second.until_leads(true).await;
    let released = first.of_lease().pop().unwrap();
    let taken = second.of_lease().remove(0);
    let handed_over = taken.answered.duration_since(released.answered);
    let all = taken.answered.duration_since(told);
    println!("handed over {handed_over:#} after the release, {all:#} after SIGTERM");
    assert!(handed_over < SignedDuration::from_secs(2), "{handed_over}");
    let lease = room.lease().await.unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    assert_eq!(second.readiness(), "200 ok");

    play_master(&room).await;
    assert_ended_well(&room, &before, "after SIGTERM").await;
    assert_goes_on(&history.phases());
    let last = first.all_writes().pop().unwrap();
    assert_eq!(
        last.what,
        format!("update leases/{LEASE}"),
        "writes end first"
    );
    until("events about the leaders", async || {
        let mut events = room.list("Event").await;
        events.retain(|e| e["regarding"]["kind"] == "Lease");
        let notes = events.iter().map(|e| e["note"].as_str().unwrap());
        let leaders = notes.filter(|n| n.ends_with(" became leader")).count();
        (leaders == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_is_killed_is_waited_for_as_long_as_its_lease() {
    let room = Room::new("killed-leader").await;
    let [mut first, second] = two(&room, BRIEF).await;
    room.create(endless("load")).await;
    let history = room.history("load");
    until("the first child", async || {
        (!room.list("Job").await.is_empty()).then_some(())
    })
    .await;
    first.operator.kill();
    let before = children(&room).await;
    second.until_leads(true).await;
    let renewed = first.of_lease().pop().unwrap();
    let taken = second.of_lease().remove(0);
    let waited = taken.asked.duration_since(renewed.asked);
    println!("taken {waited:#} after the last renewal");
    assert!(waited >= SignedDuration::from_secs(4), "{waited}");
    play_master(&room).await;
    assert_ended_well(&room, &before, "after SIGKILL").await;
    assert_goes_on(&history.phases());
}

#[tokio::test]
async fn a_leader_that_was_stopped_for_a_while_writes_nothing_any_more() {
    let room = Room::new("stopped-leader").await;
    let [first, second] = two(&room, BRIEF).await;
    room.create(endless("load")).await;
    let history = room.history("load");
    room.until_phase("load", "Running").await;
    // What it is just sending at the moment of the stop nobody can take back (see src/controller/lead.rs).
    until("it has nothing to write", async || {
        let last = first.writes().pop()?.asked;
        let quiet = Timestamp::now().duration_since(last);
        (quiet > SignedDuration::from_secs(3)).then_some(())
    })
    .await;
    first.operator.signal("STOP");
    second.until_leads(true).await;
    play_master(&room).await;
    assert_ended_well(&room, &[], "while the leader is stopped").await;
    let before = children(&room).await;
    // There is something to do for whoever leads.
    room.create(endless("next")).await;
    room.until_phase("next", "Running").await;
    let goes_on = Timestamp::now();
    first.operator.signal("CONT");
    first.until_leads(false).await;
    assert!(first.log().contains("this replica leads no more"));
    room.create_test("last").await;
    room.until_phase("last", "Succeeded").await;
    until("what the others do is known", async || {
        let known = first.leader();
        let holder = known["holder"].as_str()?;
        holder.starts_with("second_").then_some(())
    })
    .await;
    assert_eq!(first.readiness(), "200 ok: standby");
    let mut late = first.writes();
    late.retain(|w| w.asked > goes_on);
    assert!(late.is_empty(), "{late:?}");
    let now = children(&room).await;
    assert!(before.iter().all(|c| now.contains(c)), "{now:?}");
    assert_goes_on(&history.phases());
    assert_eq!(room.lease().await.unwrap()["spec"]["leaseTransitions"], 1);
}

/// Others' clocks say nothing: a holder is waited for as long as its record says from when it was seen, and no longer.
/// So is the operator that was here before, whose Lease has the same name.
#[tokio::test]
async fn a_lease_of_somebody_else_is_waited_for_whatever_its_times_say() {
    let held = async |renewed: &str, seconds: u32| {
        let room = Room::new("clocks").await;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE},
            "spec": {
                "holderIdentity": "locust-operator-6d5b8-x7k2p_1c1b8a6e-0b61-4a4a-9a52-0f5e2f1f6a55",
                "leaseDurationSeconds": seconds,
                "leaseTransitions": 7,
                "acquireTime": renewed,
                "renewTime": renewed,
            },
        });
        room.create(lease).await;
        let replica = room.replica("late", &[]).await;
        (room, replica)
    };
    for renewed in ["2001-01-01T00:00:00.000000Z", "2100-01-01T00:00:00.000000Z"] {
        let (room, replica) = held(renewed, 3).await;
        replica.until_leads(true).await;
        let taken = replica.of_lease().remove(0).asked;
        let taken = taken.duration_since(replica.first_look());
        assert!(taken >= SignedDuration::from_secs(3), "{renewed}: {taken}");
        assert_eq!(room.lease().await.unwrap()["spec"]["leaseTransitions"], 8);
    }

    let (room, replica) = held("2001-01-01T00:00:00.000000Z", 6).await;
    // It lives, for longer than its lease, with a clock of long ago.
    for second in 0..8 {
        let renewed = format!("2001-01-01T00:00:{second:02}.000000Z");
        room.patch("Lease", LEASE, json!({"spec": {"renewTime": renewed}}))
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let promise = json!({"spec": {"leaseDurationSeconds": 3600}});
    room.patch("Lease", LEASE, promise).await;
    assert!(replica.of_lease().is_empty(), "{:?}", replica.of_lease());
    room.create_test("load").await;
    assert_eq!(replica.readiness(), "200 ok: standby");
    let holder = replica.leader()["holder"].as_str().unwrap().to_string();
    assert!(
        holder.starts_with("locust-operator-6d5b8-x7k2p_"),
        "{holder}"
    );
    assert!(replica.all_writes().is_empty());
    // As client-go gives it back.
    let free = json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
    room.patch("Lease", LEASE, free).await;
    room.until_phase("load", "Succeeded").await;
    assert_eq!(room.lease().await.unwrap()["spec"]["leaseTransitions"], 8);
}

#[tokio::test]
async fn a_leader_that_cannot_reach_the_api_server_stops_in_time_and_comes_back() {
    let room = Room::new("cut-off").await;
    let way = Way::new();
    let replica = room.replica_behind("only", BRIEF, Some(&way)).await;
    replica.until_leads(true).await;
    room.create(endless("load")).await;
    room.until_phase("load", "Running").await;
    let before = children(&room).await;
    way.hold();
    replica.until_leads(false).await;
    let renewed = replica.of_lease().pop().unwrap().asked;
    let stopped = Timestamp::now().duration_since(renewed);
    println!("leads no more {stopped:#} after the last renewal");
    assert!(
        replica.log().contains("was not renewed for 3s"),
        "{}",
        replica.log()
    );
    way.release();
    replica.until_leads(true).await;
    play_master(&room).await;
    assert_ended_well(&room, &before, "after it was cut off").await;
    assert_eq!(room.lease().await.unwrap()["spec"]["leaseTransitions"], 0);
}

/// A client whose first patch of an object or subresource with this name waits.
#[derive(Clone)]
struct Held {
    name: &'static str,
    was: Arc<AtomicBool>,
    reached: Arc<Notify>,
    release: Arc<Notify>,
    /// It is not waited for any more.
    dropped: Arc<Notify>,
}

impl Held {
    fn first(name: &'static str) -> Held {
        Held {
            name,
            was: Arc::default(),
            reached: Arc::default(),
            release: Arc::default(),
            dropped: Arc::default(),
        }
    }
}

impl<S> Layer<S> for Held {
    type Service = Holding<S>;

    fn layer(&self, inner: S) -> Holding<S> {
        let held = self.clone();
        Holding { inner, held }
    }
}

struct Holding<S> {
    inner: S,
    held: Held,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Holding<S>
where
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_it = request.uri().path().ends_with(self.held.name);
        let is_it = is_it && request.method() == Method::PATCH;
        let answer = self.inner.call(request);
        if !is_it || self.held.was.swap(true, Ordering::SeqCst) {
            return Box::pin(answer);
        }
        let held = self.held.clone();
        Box::pin(async move {
            let _told = Told(Arc::clone(&held.dropped));
            held.reached.notify_one();
            held.release.notified().await;
            answer.await
        })
    }
}

/// Tells when it goes.
struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A leader in this process that tries to renew so often, and could go on without for most of a minute.
struct Slow {
    metrics: u16,
    _stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), controller::Error>>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Slow {
    async fn start(room: &Room, held: &Held, retry: Duration) -> Slow {
        room.allow("lotest-system:lotest").await;
        let config = config("LOTEST_TEST_OPERATOR_KUBECONFIG").await;
        let client = ClientBuilder::try_from(config).unwrap();
        let client = client.with_layer(held).build();
        let metrics = free_port();
        let terms = Terms {
            lease: Duration::from_secs(60),
            deadline: Duration::from_secs(58),
            retry,
        };
        let scope = Scope {
            namespaces: vec![room.namespace.clone()],
            addresses: Addresses {
                health: None,
                metrics: Some(format!("127.0.0.1:{metrics}")),
            },
            pod: None,
            webhook: None,
            election: Some(Settings {
                namespace: Some(room.namespace.clone()),
                identity: "slow_1".to_string(),
                terms,
            }),
        };
        let stack = Stack::default();
        let start = stack.start().unwrap();
        let (stop, stopped) = watch::channel(false);
        let run = controller::run_layers(|_| Ok(client), stack, start, scope, stopped);
        Slow {
            metrics,
            _stop: stop,
            running: tokio::spawn(run),
        }
    }

    async fn until_it_leads_no_more(&self) {
        let metrics = self.metrics;
        let ends = format!("leader_election_master_status{{name=\"{LEASE}\"}} 0");
        until("the end of the term", async || {
            // It runs on this thread.
            let text = tokio::task::spawn_blocking(move || get(metrics, "/metrics")).await;
            let (_, _, text) = text.unwrap()?;
            text.lines().any(|line| line == ends).then_some(())
        })
        .await;
    }
}

/// Takes the lease as another leader does.
async fn take_lease(room: &Room) {
    let taken = json!({"spec": {"holderIdentity": "fast_2", "leaseDurationSeconds": 3600, "leaseTransitions": 1}});
    room.patch("Lease", LEASE, taken).await;
}

/// The leader does not know yet that another one leads, and will not look for most of a minute; what it writes is refused,
/// and it looks at its lease before it writes anything more.
#[tokio::test]
async fn a_leader_whose_write_is_refused_looks_at_its_lease_first() {
    let room = Room::new("overtaken-leader").await;
    let held = Held::first("/status");
    let slow = Slow::start(&room, &held, Duration::from_secs(45)).await;
    room.create(endless("load")).await;
    held.reached.notified().await;
    take_lease(&room).await;
    let changed = json!({"metadata": {"labels": {"by": "fast_2"}}});
    room.patch("LocustTest", "load", changed).await;
    let released = Instant::now();
    held.release.notify_one();
    slow.until_it_leads_no_more().await;
    assert!(
        released.elapsed() < Duration::from_secs(40),
        "it renewed first"
    );
    let statuses: Vec<Value> = room
        .requests()
        .into_iter()
        .filter(|r| r["objectRef"]["subresource"] == "status")
        .map(|r| r["responseStatus"]["code"].clone())
        .collect();
    assert_eq!(statuses, [409]);
    let load = room.get("LocustTest", "load").await.unwrap();
    assert_eq!(load.get("status"), None);
}

/// What is about to be sent when the lease is lost is not sent later.
#[tokio::test]
async fn what_a_leader_was_about_to_write_ends_with_its_term() {
    let room = Room::new("late-write").await;
    let held = Held::first("/jobs/load-worker");
    let slow = Slow::start(&room, &held, Duration::from_secs(1)).await;
    room.create(endless("load")).await;
    held.reached.notified().await;
    take_lease(&room).await;
    let dropped = tokio::time::timeout(Duration::from_secs(30), held.dropped.notified());
    assert!(dropped.await.is_ok(), "it is still about to be sent");
    held.release.notify_one();
    slow.until_it_leads_no_more().await;
    // It stands by, and takes up the work where it is when it leads again.
    assert!(room.get("Job", "load-master").await.is_some());
    assert!(room.get("Job", "load-worker").await.is_none());
    let before = children(&room).await;
    let free = json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
    room.patch("Lease", LEASE, free).await;
    play_master(&room).await;
    assert_ended_well(&room, &before, "in the second term").await;
    assert_eq!(room.lease().await.unwrap()["spec"]["leaseTransitions"], 2);
}
