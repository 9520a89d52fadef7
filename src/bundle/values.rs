//! Values: the settings of a bundle. `values.yaml` holds them, an upper layer's is merged over it; `types.yaml` says what
//! may stand where, and `environment.yaml` which environment variable of the operator sets which of them.

use super::layer::{Layer, Sources};
use super::problem::{Problem, nearest};
use super::selector;
use super::tree::{self, At, Content, Entry, Node};
use super::typed::{self, Placed};
use jiff::SignedDuration;
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

/// `types.yaml`: paths of values, with `*` for any one key.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Types {
    duration: Vec<String>,
    quantity: Vec<String>,
    object_name: Vec<String>,
    label_selector: Vec<String>,
    integer: Vec<String>,
    map: Vec<String>,
    secret: Vec<String>,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Duration,
    Quantity,
    ObjectName,
    LabelSelector,
    /// A whole number, or null.
    Integer,
    /// With keys of any name.
    Map,
    String,
    Number,
    Boolean,
    List,
    /// With the keys that are there.
    Fields,
    Any,
}

impl Types {
    /// The type of the value at `path`; `known` stands there in a layer below.
    pub fn of(&self, path: &str, known: &Content) -> Kind {
        let listed = [
            (&self.duration, Kind::Duration),
            (&self.quantity, Kind::Quantity),
            (&self.object_name, Kind::ObjectName),
            (&self.label_selector, Kind::LabelSelector),
            (&self.integer, Kind::Integer),
            (&self.map, Kind::Map),
        ];
        let listed = listed.into_iter().find(|(paths, _)| names(paths, path));
        listed.map_or_else(
            || match known {
                Content::Map(_) => Kind::Fields,
                Content::List(_) => Kind::List,
                Content::Scalar(Value::String(_)) => Kind::String,
                Content::Scalar(Value::Bool(_)) => Kind::Boolean,
                Content::Scalar(Value::Number(_)) => Kind::Number,
                Content::Scalar(_) => Kind::Any,
            },
            |(_, kind)| kind,
        )
    }

    fn is_secret(&self, path: &str) -> bool {
        names(&self.secret, path)
    }
}

fn names(patterns: &[String], path: &str) -> bool {
    patterns.iter().any(|pattern| {
        let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some(p), Some(key)) if p == "*" || p == key => {}
                _ => return false,
            }
        }
    })
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
        let node = read(VALUES, number, layer, sources, problems)?;
        let Some(node) = node else { continue };
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
        // As for the incumbent, an empty variable is one that is not set.
        let Some(text) = settings.get(&variable.name).filter(|t| !t.is_empty()) else {
            continue;
        };
        let name = &variable.name;
        let path = variable.sets.value;
        match parse(types.of(&path, &slot.content), text) {
            Ok(value) => {
                slot.content = Content::Scalar(value);
                set_by.insert(path, variable.name);
            }
            Err(Mistake::Refuse(expected)) => problems.push(Problem::new(
                SETTINGS,
                format!("{name} is not {expected}: `{text}`"),
            )),
            Err(Mistake::Warn(expected)) => warnings.push(format!(
                "{name} is not {expected}: `{text}`; the default {} holds",
                slot.to_value()
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

/// A file that is not merged: that of the highest layer which has it.
fn read_one(
    file: &str,
    layers: &[Layer],
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    let mut with = layers.iter().enumerate().rev();
    let (number, layer) = with.find(|(_, layer)| layer.files.contains_key(file))?;
    read(file, number, layer, sources, problems)?
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

/// What a type is called, and what to write.
fn expected(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Duration => (
            "a duration",
            "write hours, minutes and whole seconds, such as `90s`, `2m` or `1h30m`, or `never`",
        ),
        Kind::Quantity => (
            "a quantity",
            "write a number with a unit, such as `250m`, `128Mi` or `30M`, or \"\" for none",
        ),
        Kind::ObjectName => (
            "an object name",
            "write lower-case letters, digits, dots and dashes, or \"\" for none",
        ),
        Kind::LabelSelector => (
            "a label selector",
            "write a label and its value, `label=value`; join several with commas",
        ),
        Kind::Integer => (
            "a whole number",
            "write it without quotes, or null for none",
        ),
        Kind::Number => ("a number", "write it without quotes"),
        Kind::Boolean => ("true or false", "write `true` or `false`, without quotes"),
        Kind::String => ("a string", "write it in quotes"),
        Kind::List => ("a list", "write `[a, b]`, or one `- entry` a line"),
        Kind::Map => ("a map", "write `{key: value}`, or one entry a line"),
        Kind::Fields | Kind::Any => ("a value", "write one"),
    }
}

enum Mistake {
    Refuse(&'static str),
    Warn(&'static str),
}

/// A value from the text of an environment variable.
fn parse(kind: Kind, text: &str) -> Result<Value, Mistake> {
    match kind {
        Kind::Quantity if !is_quantity(text) => {
            Err(Mistake::Refuse("a quantity such as 250m, 128Mi or 30M"))
        }
        Kind::ObjectName if !is_object_name(text) => Err(Mistake::Refuse(
            "an object name (lower-case letters, digits, dots and dashes)",
        )),
        Kind::LabelSelector if selector::parse(text).is_err() => {
            Err(Mistake::Refuse("a label selector such as label=value"))
        }
        Kind::Duration if !is_duration(text) => {
            Err(Mistake::Refuse("a duration such as 90s, 2m or 1h30m"))
        }
        // What Go's strconv.ParseBool takes, which the variables are written for.
        Kind::Boolean => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
            _ => Err(Mistake::Warn("true or false")),
        },
        Kind::Integer | Kind::Number => match text.parse::<i32>() {
            Ok(n) => Ok(n.into()),
            Err(_) => Err(Mistake::Warn("an integer")),
        },
        _ => Ok(text.into()),
    }
}

fn is_duration(text: &str) -> bool {
    let duration = text.parse::<SignedDuration>();
    text == "never" || duration.is_ok_and(|d| !d.is_negative() && d.subsec_nanos() == 0)
}

/// Kubernetes' grammar: a decimal number and an SI, binary or exponent suffix.
fn is_quantity(text: &str) -> bool {
    let number = text.trim_start_matches(['+', '-']);
    if text.len() - number.len() > 1 {
        return false;
    }
    let end = number
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(number.len());
    let (digits, suffix) = number.split_at(end);
    let decimal = digits.chars().any(|c| c.is_ascii_digit()) && digits.matches('.').count() <= 1;
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .is_some_and(|e| e.parse::<i32>().is_ok());
    let suffixes = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    decimal && (exponent || suffixes.contains(&suffix))
}

/// A DNS subdomain (RFC 1123).
pub(super) fn is_object_name(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for good in ["250m", "128Mi", "30M", "1", "0.5", "1e3", "+1Gi", "12E2"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1.2.3", "1 Gi", "1gi", "--1", "ten"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
