//! Layers: directories of templates, rules and values, each on top of the one before it; and the files that they are made
//! of, by number, for messages.

use super::lines::Lines;
use super::problem::{Place, Problem, nearest};
use super::secrets::Secrets;
use super::tree::At;
use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The files of a layer by path, such as `templates/service.yaml`.
pub type Files = BTreeMap<String, String>;

/// Files that stand beside a layer's own.
pub const COMPANIONS: &[&str] = &["README.md", "kustomization.yaml"];

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates");
static RULES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../rules");

/// A directory of templates/, rules/, values.yaml and golden/.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// The directory, for messages; empty for the layer that the binary carries.
    pub name: String,
    pub files: Files,
}

impl From<Files> for Layer {
    /// A layer without a name: messages call its files by their paths in it.
    fn from(files: Files) -> Layer {
        let name = String::new();
        Layer { name, files }
    }
}

impl Layer {
    /// The layer that the binary carries.
    pub fn built_in() -> Layer {
        let mut files = Files::new();
        for (folder, dir) in [("templates", &TEMPLATES), ("rules", &RULES)] {
            for file in dir.files() {
                if let (Some(name), Some(text)) = (
                    file.path().file_name().and_then(|n| n.to_str()),
                    file.contents_utf8(),
                ) && !COMPANIONS.contains(&name)
                {
                    files.insert(format!("{folder}/{name}"), text.to_string());
                }
            }
        }
        for (name, text) in [
            ("values.yaml", include_str!("../../values.yaml")),
            ("types.yaml", include_str!("../../types.yaml")),
            ("environment.yaml", include_str!("../../environment.yaml")),
        ] {
            files.insert(name.into(), text.into());
        }
        files.into()
    }

    /// What messages call a file of it.
    pub fn path(&self, file: &str) -> String {
        match self.name.as_str() {
            "" => file.to_string(),
            name => format!("{}/{file}", name.trim_end_matches('/')),
        }
    }

    /// Whether messages would call files of both by the same paths. Layers without a name may be several, as only those
    /// that are made in memory have none.
    pub(super) fn is_same(&self, other: &Layer) -> bool {
        !self.name.is_empty() && plain(&self.name) == plain(&other.name)
    }

    /// What messages call the layer.
    pub fn title(&self) -> &str {
        match self.name.as_str() {
            "" => "built-in",
            name => name,
        }
    }

    /// Reports files that no layer has, or none but the lowest; this is layer `number`.
    pub(super) fn check_names(&self, number: usize, problems: &mut Vec<Problem>) {
        const ALL: &str = "a layer has templates/*.yaml, rules/*.yaml, values.yaml and golden/";
        for file in self.files.keys() {
            let in_folder = ["templates/", "rules/"].iter().any(|folder| {
                let name = file.strip_prefix(folder);
                name.is_some_and(|n| n.ends_with(".yaml") && !n.contains('/'))
            });
            if in_folder || file == "values.yaml" || file.starts_with("golden/") {
                continue;
            }
            let of_lowest = ["types.yaml", "environment.yaml"].contains(&file.as_str());
            if of_lowest && number == 0 {
                continue;
            }
            if of_lowest {
                let problem =
                    Problem::new(&self.path(file), "only the built-in layer has this file");
                problems.push(
                    problem.help("values of your own are written below `extra` of values.yaml"),
                );
                continue;
            }
            let help = match nearest(file, ["values.yaml"]) {
                Some(near) if !file.contains('/') => format!("did you mean `{near}`?"),
                _ => ALL.to_string(),
            };
            problems.push(Problem::new(&self.path(file), "not a file of a layer").help(help));
        }
    }
}

/// A path without `.`, doubled slashes and a slash at its end.
fn plain(path: &str) -> PathBuf {
    let parts = Path::new(path).components();
    parts.filter(|part| *part != Component::CurDir).collect()
}

/// All files that were read, by number.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    all: Vec<Source>,
    /// What is not to be shown of them.
    pub secrets: Secrets,
}

#[derive(Debug, Clone)]
pub struct Source {
    /// The number of its layer.
    pub layer: usize,
    /// What messages call it.
    pub path: String,
    pub text: Lines,
}

impl Sources {
    pub fn add(&mut self, layer: usize, path: String, text: &str) -> usize {
        self.all.push(Source {
            layer,
            path,
            text: Lines::of(text),
        });
        self.all.len() - 1
    }

    pub fn get(&self, at: At) -> Option<&Source> {
        self.all.get(at.file)
    }

    /// `path:line`
    pub fn place(&self, at: At) -> String {
        let path = self.get(at).map_or("", |s| s.path.as_str());
        format!("{path}:{}", at.line)
    }

    pub fn problem(&self, at: At, message: impl Into<String>) -> Problem {
        match self.get(at) {
            None => Problem::new("", message),
            Some(source) => Problem::new(&source.path, message).within(&source.text, at.place()),
        }
    }

    /// Where `text` stands, `skip` bytes or more behind `from`; `from` when it is written in another way.
    pub fn find(&self, from: At, skip: usize, text: &str) -> At {
        let find = || {
            let lines = &self.get(from)?.text;
            let start = lines.offset(from.place())? + skip;
            let found = start + lines.text().get(start..)?.find(text)?;
            let Place { line, column } = lines.place(found);
            Some(At {
                line,
                column,
                ..from
            })
        };
        find().unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_the_same_however_it_is_written() {
        let layer = |name: &str| Layer {
            name: name.into(),
            ..Layer::default()
        };
        for other in ["a/b", "./a/b", "a/b/", "a//b", "a/./b/."] {
            assert!(layer("a/b").is_same(&layer(other)), "{other}");
        }
        for other in ["a", "/a/b", "a/b/c", ""] {
            assert!(!layer("a/b").is_same(&layer(other)), "{other}");
        }
        assert!(!Layer::default().is_same(&Layer::default()));
    }
}
