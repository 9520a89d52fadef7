use super::*;
use crate::bundle::{Files, Layer};
use crate::controller::children;
use crate::controller::lead::Lead;
use crate::controller::metrics::Metrics;
use crate::controller::standing::Board;
use crate::controller::watch::Change;
use crate::engine::facts::Test;
use crate::engine::index::{Key, Listed};
use crate::engine::packed::Packed;
use crate::engine::run::Run;
use kube::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: {{ test.metadata.name }}}
spec: {podSelector: {}}
";

/// A controller whose first lists are in, in a cluster that cannot be reached.
fn controller() -> Controller {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let metrics = Arc::new(Metrics::default());
    let bundle = bundle(&[]);
    let board = Board::new(Arc::clone(&metrics), bundle.digest(), Vec::new());
    let namespaces = Vec::new();
    let first = Arc::clone(&bundle);
    let mut controller = Controller::new(
        client,
        bundle,
        namespaces,
        metrics,
        Arc::new(board),
        Lead::always(),
    );
    controller.begin(&first);
    controller.apply(Change::Synced);
    controller
}

fn bundle(files: &[(&str, &str)]) -> Arc<Bundle> {
    let files = files.iter().map(|(f, t)| (f.to_string(), t.to_string()));
    let top = Layer {
        name: "top".to_string(),
        files: files.collect::<Files>(),
    };
    let (bundle, _) = Bundle::load(&[Layer::built_in(), top], &BTreeMap::new()).unwrap();
    Arc::new(bundle)
}

fn offer(controller: &Controller, files: &[(&str, &str)]) -> Arc<Offer> {
    Arc::new(Offer {
        bundle: bundle(files),
        layers: Vec::new(),
        number: controller.board.number(),
    })
}

fn test(uid: &str) -> Value {
    json!({
        "apiVersion": "locust.io/v2", "kind": "LocustTest", "spec": {},
        "metadata": {"name": "t", "namespace": "n", "uid": uid, "resourceVersion": "1"},
    })
}

fn job(version: &str) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "status": {"succeeded": 1},
        "metadata": {
            "name": "t-worker", "namespace": "n", "uid": "job", "resourceVersion": version,
            "labels": {"locust.io/child": "worker-job"},
            "ownerReferences": [{"kind": "LocustTest", "name": "t", "uid": "t1", "controller": true}],
        },
    })
}

fn jobs() -> What {
    What::Children(children::resource("batch/v1", "Job"))
}

fn known(controller: &Controller) -> &Test {
    controller.index.get(&Key::of(&test("t1"))).unwrap()
}

/// What comes of lists that find these.
fn list(controller: &mut Controller, found: Vec<Value>) {
    controller.take_part(Part::Begins);
    controller.take_part(Part::Objects(jobs(), found));
    controller.take_part(Part::Complete);
    controller.swap();
}

fn runs(controller: &Controller, offer: &Offer) -> bool {
    Arc::ptr_eq(&controller.context.bundle, &offer.bundle)
        && controller.board.get().bundle == offer.bundle.digest()
}

#[tokio::test]
async fn nothing_keeps_a_bundle_that_runs_no_more() {
    let mut controller = controller();
    controller.apply(Change::Test(test("t1")));
    controller.apply(Change::Child(job("2")));
    let bundle = Arc::downgrade(&controller.context.bundle);
    let templates = Arc::downgrade(&controller.context.bundle.templates);
    let next = offer(&controller, &[("values.yaml", "ports: {web: 9000}\n")]);
    controller.renew(next);
    list(&mut controller, vec![job("2")]);
    assert_eq!(bundle.strong_count(), 0);
    assert_eq!(templates.strong_count(), 0);
}

#[tokio::test]
async fn what_runs_decides_until_the_lists_are_in_and_loses_nothing() {
    let mut controller = controller();
    controller.apply(Change::Test(test("t1")));
    controller.apply(Change::Child(job("2")));
    let next = offer(&controller, &[("values.yaml", "ports: {web: 9000}\n")]);
    controller.renew(Arc::clone(&next));
    controller.take_part(Part::Asks(tokio::sync::oneshot::channel().0));
    assert!(controller.synced && !runs(&controller, &next));
    controller.queue.add(&Key::of(&test("t1")), Instant::now());
    controller.start();
    assert_eq!(controller.tasks.len(), 1, "work begins all the time");
    // It goes after it was listed and before that is taken in.
    controller.apply(Change::ChildGone(job("3")));
    list(&mut controller, vec![job("2")]);
    assert!(runs(&controller, &next));
    assert_eq!(
        known(&controller).gone("worker-job").unwrap()["status"]["succeeded"],
        1
    );
}

#[tokio::test]
async fn a_list_that_is_ahead_of_the_watch_is_waited_for() {
    let mut controller = controller();
    controller.apply(Change::Test(test("t1")));
    controller.apply(Change::Child(job("2")));
    let next = offer(&controller, &[("values.yaml", "ports: {web: 9000}\n")]);
    controller.renew(Arc::clone(&next));
    list(&mut controller, vec![job("5")]);
    assert!(!runs(&controller, &next));
    controller.apply(Change::Child(job("5")));
    controller.swap();
    assert!(runs(&controller, &next));
}

#[tokio::test]
async fn what_was_taken_in_for_other_rules_is_not_taken_for_all() {
    let rule = "
- id: pinned
  on: {each: child}
  when: {path: $.spec.template.spec.nodeName, exists: true}
  reason: Pinned
  severity: info
  priority: 1
  message: here
";
    let mut controller = controller();
    controller.apply(Change::Test(test("t1")));
    let before = controller.watches.taken.load().number;
    let next = offer(&controller, &[("rules/signals.yaml", rule)]);
    controller.renew(Arc::clone(&next));
    assert_ne!(controller.watches.taken.load().number, before);
    // On its way when the rules changed, and as new as what is listed.
    let late = Seen {
        change: Change::Child(job("2")),
        wanted: before,
    };
    let mut whole = job("2");
    whole["spec"]["template"]["spec"]["nodeName"] = "n".into();
    controller.take_part(Part::Asks(tokio::sync::oneshot::channel().0));
    controller.take_part(Part::Objects(jobs(), vec![whole]));
    controller.apply(late);
    controller.take_part(Part::Complete);
    controller.swap();
    assert!(runs(&controller, &next));
    let hits: Vec<_> = known(&controller).hits().map(|(_, h)| &h.reason).collect();
    assert_eq!(hits, ["Pinned"]);
    let after = controller.watches.taken.load().number;
    let other = offer(&controller, &[("values.yaml", "ports: {web: 9000}\n")]);
    controller.renew(Arc::clone(&other));
    assert_eq!(controller.watches.taken.load().number, after, "both");
    list(&mut controller, vec![job("2")]);
    assert_eq!(controller.watches.taken.load().number, after + 1);
}

#[tokio::test]
async fn lists_are_asked_for_again_when_a_watch_had_to_list_meanwhile() {
    let mut controller = controller();
    controller.apply(Change::Test(test("t1")));
    controller.apply(Change::Child(job("2")));
    let next = offer(&controller, &[("values.yaml", "ports: {web: 9000}\n")]);
    controller.renew(Arc::clone(&next));
    controller.take_part(Part::Begins);
    let jobs = children::resource("batch/v1", "Job");
    controller.apply(Change::Children(jobs, Listed::default()));
    list_rest(&mut controller);
    assert!(!runs(&controller, &next));
    list(&mut controller, Vec::new());
    assert!(runs(&controller, &next));
    assert!(known(&controller).gone("worker-job").is_some());
}

fn list_rest(controller: &mut Controller) {
    controller.take_part(Part::Objects(jobs(), vec![job("2")]));
    controller.take_part(Part::Complete);
    controller.swap();
}

#[tokio::test]
async fn the_newest_offer_comes_next_and_at_once_where_lists_fail() {
    let mut controller = controller();
    let [first, second, third] = ["9000", "9001", "9002"].map(|port| {
        offer(
            &controller,
            &[("values.yaml", &format!("ports: {{web: {port}}}\n"))],
        )
    });
    for offer in [&first, &second, &third] {
        controller.renew(Arc::clone(offer));
    }
    list(&mut controller, Vec::new());
    assert!(runs(&controller, &first), "layers that change all the time");
    list(&mut controller, Vec::new());
    assert!(runs(&controller, &third), "what was overtaken never runs");
    assert!(controller.next.is_none());

    let fails = offer(&controller, &[("templates/policy.yaml", POLICY)]);
    let watched = controller.watching.len();
    controller.renew(Arc::clone(&fails));
    assert_eq!(controller.watching.len(), watched + 1);
    controller.take_part(Part::Late("networkpolicies cannot be listed".to_string()));
    let standing = controller.board.get();
    assert!(
        standing.stale && standing.to_string().contains("networkpolicies"),
        "{standing}"
    );
    let last = offer(&controller, &[("values.yaml", "ports: {web: 9003}\n")]);
    controller.renew(Arc::clone(&last));
    list(&mut controller, Vec::new());
    assert!(runs(&controller, &last));
    assert!(!controller.board.get().stale);
    assert_eq!(
        controller.watching.len(),
        watched,
        "what nobody needs is not watched"
    );
}

#[tokio::test]
async fn what_runs_already_is_not_prepared() {
    let mut controller = controller();
    let other = offer(&controller, &[("templates/policy.yaml", POLICY)]);
    let watched = controller.watching.len();
    controller.renew(other);
    let same = Arc::new(Offer {
        bundle: Arc::clone(&controller.context.bundle),
        layers: Vec::new(),
        number: controller.board.number(),
    });
    controller.renew(Arc::clone(&same));
    assert!(controller.next.is_none() && runs(&controller, &same));
    assert_eq!(controller.watching.len(), watched);
}

#[tokio::test]
async fn pods_are_watched_by_the_labels_of_every_test_that_is_there() {
    let mut controller = controller();
    controller.apply(Change::Test(test("t1")));
    let run = |selector: &str| Run {
        pod_selector: Some(selector.to_string()),
        spec: Some(Packed::default()),
        ..Run::default()
    };
    let key = Key::of(&test("t1"));
    controller.watch_also(&run("not a selector"));
    assert_eq!(controller.selectors(), 1);
    controller.watch_also(&run("a=b"));
    controller.index.set_run(&key, run("a=b"));
    assert_eq!(controller.selectors(), 2);
    assert!(controller.is_blind(known(&controller)), "not listed yet");
    controller.apply(Change::Pods("a=b".to_string(), Listed::default()));
    assert!(!controller.is_blind(known(&controller)));
    let same = offer(&controller, &[("values.yaml", "ports: {web: 9000}\n")]);
    controller.renew(same);
    list(&mut controller, Vec::new());
    assert_eq!(controller.selectors(), 2, "a test has them");
    // A list of some pods says nothing of the others: all are listed.
    controller.apply(Change::Pods("a=b".to_string(), Listed::default()));
    assert!(controller.next.is_some());
    list(&mut controller, Vec::new());
    controller.apply(Change::TestGone(test("t1")));
    let other = offer(&controller, &[("values.yaml", "ports: {web: 9001}\n")]);
    controller.renew(other);
    list(&mut controller, Vec::new());
    assert_eq!(controller.selectors(), 1);
}
