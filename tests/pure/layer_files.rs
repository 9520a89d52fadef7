//! Directories of layers as they are found: swapped while they are read, and with links to anywhere.

use lotest::layer_files::read;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// An empty directory.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// So many files, so that a version is hardly ever read between two swaps.
const FILES: usize = 40;

/// Swaps the files of a mount as the kubelet does.
fn swap(mount: &Path, version: usize) {
    let name = format!("..version_{version}");
    let templates = mount.join(&name).join("team/templates");
    fs::create_dir_all(&templates).unwrap();
    for n in 0..FILES {
        let file = templates.join(format!("{n}.yaml"));
        fs::write(file, version.to_string()).unwrap();
    }
    symlink(&name, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    if let Some(last) = version.checked_sub(1) {
        fs::remove_dir_all(mount.join(format!("..version_{last}"))).unwrap();
    }
}

/// Reads `layer` while the mount that it is of is swapped.
fn all_files_are_of_one_version(mount: &Path, layer: &Path) {
    let ends = AtomicBool::new(false);
    let torn = std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1..200 {
                swap(mount, version);
            }
            ends.store(true, Ordering::Relaxed);
        });
        let mut torn = Vec::new();
        while !ends.load(Ordering::Relaxed) {
            match read(layer) {
                Ok(layer) => {
                    let mut versions: Vec<&String> = layer.files.values().collect();
                    versions.dedup();
                    if versions.len() != 1 || layer.files.len() != FILES {
                        torn.push(format!("{versions:?} of {}", layer.files.len()));
                    }
                }
                Err(problems) => {
                    let again = problems[0].message.contains("swapped again and again");
                    if !again {
                        torn.push(problems[0].to_string());
                    }
                }
            }
        }
        torn
    });
    assert_eq!(torn, Vec::<String>::new());
    let last = read(layer).unwrap();
    assert!(last.files.values().all(|version| version == "199"));
}

#[test]
fn a_mount_that_is_swapped_meanwhile() {
    let mount = directory("swapped");
    swap(&mount, 0);
    symlink("..data/team/templates", mount.join("templates")).unwrap();
    all_files_are_of_one_version(&mount, &mount);
}

#[test]
fn a_directory_of_a_mount_that_is_swapped_meanwhile() {
    let mount = directory("swapped-above");
    swap(&mount, 0);
    symlink("..data/team", mount.join("team")).unwrap();
    all_files_are_of_one_version(&mount, &mount.join("team"));
}

#[test]
fn links_out_of_the_directory_are_refused_and_say_nothing_of_what_is_there() {
    let root = directory("links-out");
    fs::write(root.join("secret"), "token: [abc\n").unwrap();
    fs::create_dir_all(root.join("others")).unwrap();
    fs::write(root.join("others/x.yaml"), "token: [abc\n").unwrap();
    let layer = root.join("layer");
    fs::create_dir_all(&layer).unwrap();
    fs::write(layer.join("own.yaml"), "{}\n").unwrap();
    symlink("../secret", layer.join("values.yaml")).unwrap();
    symlink(root.join("others"), layer.join("templates")).unwrap();
    symlink("own.yaml", layer.join("near.yaml")).unwrap();
    let problems = read(&layer).unwrap_err();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    let why = "cannot be read: it is a link out of the layer's directory";
    assert_eq!(text.matches(why).count(), 2, "{text}");
    assert!(text.contains("links-out/layer/values.yaml"), "{text}");
    assert!(text.contains("links-out/layer/templates"), "{text}");
    assert!(!text.contains("abc"), "{text}");

    fs::remove_file(layer.join("values.yaml")).unwrap();
    fs::remove_file(layer.join("templates")).unwrap();
    assert_eq!(read(&layer).unwrap().files["near.yaml"], "{}\n");
}

/// It is not read to its end to find that out.
#[test]
fn a_layer_is_not_larger_than_an_operator_can_hold() {
    let root = directory("large");
    fs::create_dir_all(root.join("templates")).unwrap();
    let size = 4 << 20;
    for n in 0..5 {
        let file = root.join(format!("templates/{n}.yaml"));
        fs::write(file, vec![b'#'; size]).unwrap();
    }
    fs::write(root.join("values.yaml"), b"\xff").unwrap();
    let problems = read(&root).unwrap_err();
    let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages, ["the layer is larger than 16 MiB"]);
    fs::remove_dir_all(root).unwrap();
}
