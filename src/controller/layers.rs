//! The layers of a running operator: directories on top of the built-in layer, read whole, and what they are admitted as.

use super::standing::Used;
use crate::bundle::problem::Problem;
use crate::bundle::values::SETTINGS;
use crate::bundle::{Bundle, Layer};
use crate::engine::admit::admit;
use crate::layer_files;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the layers are, the lowest first, and the operator's environment variables.
#[derive(Debug, Clone, Default)]
pub struct Stack {
    pub directories: Vec<PathBuf>,
    pub settings: BTreeMap<String, String>,
}

/// All layers as they were read, the built-in one first.
pub type Contents = Vec<Result<Layer, Vec<Problem>>>;

/// What an operator starts with.
#[derive(Debug)]
pub struct Start {
    pub contents: Contents,
    /// So many of the layers make the bundle.
    pub used: usize,
    pub bundle: Arc<Bundle>,
    pub warnings: Vec<String>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
}

impl Stack {
    pub fn read(&self) -> Contents {
        let directories = self.directories.iter().map(|d| layer_files::read(d));
        std::iter::once(Ok(Layer::built_in()))
            .chain(directories)
            .collect()
    }

    /// All layers by name; `used` of them make the bundle.
    pub fn used(&self, used: usize) -> Vec<Used> {
        let directories = self.directories.iter().map(|d| d.display().to_string());
        let names = std::iter::once("built-in".to_string()).chain(directories);
        let layer = |(n, name)| Used {
            name,
            used: n < used,
        };
        names.enumerate().map(layer).collect()
    }

    /// The bundle of all layers, or everything that is wrong with them.
    pub fn admit(&self, contents: &Contents) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        let unreadable: Vec<Problem> = contents
            .iter()
            .filter_map(|layer| layer.as_ref().err())
            .flatten()
            .cloned()
            .collect();
        match unreadable.is_empty() {
            true => admit(&layers(contents), &self.settings),
            false => Err(unreadable),
        }
    }

    /// Reads the layers and takes as many as are admitted, from the lowest on. The built-in one always is, unless the
    /// environment is what is wrong: that is said before anything runs.
    pub fn start(&self) -> Result<Start, Vec<Problem>> {
        let contents = self.read();
        let problems = match self.admit(&contents) {
            Ok((bundle, warnings)) => {
                return Ok(Start {
                    used: contents.len(),
                    contents,
                    bundle: Arc::new(bundle),
                    warnings,
                    problems: Vec::new(),
                });
            }
            Err(problems) => problems,
        };
        if problems.iter().all(|p| p.file == SETTINGS) {
            return Err(problems);
        }
        self.start_below(contents.len(), contents, problems)
    }

    /// Takes fewer than `limit` of the layers, for `problems` with all of them.
    pub fn start_below(
        &self,
        limit: usize,
        contents: Contents,
        problems: Vec<Problem>,
    ) -> Result<Start, Vec<Problem>> {
        let layers = layers(&contents);
        let mut used = layers.len().min(limit - 1);
        loop {
            match admit(&layers[..used], &self.settings) {
                Ok((bundle, warnings)) => {
                    return Ok(Start {
                        contents,
                        used,
                        bundle: Arc::new(bundle),
                        warnings,
                        problems,
                    });
                }
                Err(problems) if used == 1 => return Err(problems),
                Err(_) => used -= 1,
            }
        }
    }
}

/// The layers below the first that cannot be read.
pub fn layers(contents: &Contents) -> Vec<Layer> {
    let readable = contents.iter().map_while(|layer| layer.as_ref().ok());
    readable.cloned().collect()
}
