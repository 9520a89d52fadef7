//! A layer as the kubelet mounts it, and an operator that has it.

use crate::operators::{Operator, operator_command};
use crate::process::{free_port, get};
use crate::support::{Room, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The path and the text of files.
pub type Written<'a> = &'a [(&'a str, &'a str)];

/// A directory that is removed when it goes out of scope.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("layer-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    /// What messages call a file of it.
    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    /// Writes files in place.
    pub fn write(&self, files: Written) {
        write(&self.0, files);
    }

    /// Replaces all files as the kubelet does for a volume: a new directory beside the old one, then one rename of the
    /// link `..data`, then the links to what it holds.
    pub fn mount(&self, files: Written) {
        let directory = &self.0;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let version = format!("..version_{number}");
        write(&directory.join(&version), files);
        let data = directory.join("..data");
        let old = fs::read_link(&data).ok();
        symlink(&version, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), &data).unwrap();
        let names: BTreeSet<_> = files
            .iter()
            .map(|f| f.0.split('/').next().unwrap())
            .collect();
        for name in &names {
            if !directory.join(name).is_symlink() {
                symlink(format!("..data/{name}"), directory.join(name)).unwrap();
            }
        }
        for entry in fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with("..") && !names.contains(name.as_str()) {
                fs::remove_file(directory.join(name)).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(directory.join(old)).unwrap();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(directory: &Path, files: Written) {
    fs::create_dir_all(directory).unwrap();
    for (file, text) in files {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// An operator with layers, and what it says of itself.
pub struct Live {
    pub operator: Operator,
    health: u16,
    metrics: u16,
    log: Directory,
}

/// The operator's pod, as it is told.
const POD: &str = "lotest-0";

impl Live {
    /// Starts it for the namespace of a room and waits until it is ready.
    pub async fn new(room: &Room, layers: &[&Directory]) -> Live {
        let pod = [("POD_NAME", POD), ("POD_NAMESPACE", &room.namespace)];
        let mut command = operator_command(&pod);
        command.args([
            "--namespace",
            &room.namespace,
            "--webhook-bind-address",
            "0",
        ]);
        let (health, metrics) = (free_port(), free_port());
        for (flag, port) in [
            ("--health-probe-bind-address", health),
            ("--metrics-bind-address", metrics),
        ] {
            command.args([flag, &format!("127.0.0.1:{port}")]);
        }
        for layer in layers {
            command.arg("--layer").arg(&layer.0);
        }
        let log = Directory::new();
        command.stderr(fs::File::create(log.0.join("log")).unwrap());
        let live = Live {
            operator: Operator(command.spawn().unwrap()),
            health,
            metrics,
            log,
        };
        until("readiness", async || {
            get(health, "/readyz").filter(|(code, ..)| *code == 200)
        })
        .await;
        live
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log.0.join("log")).unwrap()
    }

    /// Status code and body.
    pub fn readyz(&self) -> (u16, String) {
        let (code, _, body) = get(self.health, "/readyz").unwrap();
        (code, body)
    }

    /// What `lotest status` says.
    pub fn status(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lotest"))
            .arg("status")
            .arg(format!("http://localhost:{}", self.health))
            .args(arguments)
            .output()
            .unwrap()
    }

    pub fn standing(&self) -> Value {
        let (code, _, body) = get(self.health, "/status").unwrap();
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn digest(&self) -> String {
        self.standing()["bundle"].as_str().unwrap().to_string()
    }

    /// Waits for another bundle; its digest.
    pub async fn until_other(&self, than: &str) -> String {
        let other = until("another bundle", async || {
            let standing = self.standing();
            let other = standing["bundle"] != than && standing["stale"] == false;
            other.then(|| standing["bundle"].as_str().unwrap().to_string())
        });
        other.await
    }

    /// Waits until the layers are refused; what the operator says then.
    pub async fn until_stale(&self) -> Value {
        until("a refusal", async || {
            let standing = self.standing();
            (standing["stale"] == true).then_some(standing)
        })
        .await
    }

    /// A metric by name and labels; 0 when there is none yet.
    pub fn metric(&self, name: &str) -> f64 {
        let (.., text) = get(self.metrics, "/metrics").unwrap();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

/// What events say about the operator's pod: `<type> <reason>: <note>`, the oldest first.
pub async fn events(room: &Room) -> Vec<String> {
    let mut events = room.list("Event").await;
    events.retain(|e| e["regarding"]["kind"] == "Pod" && e["regarding"]["name"] == POD);
    events.sort_by_key(|e| {
        e["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    });
    let line = |e: &Value| {
        let text = |key: &str| e[key].as_str().unwrap().to_string();
        format!("{} {}: {}", text("type"), text("reason"), text("note"))
    };
    events.iter().map(line).collect()
}

/// What a test is made of, and which version of it: nothing of it may change.
pub async fn versions(room: &Room) -> Vec<Value> {
    let mut all = Vec::new();
    for kind in ["Service", "Job", "ControllerRevision", "LocustTest"] {
        for object in room.list(kind).await {
            let of = &object["metadata"];
            all.push(json!([kind, of["name"], of["uid"], of["resourceVersion"]]));
        }
    }
    all
}

/// Waits until the Job controller has counted the pods of an endless test: it comes to that when it does, and then writes.
pub async fn until_counted(room: &Room, test: &str) {
    for role in ["master", "worker"] {
        let counted = |job: &Value| job["status"]["ready"] == job["spec"]["parallelism"];
        room.until("Job", &format!("{test}-{role}"), counted).await;
    }
}
