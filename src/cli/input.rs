//! Reading what the commands are given: files, standard input, the bundle.

use super::Failure;
use crate::bundle::{Bundle, Files, embedded};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::Path;

/// What messages call a file.
pub fn name(file: &Path) -> String {
    match file.as_os_str() == "-" {
        true => "standard input".to_string(),
        false => file.display().to_string(),
    }
}

/// The text of a file; `-` is standard input.
pub fn read(file: &Path) -> Result<String, Failure> {
    if file.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            return Err(Failure::Other(
                "name a file, or pipe one in; see --help".to_string(),
            ));
        }
        let mut text = String::new();
        return match std::io::stdin().lock().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(e) => Err(Failure::Other(format!("cannot read standard input: {e}"))),
        };
    }
    std::fs::read_to_string(file)
        .map_err(|e| Failure::Other(format!("cannot read {}: {e}", file.display())))
}

/// The environment of the process. A variable that is not text is none of ours.
pub fn settings() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The built-in bundle with the settings of the operator's environment.
pub fn bundle(settings: &BTreeMap<String, String>) -> Result<(Bundle, Vec<String>), Failure> {
    load(&embedded(), settings)
}

pub fn load(
    files: &Files,
    settings: &BTreeMap<String, String>,
) -> Result<(Bundle, Vec<String>), Failure> {
    Bundle::load(files, settings).map_err(Failure::Problems)
}
