//! The file tree of the container image, and nothing else to be seen: as its user, with nothing to write to, and with no
//! C library, it runs a test to the end.
//!
//! `LOTEST_TEST_IMAGE` names a tree that `image/build` has made; without it one is made of an unoptimized program.

use crate::invalid::yaml;
use crate::operators::Operator;
use crate::support::{Room, from_with_cluster};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A name of the API server, which is in its certificate. Only `/etc/hosts` knows it.
const API_SERVER: &str = "kubernetes.default.svc";
const SECRETS: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// The tree with what a kubelet adds to it; gone with this.
struct Container {
    root: PathBuf,
    port: String,
}

fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where a new tree is.
fn tree(directory: &Path) -> PathBuf {
    if let Ok(tree) = std::env::var("LOTEST_TEST_IMAGE") {
        return tree.into();
    }
    let tree = directory.join("tree");
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/image/build");
    ok(Command::new(build).arg(&tree).arg("dev"));
    tree
}

impl Container {
    fn new() -> Container {
        let name = format!("lotest-image-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let root = directory.join("root");
        ok(Command::new("cp")
            .arg("-R")
            .arg(tree(&directory))
            .arg(&root));
        ok(Command::new("chmod").args(["-R", "u+w"]).arg(&root));
        // Something for `lotest check`, as a volume would hold it.
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
        ok(Command::new("cp").args(["-R", golden]).arg(&root));

        let kubeconfig = from_with_cluster("LOTEST_TEST_OPERATOR_KUBECONFIG");
        let kubeconfig = yaml(&std::fs::read_to_string(kubeconfig).unwrap());
        let cluster = &kubeconfig["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().unwrap();
        let authority = cluster["certificate-authority"].as_str().unwrap();
        let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap();
        for (file, text) in [
            ("etc/hosts", format!("127.0.0.1 {API_SERVER}\n")),
            (
                "etc/resolv.conf",
                "nameserver 127.0.0.1\noptions ndots:5\n".into(),
            ),
            (&format!("{SECRETS}/token"), token.into()),
            (&format!("{SECRETS}/namespace"), "lotest-system".into()),
            (
                &format!("{SECRETS}/ca.crt"),
                std::fs::read_to_string(authority).unwrap(),
            ),
        ] {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        ok(Command::new("chmod").args(["-R", "a+rX,a-w"]).arg(&root));
        let port = server.rsplit(':').next().unwrap().to_string();
        Container { root, port }
    }

    /// The entry point with arguments, in the tree, as its user.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match std::fs::metadata("/proc/self").unwrap().uid() {
            0 => {
                let mut command = Command::new("chroot");
                command.arg("--userspec=65532:65532").arg(&self.root);
                command
            }
            _ => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-user=65532", "--map-group=65532", "--root"]);
                command.arg(&self.root).arg("--");
                command
            }
        };
        command
            .arg("/lotest")
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("KUBERNETES_SERVICE_HOST", API_SERVER)
            .env("KUBERNETES_SERVICE_PORT", &self.port)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let directory = self.root.parent().unwrap();
        let _ = Command::new("chmod")
            .args(["-R", "u+w"])
            .arg(directory)
            .status();
        let _ = std::fs::remove_dir_all(directory);
    }
}

/// Whether an ELF file of 64 bits asks for a loader of shared libraries: it has a program header of type 3.
fn wants_a_loader(program: &[u8]) -> bool {
    assert_eq!(program[..5], *b"\x7fELF\x02");
    let number = |at: usize, bytes: usize| {
        let bytes = program[at..at + bytes].iter().rev();
        bytes.fold(0_usize, |all, byte| all << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|n| number(table + n * size, 4) == 3)
}

#[tokio::test]
async fn the_image_needs_nothing_but_itself() {
    let container = Container::new();
    let mut files: Vec<String> = std::fs::read_dir(&container.root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "LICENSE",
            "etc",
            "golden",
            "lotest",
            "lotest.cdx.json",
            "var"
        ]
    );
    let program = std::fs::read(container.root.join("lotest")).unwrap();
    assert!(!wants_a_loader(&program));
    // That this sees the difference.
    assert!(wants_a_loader(
        &std::fs::read(env!("CARGO_BIN_EXE_lotest")).unwrap()
    ));

    for arguments in [&["--version"][..], &["check"]] {
        let output = container.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }

    let room = Room::new("image").await;
    let operator = container
        .command(&["operator", "--namespace", &room.namespace])
        .args([
            "--health-probe-bind-address",
            "0",
            "--metrics-bind-address",
            "0",
        ])
        .spawn();
    let mut operator = Operator(operator.unwrap());
    room.create_test("load").await;
    room.until_phase("load", "Succeeded").await;
    assert_eq!(operator.terminate().await, Some(0));
}

fn in_the_repository(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    ok(command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn the_bill_of_materials_lists_what_is_compiled_in_and_nothing_else() {
    let target = "aarch64-unknown-linux-gnu";
    let text = in_the_repository("image/sbom", &[target]);
    assert_eq!(
        text,
        in_the_repository("image/sbom", &[target]),
        "the same each time"
    );
    let bill = yaml(&text);
    let listed: BTreeSet<String> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let part = |at: &str| c.pointer(at).and_then(Value::as_str).unwrap_or("?");
            assert_eq!(part("/hashes/0/content").len(), 64, "{c}");
            let licence = part("/licenses/0/expression");
            format!("{} v{} {licence}", part("/name"), part("/version"))
        })
        .collect();
    let arguments =
        format!("tree --locked --target {target} --edges normal --prefix none --format");
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.push("{p}\t{l}");
    let tree = in_the_repository("cargo", &arguments);
    let wanted: BTreeSet<String> = tree
        .lines()
        // The program itself.
        .filter(|line| !line.starts_with("lotest ") && !line.starts_with("lotest-core "))
        .map(|line| {
            let (name, licence) = line.split_once('\t').unwrap();
            let name = name.split(' ').take(2).collect::<Vec<_>>().join(" ");
            let licence = licence
                .replace(" (*)", "")
                .replace(" / ", "/")
                .replace('/', " OR ");
            format!("{name} {licence}")
        })
        .collect();
    assert_eq!(listed, wanted);
    assert!(listed.iter().any(|line| line.starts_with("kube ")));
    for of_tests in ["criterion", "insta", "jsonschema", "proptest"] {
        let of_tests = format!("{of_tests} ");
        assert!(!listed.iter().any(|line| line.starts_with(&of_tests)));
    }
    // What is depended on is listed.
    let all = bill["dependencies"].as_array().unwrap();
    let known: BTreeSet<&str> = all.iter().filter_map(|d| d["ref"].as_str()).collect();
    let needed = all.iter().flat_map(|d| d["dependsOn"].as_array().unwrap());
    for needed in needed {
        assert!(known.contains(needed.as_str().unwrap()), "{needed}");
    }
    assert_eq!(known.len(), listed.len() + 1);
}
