//! Reading the directory of a layer, as a person keeps it or as the kubelet mounts it.

use crate::bundle::Layer;
use crate::bundle::layer::COMPANIONS;
use crate::bundle::problem::{Place, Problem};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A ConfigMap holds 1 MiB, and a layer is made of a few of them. What is larger was put there by mistake.
const MAX_FILE: u64 = 4 << 20;
const MAX_LAYER: usize = 16 << 20;

/// The link that the kubelet swaps when it writes another version of all files.
const DATA: &str = "..data";

/// So often a layer is read that is swapped meanwhile. The kubelet does it once a minute at most.
const ATTEMPTS: usize = 5;

/// Reads all files of a layer; every one that cannot be read is a problem. Names that begin with a dot are left out,
/// and with them the directories that the kubelet's links point to. All files are of one version of a mount.
pub fn read(directory: &Path) -> Result<Layer, Vec<Problem>> {
    for _ in 0..ATTEMPTS {
        let mut reading = Reading::new(directory);
        reading.walk(directory, "");
        if reading.is_one_version(directory) {
            return reading.end();
        }
    }
    let why = "it is swapped again and again while it is read";
    Err(vec![unreadable(directory, why)])
}

/// A layer as far as it is read.
struct Reading {
    layer: Layer,
    problems: Vec<Problem>,
    /// Where the directory really is; all that its links lead to is in it.
    root: Option<PathBuf>,
    /// Where links led before what is behind them was read.
    links: Vec<(PathBuf, Option<PathBuf>)>,
    /// The bytes of all files.
    size: usize,
}

impl Reading {
    fn new(directory: &Path) -> Reading {
        Reading {
            layer: Layer {
                name: directory.display().to_string(),
                ..Layer::default()
            },
            problems: Vec::new(),
            root: fs::canonicalize(directory).ok(),
            links: Vec::new(),
            size: 0,
        }
    }

    /// Whether nothing was swapped since this began. Versions are never named twice.
    fn is_one_version(&self, directory: &Path) -> bool {
        let mut links = self.links.iter();
        links.all(|(link, to)| fs::read_link(link).ok() == *to)
            && fs::canonicalize(directory).ok() == self.root
    }

    fn is_full(&self) -> bool {
        self.size > MAX_LAYER
    }

    fn end(mut self) -> Result<Layer, Vec<Problem>> {
        if self.is_full() {
            let message = format!("the layer is larger than {} MiB", MAX_LAYER >> 20);
            self.problems.push(Problem::new(&self.layer.name, message));
        }
        match self.problems.is_empty() {
            true => Ok(self.layer),
            false => Err(self.problems),
        }
    }

    fn walk(&mut self, directory: &Path, prefix: &str) {
        let data = directory.join(DATA);
        let to = fs::read_link(&data).ok();
        self.links.push((data, to));
        let mut entries = Vec::new();
        let listed = fs::read_dir(directory).and_then(|all| {
            for entry in all {
                entries.push(entry?.path());
            }
            Ok(())
        });
        if let Err(e) = listed {
            return self.fail(directory, &e.to_string());
        }
        entries.sort();
        for path in entries {
            if self.is_full() {
                return;
            }
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
                self.fail(&path, "its name is not UTF-8");
                continue;
            };
            if name.starts_with('.') || COMPANIONS.contains(&name) {
                continue;
            }
            let file = format!("{prefix}{name}");
            if let Err(e) = self.take(&path, file) {
                self.fail(&path, &e.to_string());
            }
        }
    }

    /// Takes a file, or what is in a directory.
    fn take(&mut self, path: &Path, file: String) -> io::Result<()> {
        // Read is what was looked at, wherever the link leads by then.
        let real = fs::canonicalize(path)?;
        let is_inside = self.root.as_ref().is_some_and(|r| real.starts_with(r));
        if !is_inside {
            // What is there is nobody's business: a mistake in it would be shown with its line.
            self.fail(path, "it is a link out of the layer's directory");
            return Ok(());
        }
        let found = fs::metadata(&real)?;
        // Deeper than a golden case nothing belongs to a layer; links may go in circles.
        if found.is_dir() && file.matches('/').count() < 4 {
            self.walk(path, &format!("{file}/"));
        } else if !found.is_file() {
            self.fail(path, "it is neither a file nor a directory");
        } else {
            let mut bytes = Vec::new();
            // The length that a file system names is not always how much there is.
            File::open(&real)?
                .take(MAX_FILE + 1)
                .read_to_end(&mut bytes)?;
            self.size += bytes.len();
            if bytes.len() as u64 > MAX_FILE {
                let why = format!("it is larger than {} MiB", MAX_FILE >> 20);
                self.fail(path, &why);
                return Ok(());
            }
            match text(path, bytes) {
                Ok(text) => {
                    self.layer.files.insert(file, text);
                }
                Err(problem) => self.problems.push(*problem),
            }
        }
        Ok(())
    }

    fn fail(&mut self, path: &Path, why: &str) {
        self.problems.push(unreadable(path, why));
    }
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Box<Problem>> {
    String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&e.as_bytes()[..valid]).into_owned();
        let Place { line, column } = Place::of_offset(&before, before.len());
        let problem = Problem::new(&path.display().to_string(), "the file is not UTF-8 text");
        Box::new(
            problem
                .at(&before, line, column)
                .help("templates, rules and values are text"),
        )
    })
}

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem::new(
        &path.display().to_string(),
        format!("cannot be read: {why}"),
    )
}
