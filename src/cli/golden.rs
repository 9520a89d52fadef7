//! Golden cases as files: finding, reading and writing them.

use super::Failure;
use crate::bundle::{Files, Layer};
use crate::engine::golden::{self, Case};
use std::fs;
use std::path::{Path, PathBuf};

/// A case and where it is.
#[derive(Debug)]
pub struct Stored {
    pub directory: PathBuf,
    pub case: Case,
}

/// The cases that a layer brings, each where it is.
pub fn of_layer(layer: &Layer) -> Vec<Stored> {
    let cases = golden::cases(layer).into_iter();
    let stored = |case: Case| Stored {
        directory: PathBuf::from(&case.name),
        case,
    };
    cases.map(stored).collect()
}

/// The cases below some directories, by path. None at all is a mistake: a check that checks nothing must not pass.
pub fn find(directories: &[PathBuf]) -> Result<Vec<Stored>, Failure> {
    let mut cases = Vec::new();
    for directory in directories {
        let before = cases.len();
        collect(directory, &mut cases)?;
        if cases.len() == before {
            return Err(Failure::Other(format!(
                "there is no golden case below {}: a case is a directory with a test.yaml or a timeline.yaml",
                directory.display()
            )));
        }
    }
    Ok(cases)
}

fn collect(directory: &Path, cases: &mut Vec<Stored>) -> Result<(), Failure> {
    let failed = |e| Failure::Other(format!("cannot read {}: {e}", directory.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let (below, here): (Vec<PathBuf>, Vec<PathBuf>) = paths.into_iter().partition(|p| p.is_dir());
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let here: Vec<(String, PathBuf)> = here
        .into_iter()
        .filter_map(|path| Some((name(&path)?, path)))
        .filter(|(name, _)| name.ends_with(".yaml"))
        .collect();
    if !here.is_empty() {
        let mut files = Files::new();
        for (name, path) in here {
            let text = fs::read_to_string(&path)
                .map_err(|e| Failure::Other(format!("cannot read {}: {e}", path.display())))?;
            files.insert(name, text);
        }
        cases.push(Stored {
            directory: directory.to_path_buf(),
            case: Case {
                name: directory.display().to_string(),
                files,
            },
        });
    }
    below.iter().try_for_each(|path| collect(path, cases))
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|e| Failure::Other(format!("cannot write {}: {e}", path.display())))
}
