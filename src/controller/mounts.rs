//! Noticing that the files of layers change: in a directory that is edited in place, and in one that the kubelet mounts,
//! whose files are links into a directory that it swaps as a whole.

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A change is looked at when there was no other for so long.
const SILENCE: Duration = Duration::from_millis(300);

/// Where changes do not end, it is looked at after this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to look where changes cannot be noticed.
const BLIND: Duration = Duration::from_secs(10);

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// As deep as layers are read.
const DEPTH: usize = 4;

/// Notices changes below some directories as they are now; a directory that is made later takes another one.
#[derive(Debug)]
pub struct Mounts {
    changed: Arc<Notify>,
    /// Notices until it is dropped; `None` when nothing can be noticed.
    watcher: Option<RecommendedWatcher>,
}

impl Mounts {
    pub fn new(directories: &[PathBuf]) -> Mounts {
        let changed = Arc::new(Notify::new());
        let watcher = match watcher(directories, Arc::clone(&changed)) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, every = ?BLIND, "the layers cannot be watched; they are looked at by time");
                None
            }
        };
        Mounts { changed, watcher }
    }

    /// Waits for a change, and until there are no more for a moment.
    pub async fn changed(&self) {
        if self.watcher.is_none() {
            tokio::time::sleep(BLIND).await;
            return;
        }
        self.changed.notified().await;
        let last = Instant::now() + PATIENCE;
        while Instant::now() < last {
            let silent = (Instant::now() + SILENCE).min(last);
            if timeout_at(silent, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

fn watcher(
    directories: &[PathBuf],
    changed: Arc<Notify>,
) -> Result<RecommendedWatcher, notify::Error> {
    let roots: Vec<PathBuf> = directories.iter().map(|d| absolute(d)).collect();
    let links: BTreeSet<PathBuf> = roots.iter().flat_map(|root| links(root)).collect();
    let of: Vec<PathBuf> = roots.iter().chain(&links).cloned().collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error is a lost event, such as when there were too many: whatever it was may have been a change.
        if event.map_or(true, |event| concerns(&event, &of)) {
            changed.notify_one();
        }
    })?;
    let mut all: BTreeSet<PathBuf> = roots.iter().flat_map(|root| watched(root)).collect();
    all.extend(links.iter().filter_map(|l| l.parent()).map(PathBuf::from));
    for directory in all {
        match watcher.watch(&directory, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            // Gone meanwhile; the directory above it says so.
            Err(_) if !directory.exists() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(watcher)
}

/// Whether an event may be a change of a layer: reading, which the operator does itself, is none.
fn concerns(event: &Event, roots: &[PathBuf]) -> bool {
    let reads = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    let is_near = |path: &PathBuf| {
        let mut roots = roots.iter();
        // A directory that two paths lead to is called by one of them: the name alone counts, too.
        roots.any(|root| {
            path.starts_with(root) || root.starts_with(path) || root.file_name() == path.file_name()
        })
    };
    !reads && (event.paths.is_empty() || event.paths.iter().any(is_near))
}

/// The links on the way to where a path leads: another layer is there as soon as one of them leads elsewhere. `team` in a
/// mount leads through the `..data` beside it.
fn links(path: &Path) -> BTreeSet<PathBuf> {
    let mut links = BTreeSet::new();
    let parts = |path: &Path| {
        let parts = path.components().rev().map(|c| c.as_os_str().to_owned());
        parts.collect::<Vec<OsString>>()
    };
    let mut rest = parts(path);
    let mut at = PathBuf::new();
    let mut hops = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
        } else if part != "." {
            at.push(part);
        }
        if let Ok(to) = fs::read_link(&at) {
            hops += 1;
            if hops > MAX_LINKS {
                break;
            }
            links.insert(at.clone());
            at.pop();
            rest.extend(parts(&to));
        }
    }
    links
}

/// The directories whose entries make a layer, and the one above, for a layer that is not there yet or is a link.
fn watched(root: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let above = root.ancestors().skip(1).find(|above| above.is_dir());
    all.extend(above.map(Path::to_path_buf));
    collect(root, 0, &mut all);
    all
}

fn collect(directory: &Path, depth: usize, all: &mut BTreeSet<PathBuf>) {
    if depth > DEPTH || !directory.is_dir() {
        return;
    }
    all.insert(directory.to_path_buf());
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden {
            collect(&entry.path(), depth + 1, all);
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn a_layer_below_a_mount_changes_with_the_mount() {
        let name = format!("lotest-mounts-{}", std::process::id());
        let mount = std::env::temp_dir().join(name);
        for version in ["..first", "..second"] {
            fs::create_dir_all(mount.join(version).join("team")).unwrap();
        }
        symlink("..first", mount.join("..data")).unwrap();
        symlink("..data/team", mount.join("team")).unwrap();
        let mounts = Mounts::new(&[mount.join("team")]);
        symlink("..second", mount.join("..tmp")).unwrap();
        fs::rename(mount.join("..tmp"), mount.join("..data")).unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(5), mounts.changed()).await;
        fs::remove_dir_all(&mount).unwrap();
        assert_eq!(changed, Ok(()));
    }
}
