//! Values: the settings of a bundle. `values.yaml` holds them, an upper layer's is merged over it; `types.yaml` says what
//! may stand where, and `environment.yaml` which environment variable of the operator sets which of them.

use super::layer::{Layer, Sources};
use super::problem::{Problem, nearest};
use super::secrets::Secrets;
use super::selector;
use super::tree::{self, At, Content, Entry, Node};
use super::typed::{self, Placed};
use super::types::{
    Kind, Mistake, Types, expected, is_duration, is_object_name, is_quantity, parse,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What problems name as the file of a setting.
pub const SETTINGS: &str = "the environment";

const VALUES: &str = "values.yaml";
const TYPES: &str = "types.yaml";
const ENVIRONMENT: &str = "environment.yaml";

/// The values of a bundle.
#[derive(Debug)]
pub struct Values {
    /// With the place of each.
    pub tree: Node,
    pub value: Value,
    /// Those that the operator's environment sets, with the variable.
    pub set_by: BTreeMap<String, String>,
}

/// What may stand where.
pub(super) fn types(layers: &[Layer], sources: &mut Sources, problems: &mut Vec<Problem>) -> Types {
    match read_one(TYPES, layers, sources, problems) {
        Some(node) => typed(&node, sources, problems).unwrap_or_default(),
        None => Types::default(),
    }
}

/// The values of all layers with the operator's environment applied; nothing when they cannot be read.
pub fn load(
    layers: &[Layer],
    settings: &BTreeMap<String, String>,
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<Values> {
    let types = types(layers, sources, problems);
    let mut tree = Node {
        at: At::default(),
        content: Content::Map(Vec::new()),
    };
    let mut is_first = true;
    for (number, layer) in layers.iter().enumerate() {
        // Without all values the mistakes in what uses them are none.
        let said = problems.len();
        let Some(node) = read(VALUES, number, layer, sources, problems) else {
            let source = layer.files.get(VALUES).map_or("", String::as_str);
            for problem in &mut problems[said..] {
                Secrets::unread(problem, source, &types);
            }
            return None;
        };
        let Some(node) = node else { continue };
        let is_known = |path: &str| is_first || find(&tree, path).is_some();
        let file = layer.path(VALUES);
        sources.secrets.add_file(&file, &node, &types, is_known);
        if !matches!(node.content, Content::Map(_)) {
            let problem = sources.problem(node.at, "values are a map");
            problems.push(problem.help("write one setting a line, as `name: value`"));
            return None;
        }
        let mut merge = Merge {
            types: &types,
            sources,
            problems,
        };
        if is_first {
            merge.check("", &node);
            tree = node;
        } else {
            merge.fields("", &mut tree, node);
        }
        is_first = false;
    }
    let mut set_by = BTreeMap::new();
    for variable in environment(layers, sources, problems) {
        let Some(slot) = slot(&mut tree, &variable.sets.value) else {
            let message = format!("values.yaml has no `{}`", variable.sets.value);
            let problem = sources.problem(variable.sets.at, message);
            problems.push(problem.help(
                "a variable sets a value that exists; add it to values.yaml, if only as null",
            ));
            continue;
        };
        if !matches!(slot.content, Content::Scalar(_)) {
            let message = format!("`{}` is no single value", variable.sets.value);
            let problem = sources.problem(variable.sets.at, message);
            problems
                .push(problem.help("a variable is one text: name a value that is no map or list"));
            continue;
        }
        // As for the incumbent, an empty variable is one that is not set.
        let Some(text) = settings.get(&variable.name).filter(|t| !t.is_empty()) else {
            continue;
        };
        let name = &variable.name;
        let path = variable.sets.value;
        let is_secret = types.is_secret(&path);
        if is_secret {
            sources.secrets.add(text);
        }
        let shown = match is_secret {
            true => "a credential, which is not shown".to_string(),
            false => format!("`{text}`"),
        };
        match parse(types.of(&path, &slot.content), text) {
            Ok(value) => {
                slot.content = Content::Scalar(value);
                set_by.insert(path, variable.name);
            }
            Err(Mistake::Refuse(expected)) => problems.push(Problem::new(
                SETTINGS,
                format!("{name} is not {expected}: {shown}"),
            )),
            Err(Mistake::Warn(expected)) => warnings.push(format!(
                "{name} is not {expected}: {shown}; the default {} holds",
                sources.secrets.mask(&slot.to_value().to_string())
            )),
        }
    }
    warn_of_secrets(&tree, "", &types, &set_by, sources, warnings);
    let value = tree.to_value();
    Some(Values {
        tree,
        value,
        set_by,
    })
}

/// One line of `environment.yaml`.
struct Variable {
    name: String,
    sets: Placed,
}

fn environment(
    layers: &[Layer],
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Vec<Variable> {
    let node = read_one(ENVIRONMENT, layers, sources, problems);
    let known: BTreeMap<String, Placed> = node
        .and_then(|node| typed(&node, sources, problems))
        .unwrap_or_default();
    let variable = |(name, sets)| Variable { name, sets };
    known.into_iter().map(variable).collect()
}

/// The names of the variables that set values.
pub fn variables(layers: &[Layer]) -> Vec<String> {
    let (mut sources, mut problems) = (Sources::default(), Vec::new());
    let all = environment(layers, &mut sources, &mut problems);
    all.into_iter().map(|v| v.name).collect()
}

/// A file of one layer; `Some(None)` when there is nothing in it, or no such file.
fn read(
    file: &str,
    number: usize,
    layer: &Layer,
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Option<Option<Node>> {
    let Some(text) = layer.files.get(file) else {
        return Some(None);
    };
    let path = layer.path(file);
    let source = sources.add(number, path.clone(), text);
    let node = tree::parse(&path, text, source);
    node.map_err(|problem| problems.push(*problem)).ok()
}

/// A file that the lowest layer alone has.
fn read_one(
    file: &str,
    layers: &[Layer],
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    read(file, 0, layers.first()?, sources, problems)?
}

fn typed<'n, T: Deserialize<'n>>(
    node: &'n Node,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    typed::from_node(node)
        .map_err(|mistake| problems.push(mistake.problem(sources)))
        .ok()
}

fn slot<'n>(tree: &'n mut Node, path: &str) -> Option<&'n mut Node> {
    path.split('.').try_fold(tree, |node, key| {
        let Content::Map(entries) = &mut node.content else {
            return None;
        };
        let entry = entries.iter_mut().find(|e| e.key == key)?;
        Some(&mut entry.value)
    })
}

fn find<'n>(tree: &'n Node, path: &str) -> Option<&'n Node> {
    path.split('.').try_fold(tree, |node, key| node.get(key))
}

/// Credentials in plain text, from whatever they were set by.
fn warn_of_secrets(
    node: &Node,
    path: &str,
    types: &Types,
    set_by: &BTreeMap<String, String>,
    sources: &Sources,
    warnings: &mut Vec<String>,
) {
    if types.is_secret(path) && node.as_str().is_some_and(|text| !text.is_empty()) {
        let what = match set_by.get(path) {
            Some(variable) => variable.clone(),
            None => format!("{}: {path}", sources.place(node.at)),
        };
        warnings.push(format!(
            "{what} holds a credential in plain text, which pods get as it is; name a Secret instead"
        ));
    }
    for entry in node.entries() {
        let path = below(path, &entry.key);
        warn_of_secrets(&entry.value, &path, types, set_by, sources, warnings);
    }
}

pub(super) fn below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_string(),
        path => format!("{path}.{key}"),
    }
}

struct Merge<'a> {
    types: &'a Types,
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
}

impl Merge<'_> {
    /// Checks values that nothing stands below.
    fn check(&mut self, path: &str, node: &Node) {
        let kind = self.types.of(path, &node.content);
        if kind == Kind::Fields {
            for entry in node.entries() {
                self.check(&below(path, &entry.key), &entry.value);
            }
        } else {
            self.fits(kind, path, node);
        }
    }

    /// Puts the entries of `own` into the map `known`.
    fn fields(&mut self, path: &str, known: &mut Node, own: Node) {
        let Content::Map(entries) = &mut known.content else {
            return;
        };
        let Content::Map(own) = own.content else {
            self.say(
                own.at,
                format!("`{path}` is a map"),
                "write its fields below it",
            );
            return;
        };
        for entry in own {
            let path = below(path, &entry.key);
            let Some(slot) = entries.iter_mut().find(|e| e.key == entry.key) else {
                let known = entries.iter().map(|e| e.key.as_str());
                let help = match nearest(&entry.key, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "values here are {}; those of your own are written below `extra`",
                        known.collect::<Vec<_>>().join(", ")
                    ),
                };
                self.say(entry.at, format!("there is no value `{path}`"), help);
                continue;
            };
            match self.types.of(&path, &slot.value.content) {
                Kind::Fields => self.fields(&path, &mut slot.value, entry.value),
                kind => {
                    if let Some(value) = self.fits(kind, &path, &entry.value) {
                        match kind {
                            Kind::Map => merge_maps(&mut slot.value, entry.value),
                            _ => slot.value = value,
                        }
                    }
                }
            }
        }
    }

    /// The value as it is taken, if it is one of this type.
    fn fits(&mut self, kind: Kind, path: &str, node: &Node) -> Option<Node> {
        let scalar = match &node.content {
            Content::Scalar(value) => Some(value),
            _ => None,
        };
        let text = scalar.and_then(Value::as_str);
        let fits = match kind {
            Kind::Fields | Kind::Any => true,
            Kind::Map => matches!(node.content, Content::Map(_)),
            Kind::List => matches!(node.content, Content::List(_)),
            Kind::String => text.is_some(),
            Kind::Boolean => scalar.is_some_and(Value::is_boolean),
            Kind::Number => scalar.is_some_and(Value::is_number),
            Kind::Integer => scalar.is_some_and(|v| v.is_null() || v.is_i64()),
            Kind::Duration => text.is_some_and(is_duration),
            Kind::ObjectName => text.is_some_and(|t| t.is_empty() || is_object_name(t)),
            Kind::LabelSelector => text.is_some_and(|t| selector::parse(t).is_ok()),
            // YAML reads 1 as a number; Kubernetes takes it for a quantity.
            Kind::Quantity => match scalar {
                Some(Value::Number(n)) => return self.fits(kind, path, &quoted(node, n)),
                _ => text.is_some_and(|t| t.is_empty() || is_quantity(t)),
            },
        };
        if fits {
            return Some(node.clone());
        }
        let (expected, help) = expected(kind);
        self.say(node.at, format!("`{path}` is not {expected}"), help);
        None
    }

    fn say(&mut self, at: At, message: String, help: impl Into<String>) {
        let problem = self.sources.problem(at, message);
        self.problems.push(problem.help(help));
    }
}

fn quoted(node: &Node, number: &serde_json::Number) -> Node {
    Node {
        at: node.at,
        content: Content::Scalar(number.to_string().into()),
    }
}

/// RFC 7386: null removes an entry.
fn merge_maps(known: &mut Node, own: Node) {
    let (Content::Map(entries), Content::Map(_)) = (&mut known.content, &own.content) else {
        *known = own;
        return;
    };
    let Content::Map(own) = own.content else {
        return;
    };
    for Entry { key, at, value } in own {
        let known = entries.iter().position(|e| e.key == key);
        match known {
            Some(n) if value.is_null() => drop(entries.remove(n)),
            Some(n) => merge_maps(&mut entries[n].value, value),
            None if value.is_null() => {}
            None => entries.push(Entry { key, at, value }),
        }
    }
}
