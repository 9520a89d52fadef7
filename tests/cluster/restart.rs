//! The operator is killed at any point and started again: the test ends as it would have, with the same children.

use crate::support::{Room, condition, config, endless, uid, until};
use axum::http::{Method, Request, Response};
use futures::future::{BoxFuture, join_all};
use kube::client::{Body, ClientBuilder};
use lotest::bundle::{Bundle, embedded};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::Notify;
use tower::{Layer, Service};

/// Where the operator is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// The write was answered; the operator never learns of it.
    Answered(usize),
    /// The write was sent, and arrives while the next operator may be running.
    Sent(usize),
}

/// Counts the writes of a client. At the point it notifies, and lets nothing more through.
#[derive(Clone)]
struct Writes {
    point: Point,
    count: Arc<AtomicUsize>,
    reached: Arc<Notify>,
}

impl Writes {
    fn until(point: Point) -> Writes {
        Writes {
            point,
            count: Arc::default(),
            reached: Arc::default(),
        }
    }
}

impl<S> Layer<S> for Writes {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            writes: self.clone(),
        }
    }
}

struct Counted<S> {
    inner: S,
    writes: Writes,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET {
            return Box::pin(self.inner.call(request));
        }
        let Writes {
            point,
            count,
            reached,
        } = self.writes.clone();
        let (Point::Answered(last) | Point::Sent(last)) = point;
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        if number > last {
            return Box::pin(pending());
        }
        let answer = self.inner.call(request);
        if number < last {
            return Box::pin(answer);
        }
        Box::pin(async move {
            match point {
                Point::Answered(_) => drop(answer.await),
                Point::Sent(_) => drop(tokio::spawn(async move { drop(answer.await) })),
            }
            reached.notify_one();
            pending().await
        })
    }
}

fn bundle() -> Bundle {
    Bundle::load(&embedded(), &BTreeMap::new()).unwrap().0
}

/// A master waits for its workers and ends by itself; the simulated one is told to.
async fn play_master(room: &Room) {
    until("the end of the master", async || {
        let workers = room.get("Job", "load-worker").await?;
        let master = room.get("Job", "load-master").await?;
        if master["status"]["succeeded"] == 1 {
            return Some(());
        }
        if workers["status"]["ready"] != 2 || master["status"]["ready"] != 1 {
            return None;
        }
        for pod in room.list("Pod").await {
            if pod["metadata"]["labels"]["performance-test-pod-name"] == "load-master" {
                let annotations =
                    json!({"kwok.lotest/behaviour": "run", "kwok.lotest/run-for": "1s"});
                let name = pod["metadata"]["name"].as_str().unwrap();
                let end = json!({"metadata": {"annotations": annotations}});
                room.patch("Pod", name, end).await;
            }
        }
        None
    })
    .await;
}

/// `<kind> <name> <uid>` of everything that was made for the test.
async fn children(room: &Room) -> Vec<String> {
    let mut children = Vec::new();
    for kind in ["ControllerRevision", "Service", "Job"] {
        for child in room.list(kind).await {
            let name = child["metadata"]["name"].as_str().unwrap();
            children.push(format!("{kind} {name} {}", uid(&child)));
        }
    }
    children
}

/// A run that was interrupted is in every respect as one that was not.
async fn assert_ended_well(room: &Room, before: &[String], point: &str) {
    let ended = room.until_phase("load", "Succeeded").await;
    let after = children(room).await;
    let lost: Vec<_> = before.iter().filter(|c| !after.contains(c)).collect();
    assert!(lost.is_empty(), "{point}: {lost:?} are not in {after:?}");
    let mut kinds: Vec<_> = after
        .iter()
        .map(|c| c.rsplit_once(' ').unwrap().0)
        .collect();
    kinds.retain(|c| !c.starts_with("ControllerRevision"));
    assert_eq!(
        kinds,
        ["Service load-master", "Job load-master", "Job load-worker"],
        "{point}"
    );
    assert_eq!(after.len(), 4, "{point}: {after:?}");
    assert_eq!(
        room.list("Pod").await.len(),
        3,
        "{point}: the load ran once"
    );

    let status = &ended["status"];
    assert_eq!(status["expectedWorkers"], 2, "{point}");
    assert_eq!(status["connectedWorkers"], 2, "{point}");
    assert!(status["startTime"].is_string() && status["completionTime"].is_string());
    let reasons = ["Ready", "WorkersConnected", "TestCompleted", "PodsHealthy"]
        .map(|kind| condition(&ended, kind)["reason"].clone());
    assert_eq!(
        json!(reasons),
        json!([
            "ResourcesCreated",
            "AllWorkersConnected",
            "TestSucceeded",
            "PodsHealthy"
        ]),
        "{point}"
    );
    assert_eq!(*condition(&ended, "SpecDrifted"), Value::Null, "{point}");

    let mut events = room.events("load").await;
    let all = events.len();
    events.sort();
    events.dedup();
    assert_eq!(events.len(), all, "{point}: {events:#?}");
    let completed = "Normal TestCompleted: Test completed successfully".to_string();
    assert!(events.contains(&completed), "{point}: {events:#?}");
    assert!(
        !events.iter().any(|e| e.starts_with("Warning")),
        "{point}: {events:#?}"
    );
}

/// Says whether the run had so many writes.
async fn killed_at(point: Point) -> bool {
    let room = Room::new("restart").await;
    let writes = Writes::until(point);
    let config = config("LOTEST_TEST_OPERATOR_KUBECONFIG").await;
    let client = ClientBuilder::try_from(config).unwrap();
    let operator = room.operator_with_client(client.with_layer(&writes).build(), bundle());
    room.create(endless("load")).await;
    let whole_run = async {
        play_master(&room).await;
        room.until_phase("load", "Succeeded").await;
    };
    let reached = tokio::select! {
        () = writes.reached.notified() => true,
        () = whole_run => false,
    };
    drop(operator);
    let before = children(&room).await;
    let _next = room.operator();
    play_master(&room).await;
    assert_ended_well(&room, &before, &format!("{point:?}")).await;
    reached
}

/// Kills at the first write, the second, and so on, until a run has no more of them.
async fn killed_at_each(point: fn(usize) -> Point) {
    const AT_ONCE: usize = 4;
    for first in (1..).step_by(AT_ONCE) {
        let runs = (first..first + AT_ONCE).map(|n| killed_at(point(n)));
        let reached = join_all(runs).await;
        if reached.contains(&false) {
            assert!(first + AT_ONCE > 13, "a run has at least 12 writes");
            return;
        }
    }
}

#[tokio::test]
async fn killed_after_any_write() {
    killed_at_each(Point::Answered).await;
}

#[tokio::test]
async fn killed_while_any_write_is_under_way() {
    killed_at_each(Point::Sent).await;
}

#[tokio::test]
async fn the_process_is_killed_five_times_in_one_run() {
    let room = Room::new("killed").await;
    let mut operator = room.operator();
    room.create(endless("load")).await;
    let mut before = Vec::new();
    for moment in 0..5 {
        until("the moment", async || {
            let phase = room.get("LocustTest", "load").await.unwrap()["status"]["phase"].clone();
            let job = room.get("Job", "load-master").await;
            let complete = |j: &Value| j["status"]["succeeded"] == 1;
            let here = match moment {
                0 => !room.list("ControllerRevision").await.is_empty(),
                1 => job.is_some(),
                2 => phase.is_string(),
                3 => phase == "Running",
                _ => job.is_some_and(|j| complete(&j)),
            };
            here.then_some(())
        })
        .await;
        operator.kill();
        let now = children(&room).await;
        let lost: Vec<_> = before.iter().filter(|c| !now.contains(c)).collect();
        assert!(lost.is_empty(), "{moment}: {lost:?}");
        before = now;
        operator = room.operator();
        if moment == 3 {
            play_master(&room).await;
        }
    }
    assert_ended_well(&room, &before, "after five").await;
    let running = room.requests();
    let made = running
        .iter()
        .filter(|r| r["responseStatus"]["code"] == 201);
    let children = made.filter(|r| r["verb"] == "patch" && r["objectRef"]["subresource"].is_null());
    assert_eq!(children.count(), 3, "each child is made once");
}
