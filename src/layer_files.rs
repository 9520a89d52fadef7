//! Reading the directory of a layer, as a person keeps it or as the kubelet mounts it.

use crate::bundle::Layer;
use crate::bundle::layer::COMPANIONS;
use crate::bundle::problem::{Place, Problem};
use std::fs;
use std::path::Path;

/// A ConfigMap holds 1 MiB, and a layer is made of a few of them. What is larger was put there by mistake.
const MAX_FILE: u64 = 4 << 20;
const MAX_LAYER: usize = 16 << 20;

/// Reads all files of a layer; every one that cannot be read is a problem. Names that begin with a dot are left out,
/// and with them the directories that the kubelet's links point to.
pub fn read(directory: &Path) -> Result<Layer, Vec<Problem>> {
    let mut layer = Layer {
        name: directory.display().to_string(),
        ..Layer::default()
    };
    let mut problems = Vec::new();
    walk(directory, "", &mut layer, &mut problems);
    let size: usize = layer.files.values().map(String::len).sum();
    if size > MAX_LAYER {
        let message = format!("the layer is larger than {} MiB", MAX_LAYER >> 20);
        problems.push(Problem::new(&layer.name, message));
    }
    match problems.is_empty() {
        true => Ok(layer),
        false => Err(problems),
    }
}

fn walk(directory: &Path, prefix: &str, layer: &mut Layer, problems: &mut Vec<Problem>) {
    let mut entries = Vec::new();
    let listed = fs::read_dir(directory).and_then(|all| {
        for entry in all {
            entries.push(entry?.path());
        }
        Ok(())
    });
    if let Err(e) = listed {
        problems.push(unreadable(directory, &e.to_string()));
        return;
    }
    entries.sort();
    for path in entries {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            problems.push(unreadable(&path, "its name is not UTF-8"));
            continue;
        };
        if name.starts_with('.') || COMPANIONS.contains(&name) {
            continue;
        }
        let file = format!("{prefix}{name}");
        match fs::metadata(&path) {
            // Deeper than a golden case nothing belongs to a layer; links may go in circles.
            Ok(found) if found.is_dir() && file.matches('/').count() < 4 => {
                walk(&path, &format!("{file}/"), layer, problems);
            }
            Ok(found) if found.is_file() && found.len() <= MAX_FILE => match text(&path) {
                Ok(text) => {
                    layer.files.insert(file, text);
                }
                Err(problem) => problems.push(*problem),
            },
            Ok(found) if found.is_file() => {
                let why = format!("it is larger than {} MiB", MAX_FILE >> 20);
                problems.push(unreadable(&path, &why));
            }
            Ok(_) => problems.push(unreadable(&path, "it is neither a file nor a directory")),
            Err(e) => problems.push(unreadable(&path, &e.to_string())),
        }
    }
}

fn text(path: &Path) -> Result<String, Box<Problem>> {
    let bytes = fs::read(path).map_err(|e| unreadable(path, &e.to_string()))?;
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
