//! The rules of several layers as one: an upper layer adds a rule, changes fields of one below it, replaces it or disables it,
//! always by its id.

use super::layer::{Layer, Sources};
use super::problem::{Problem, nearest};
use super::tree::{self, Content, Entry, Node};
use serde_json::Value;

/// What the entries of a list are, and how they are told apart.
struct Kind {
    /// What messages call one.
    noun: &'static str,
    /// The field that identifies it.
    key: &'static str,
    /// A new one has all of these.
    required: &'static [&'static str],
    /// The first that holds is taken, so a new one goes before those below it.
    first_wins: bool,
    /// A list in it that is joined in the same way.
    inner: Option<(&'static str, &'static Kind)>,
}

const CASE: Kind = Kind {
    noun: "case",
    key: "id",
    required: &["status", "reason", "message"],
    first_wins: true,
    inner: None,
};

const TRANSITION: Kind = Kind {
    noun: "transition",
    key: "id",
    required: &["from", "to", "when"],
    first_wins: true,
    inner: None,
};

/// A rule file that is one map, such as rules/phase.yaml.
const PHASE: Kind = Kind {
    noun: "field",
    key: "",
    required: &[],
    first_wins: false,
    inner: Some(("transitions", &TRANSITION)),
};

fn kind(file: &str) -> Option<&'static Kind> {
    const SIGNAL: Kind = Kind {
        noun: "signal",
        key: "id",
        required: &["on", "when", "reason", "severity", "priority", "message"],
        first_wins: false,
        inner: None,
    };
    const CONDITION: Kind = Kind {
        noun: "condition",
        key: "type",
        required: &["cases"],
        first_wins: false,
        inner: Some(("cases", &CASE)),
    };
    const FIELD: Kind = Kind {
        noun: "field",
        key: "field",
        required: &[],
        first_wins: false,
        inner: None,
    };
    const NOTICE: Kind = Kind {
        noun: "event rule",
        key: "id",
        required: &["on", "event"],
        first_wins: false,
        inner: None,
    };
    const ACTION: Kind = Kind {
        noun: "action",
        key: "id",
        required: &["on", "when"],
        first_wins: false,
        inner: None,
    };
    const ADMISSION: Kind = Kind {
        noun: "admission rule",
        key: "id",
        required: &["when", "message"],
        first_wins: false,
        inner: None,
    };
    match file {
        "signals" => Some(&SIGNAL),
        "conditions" => Some(&CONDITION),
        "status" => Some(&FIELD),
        "events" => Some(&NOTICE),
        "actions" => Some(&ACTION),
        "admission" => Some(&ADMISSION),
        _ => None,
    }
}

pub const RULE_FILES: &[&str] = &[
    "signals",
    "phase",
    "conditions",
    "status",
    "events",
    "actions",
    "admission",
];

/// The rules of all layers: for each rule file its document, or nothing.
#[derive(Debug, Default)]
pub struct Merged {
    documents: Vec<(&'static str, Node)>,
    /// Rules that an upper layer switched off.
    pub disabled: Vec<Disabled>,
    /// Not all could be read: there are more rules than these.
    pub unread: bool,
}

/// A rule that is switched off.
#[derive(Debug)]
pub struct Disabled {
    pub id: String,
    /// Where a layer says so.
    pub at: tree::At,
    /// The rule as it was.
    pub node: Node,
}

impl Merged {
    pub fn get(&self, file: &str) -> Option<&Node> {
        let document = self.documents.iter().find(|(name, _)| *name == file);
        document.map(|(_, node)| node)
    }
}

/// Joins the rule files of the layers, the lowest first.
pub fn merge(layers: &[Layer], sources: &mut Sources, problems: &mut Vec<Problem>) -> Merged {
    let mut merged = Merged::default();
    for (layer, Layer { files, .. }) in layers.iter().enumerate() {
        for (file, text) in files {
            let Some(name) = file.strip_prefix("rules/") else {
                continue;
            };
            let path = layers[layer].path(file);
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let stem = name.trim_end_matches(".yaml");
            let Some(stem) = RULE_FILES.iter().find(|known| **known == stem) else {
                problems.push(unknown_file(&path, stem));
                continue;
            };
            let number = sources.add(layer, path.clone(), text);
            match tree::parse(&path, text, number) {
                Ok(Some(document)) => {
                    let elsewhere = match layer {
                        0 => Vec::new(),
                        _ => ids(&merged.documents, stem),
                    };
                    let mut join = Join {
                        layer,
                        elsewhere,
                        sources,
                        problems,
                        disabled: &mut merged.disabled,
                    };
                    merged.unread |= !join.document(&mut merged.documents, stem, document);
                }
                Ok(None) => {}
                Err(problem) => {
                    merged.unread = true;
                    problems.push(*problem);
                }
            }
        }
    }
    merged
}

fn unknown_file(path: &str, stem: &str) -> Problem {
    let help = match nearest(stem, RULE_FILES.iter().copied()) {
        Some(near) => format!("did you mean `rules/{near}.yaml`?"),
        None => format!("rule files are {}, each .yaml", RULE_FILES.join(", ")),
    };
    Problem::new(path, "no rules are read from a file of this name").help(help)
}

/// What the rules of all files but one are called.
fn ids(documents: &[(&'static str, Node)], but: &str) -> Vec<(String, &'static str)> {
    let mut ids = Vec::new();
    for (file, document) in documents.iter().filter(|(file, _)| *file != but) {
        let transitions = document.get("transitions").map_or(&[][..], Node::items);
        for rule in document.items().iter().chain(transitions) {
            let id = ["id", "type", "field"]
                .iter()
                .find_map(|key| rule.get(key)?.as_str());
            ids.extend(id.map(|id| (id.to_string(), *file)));
        }
    }
    ids
}

struct Join<'a> {
    layer: usize,
    /// Ids of the rules of other files below, with the file.
    elsewhere: Vec<(String, &'static str)>,
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
    disabled: &'a mut Vec<Disabled>,
}

/// The fields of a whole rule that an entry does not have.
fn lacking(node: &Node, kind: &Kind) -> Vec<&'static str> {
    let required = kind.required.iter().copied();
    required.filter(|field| node.get(field).is_none()).collect()
}

impl Join<'_> {
    /// Whether the document is what its file is to be.
    fn document(
        &mut self,
        documents: &mut Vec<(&'static str, Node)>,
        file: &'static str,
        above: Node,
    ) -> bool {
        let at = documents.iter().position(|(name, _)| *name == file);
        let below = match at {
            Some(at) => &mut documents[at].1,
            None => {
                let empty = match kind(file) {
                    Some(_) => Content::List(Vec::new()),
                    None => Content::Map(Vec::new()),
                };
                let at = above.at;
                documents.push((file, Node { at, content: empty }));
                let last = documents.len() - 1;
                &mut documents[last].1
            }
        };
        match (kind(file), &mut below.content, above.content) {
            (Some(kind), Content::List(below), Content::List(above)) => {
                self.list(below, above, kind);
            }
            (None, Content::Map(below), Content::Map(above)) => self.fields(below, above, &PHASE),
            (kind, ..) => {
                let expected = kind.map_or("a map", |_| "a list");
                let problem = self
                    .sources
                    .problem(above.at, format!("expected {expected}"));
                self.problems.push(problem);
                return false;
            }
        }
        true
    }

    fn list(&mut self, below: &mut Vec<Node>, above: Vec<Node>, kind: &Kind) {
        let first = below.len();
        let mut seen = Vec::new();
        let mut new = Vec::new();
        for node in above {
            let id = node
                .get(kind.key)
                .and_then(Node::as_str)
                .map(str::to_string);
            let Some(id) = id else {
                // What it lacks is said when it is read.
                new.push(node);
                continue;
            };
            let known = below[..first.min(below.len())]
                .iter()
                .position(|n| n.get(kind.key).and_then(Node::as_str) == Some(&id));
            let twice = seen.contains(&id);
            seen.push(id.clone());
            match known {
                Some(_) if twice => {
                    let message =
                        format!("the {} `{id}` is changed twice in this layer", kind.noun);
                    self.say(&node, message, "join the two");
                }
                Some(n) => self.change(below, n, node, kind, &id),
                None if self.is_new(&node, below, kind, &id) => new.push(node),
                None => {}
            }
        }
        match kind.first_wins {
            true => drop(below.splice(0..0, new)),
            false => below.extend(new),
        }
    }

    /// Changes, replaces or disables entry `n`.
    fn change(&mut self, below: &mut Vec<Node>, n: usize, mut node: Node, kind: &Kind, id: &str) {
        let (disable, replace) = (
            self.flag(&mut node, "disable"),
            self.flag(&mut node, "replace"),
        );
        let (Some(disable), Some(replace)) = (disable, replace) else {
            return;
        };
        if disable {
            if node.entries().len() > 1 || replace {
                let message = format!("a {} that is disabled has no other fields", kind.noun);
                self.say(&node, message, "remove them, or `disable`");
                return;
            }
            self.disabled.push(Disabled {
                id: id.to_string(),
                at: node.at,
                node: below.remove(n),
            });
        } else if replace {
            below[n] = node;
        } else if let (Content::Map(fields), Content::Map(own)) =
            (&mut below[n].content, node.content)
        {
            self.fields(fields, own, kind);
        }
    }

    /// Puts fields in their places; null removes one.
    fn fields(&mut self, below: &mut Vec<Entry>, above: Vec<Entry>, kind: &Kind) {
        for entry in above {
            let known = below.iter().position(|e| e.key == entry.key);
            if entry.key == kind.key && known.is_some() {
                continue;
            }
            let inner = kind.inner.filter(|(field, _)| *field == entry.key);
            match (known, inner) {
                (Some(n), Some((_, inner))) => {
                    match (&mut below[n].value.content, entry.value.content) {
                        (Content::List(below), Content::List(above)) => {
                            self.list(below, above, inner);
                        }
                        // Whole, so that what is wrong with it is said where it was written.
                        (_, content) => {
                            below[n].at = entry.at;
                            below[n].value = Node {
                                at: entry.value.at,
                                content,
                            };
                        }
                    }
                }
                (Some(_), None)
                    if entry.value.is_null() && kind.required.contains(&entry.key.as_str()) =>
                {
                    let message = format!("a {} has always `{}`", kind.noun, entry.key);
                    let problem = self.sources.problem(entry.at, message);
                    self.problems
                        .push(problem.help("to remove the whole, write `disable: true`"));
                }
                (Some(n), None) if entry.value.is_null() => drop(below.remove(n)),
                (Some(n), None) => below[n] = entry,
                (None, _) => below.push(entry),
            }
        }
    }

    /// `disable: true` and `replace: true`, taken out of the entry; nothing when it says something else.
    fn flag(&mut self, node: &mut Node, name: &str) -> Option<bool> {
        let Content::Map(entries) = &mut node.content else {
            return Some(false);
        };
        let Some(n) = entries.iter().position(|e| e.key == name) else {
            return Some(false);
        };
        let entry = entries.remove(n);
        if entry.value.content == Content::Scalar(Value::Bool(true)) {
            return Some(true);
        }
        let problem = self.sources.problem(entry.value.at, "expected true");
        let help = format!("write `{name}: true`, or leave it out");
        self.problems.push(problem.help(help));
        None
    }

    /// Whether an entry that nothing below is called like is meant to be new: of an upper layer it may be a slip.
    fn is_new(&mut self, node: &Node, below: &[Node], kind: &Kind, id: &str) -> bool {
        let lacks = lacking(node, kind);
        // A slip in what a condition is called makes a new one of what was to change parts of another.
        let is_partial = kind.inner.is_some_and(|(field, inner)| {
            let entries = node.get(field).map_or(&[][..], Node::items);
            entries
                .iter()
                .any(|entry| !lacking(entry, inner).is_empty())
        });
        let changes = ["disable", "replace"].iter().any(|f| node.get(f).is_some());
        let known = below.iter().filter_map(|n| n.get(kind.key)?.as_str());
        let is_slip = is_partial && nearest(id, known.clone()).is_some();
        if !changes && (lacks.is_empty() && !is_slip || self.layer == 0) {
            return true;
        }
        let message = format!("there is no {} `{id}` in the layers below", kind.noun);
        let of_other = self.elsewhere.iter().find(|(other, _)| other == id);
        let help = match nearest(id, known) {
            _ if of_other.is_some() => {
                let file = of_other.map_or("", |(_, file)| file);
                format!("`{id}` is a rule of rules/{file}.yaml: write this there")
            }
            Some(near) => format!("did you mean `{near}`?"),
            None if changes => "leave the entry out".to_string(),
            None => format!(
                "a new {} has also {}; `lotest bundle` prints those that there are",
                kind.noun,
                lacks.join(", ")
            ),
        };
        self.say(node.get(kind.key).unwrap_or(node), message, help);
        false
    }

    fn say(&mut self, node: &Node, message: String, help: impl Into<String>) {
        let problem = self.sources.problem(node.at, message);
        self.problems.push(problem.help(help));
    }
}
