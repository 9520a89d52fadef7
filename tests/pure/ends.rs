//! What ends a test and what does not, where two things happen at once or one of them has taken long.

use serde_json::{Value, json};

use crate::play::{BUNDLES, Cluster, JOBS, STATES, Step};
use crate::replica::Replica;

struct Scene {
    cluster: Cluster,
    replica: Replica,
}

impl Scene {
    /// A test that runs and is well.
    fn new() -> Scene {
        let cluster = Cluster::new(&BUNDLES[0], 1);
        let replica = Replica::new(&cluster, 0);
        let mut scene = Scene { cluster, replica };
        for (n, job) in JOBS.into_iter().enumerate() {
            scene
                .cluster
                .happen(&Step::Job(job, STATES["running"].clone()));
            scene
                .cluster
                .happen(&Step::Pod(n, STATES["healthy"].clone()));
        }
        assert_eq!(scene.after(5), "Running");
        scene
    }

    /// The phase so many seconds later.
    fn after(&mut self, seconds: i64) -> &str {
        self.cluster.later(seconds);
        self.replica.hear_all(&mut self.cluster);
        self.replica.look(&mut self.cluster);
        self.cluster.phase()
    }

    fn healthy_after(&mut self, seconds: i64) -> bool {
        assert_eq!(self.after(seconds), "Running");
        let mut all = self.cluster.test["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter();
        all.any(|c| c["type"] == "PodsHealthy" && c["status"] == "True")
    }

    fn happens(&mut self, step: Step) -> &mut Scene {
        self.cluster.happen(&step);
        self
    }
}

fn ended(condition: &str) -> Value {
    let mut ends = STATES["ends"].as_array().unwrap().iter();
    let end = ends.find(|end| end["status"]["conditions"][0]["type"] == condition);
    end.unwrap().clone()
}

/// Stopped by its node, Locust ends with success, and so does its Job: nothing of that says that the test has passed.
#[test]
fn a_master_that_was_disrupted_has_not_passed() {
    for condition in ["SuccessCriteriaMet", "Complete"] {
        let mut scene = Scene::new();
        let mut disrupted = STATES["healthy"].clone();
        disrupted["status"]["phase"] = "Succeeded".into();
        disrupted["status"]["reason"] = "Terminated".into();
        scene.happens(Step::Pod(0, disrupted));
        scene.happens(Step::Job(JOBS[0], ended(condition)));
        assert_ne!(scene.after(0), "Succeeded", "{condition}");
        assert_eq!(scene.after(3), "Failed", "{condition}");
    }
}

/// A queue such as Kueue may hold a Job back for hours; the time in which its pods must come begins when it lets it go.
#[test]
fn a_job_that_was_held_back_has_all_its_time_to_make_pods() {
    let mut scene = Scene::new();
    let held = json!({
        "spec": {"suspend": true},
        "status": {"conditions": [{"type": "Suspended", "status": "True", "lastTransitionTime": "@0"}]},
    });
    let let_go = json!({
        "spec": {"suspend": false},
        "status": {
            "startTime": "@0",
            "conditions": [{"type": "Suspended", "status": "False", "lastTransitionTime": "@0"}],
        },
    });
    scene
        .happens(Step::PodGone(1))
        .happens(Step::Job(JOBS[1], held));
    assert_eq!(scene.after(3600), "Running");
    scene.happens(Step::Job(JOBS[1], let_go));
    assert_eq!(scene.after(1), "Running");
    assert_eq!(scene.after(500), "Running");
    assert_eq!(scene.after(120), "Failed");
}

/// What is late because another thing was late is not late itself.
#[test]
fn a_pod_that_waited_for_a_node_has_all_its_time_for_its_volumes() {
    let pending =
        |conditions: Value| json!({"status": {"phase": "Pending", "conditions": conditions}});
    let mut scene = Scene::new();
    scene.happens(Step::PodGone(1));
    scene.happens(Step::Pod(1, pending(json!([
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": "@0"},
    ]))));
    assert!(scene.healthy_after(100));
    assert!(!scene.healthy_after(200));
    scene.happens(Step::Pod(
        1,
        pending(json!([
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "@0"},
            {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": "@0"},
        ])),
    ));
    assert!(scene.healthy_after(1));
    assert!(scene.healthy_after(118));
    assert!(!scene.healthy_after(2));
}
