//! What rules call each other by, and what paths lead to: phases, signals, reasons, conditions and the fields that there
//! are. A name that nothing answers to makes a rule that never holds, and nobody would be told.

use super::{About, Compiler, Known, Roots};
use crate::api::schema::locust_test;
use crate::bundle::merge::Merged;
use crate::bundle::problem::{nearest, nearly};
use crate::bundle::tree::{At, Node};
use crate::engine::fields::{Shape, of_kind};
use crate::engine::path::{Compared, Part, Path};
use crate::engine::text::Text;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The names of all rules of a bundle, those that a layer switched off among them: others may still ask for them.
#[derive(Default)]
pub(super) struct Names<'a> {
    signals: Vec<&'a str>,
    reasons: Reasons<'a>,
    phases: Vec<&'a str>,
    /// Those that a transition led to which was switched off.
    former_phases: Vec<&'a str>,
    conditions: HashMap<&'a str, Reasons<'a>>,
    /// Of cases that were switched off, whatever their condition.
    former: Reasons<'a>,
    fields: Vec<&'a str>,
    /// There are more rules than these: nothing can be said of a name that is not known.
    unread: bool,
}

/// Reasons as they are written; some are made of what was found.
type Reasons<'a> = Vec<(&'a str, Option<Text>)>;

/// What a string in a path names.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    Phase,
    Signal,
    Reason,
    Severity,
    Child,
    Condition,
    /// Of conditions of these types; of any when there is none.
    ConditionReason(Vec<String>),
}

const SEVERITIES: &[&str] = &["ignore", "info", "warn", "degraded", "fatal"];

/// So many names are said when none is near.
const MAX_NAMES: usize = 12;

/// What rules about a test see, besides its children.
static OF_TEST: LazyLock<Shape> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let texts = json!({"type": "array", "items": text});
    let signal = json!({"properties": {
        "id": text, "reason": text, "severity": text, "message": text, "count": number, "pods": text,
        "since": text, "said": text,
    }});
    let refused = json!({"properties": {
        "child": text, "apiVersion": text, "kind": text, "name": text, "message": text,
    }});
    let run = json!({"properties": {
        "bundle": text, "children": texts, "started": {}, "missing": texts, "unseen": texts, "drift": texts,
        "refused": {"type": "array", "items": refused}, "errors": texts, "age": number,
    }});
    let pods = json!({"properties": {
        "total": number, "running": number, "pending": number, "active": number, "oldest": text,
    }});
    let mut shape = Shape::of_schema(&json!({"properties": {
        "signals": {"type": "array", "items": signal}, "worst": signal, "run": run, "pods": pods, "phase": text,
        "evidence": {"type": "object", "additionalProperties": signal}, "child": {}, "warning": {},
    }}));
    if let Shape::Fields(roots) = &mut shape {
        let mut test = Shape::of_schema(locust_test());
        if let (Shape::Fields(test), Some(job)) = (&mut test, of_kind("batch/v1", "Job"))
            && let Some(metadata) = job.get("metadata")
        {
            test.insert("metadata".into(), metadata.clone());
        }
        roots.insert("test".into(), test);
    }
    shape
});

impl<'a> Names<'a> {
    pub(super) fn of(merged: &'a Merged) -> Names<'a> {
        let mut names = Names {
            unread: merged.unread,
            ..Names::default()
        };
        for node in merged.get("signals").map_or(&[][..], Node::items) {
            names.signal(node);
        }
        for node in merged.get("conditions").map_or(&[][..], Node::items) {
            names.condition(node);
        }
        for node in merged.get("status").map_or(&[][..], Node::items) {
            names.fields.extend(text(node, "field"));
        }
        if let Some(phase) = merged.get("phase") {
            names.phases.extend(text(phase, "initial"));
            let terminal = phase.get("terminal").map_or(&[][..], Node::items);
            names
                .phases
                .extend(terminal.iter().filter_map(Node::as_str));
            for node in phase.get("transitions").map_or(&[][..], Node::items) {
                names.transition(node);
            }
        }
        for node in merged.disabled.iter().map(|d| &d.node) {
            match ["severity", "cases", "status", "field", "to"].map(|key| node.get(key)) {
                [Some(_), ..] => names.signal(node),
                [_, Some(_), ..] => names.condition(node),
                [_, _, Some(_), ..] => names.former.extend(reason(node)),
                [_, _, _, Some(_), _] => names.fields.extend(text(node, "field")),
                [.., Some(_)] => {
                    names.former_phases.extend(text(node, "to"));
                    names.transition(node);
                }
                _ => {}
            }
        }
        names
    }

    fn signal(&mut self, node: &'a Node) {
        self.signals.extend(text(node, "id"));
        self.reasons.extend(reason(node));
    }

    fn condition(&mut self, node: &'a Node) {
        if let Some(kind) = text(node, "type") {
            let cases = node.get("cases").map_or(&[][..], Node::items);
            let reasons = self.conditions.entry(kind).or_default();
            reasons.extend(cases.iter().filter_map(reason));
        }
    }

    fn transition(&mut self, node: &'a Node) {
        let from = node.get("from").map_or(&[][..], Node::items);
        let from = from.iter().filter_map(Node::as_str);
        for phase in from.chain(text(node, "to")) {
            if !self.phases.contains(&phase) {
                self.phases.push(phase);
            }
        }
    }

    /// The reasons that cases of some conditions give. A condition of others may have any.
    fn reasons_of(&self, kinds: &[String]) -> Option<Reasons<'a>> {
        let mut all = self.former.clone();
        match kinds {
            [] => self
                .conditions
                .values()
                .for_each(|r| all.extend(r.iter().cloned())),
            _ => {
                for kind in kinds {
                    all.extend(self.conditions.get(kind.as_str())?.iter().cloned());
                }
            }
        }
        Some(all)
    }
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key)?.as_str()
}

fn reason(node: &Node) -> Option<(&str, Option<Text>)> {
    let written = text(node, "reason")?;
    let made = written.contains("{{").then(|| Text::compile(written).ok());
    Some((written, made.flatten()))
}

fn may_be(reasons: &Reasons, said: &str) -> bool {
    let mut all = reasons.iter();
    all.any(|(written, made)| *written == said || made.as_ref().is_some_and(|t| t.may_say(said)))
}

/// A name that nothing answers to, and those that there are beside it.
struct Lost<'p> {
    name: &'p str,
    shape: &'static Shape,
    /// Others may put names of their own there.
    open: bool,
}

/// What a path leads to, and what its filters compare.
struct Walked<'p> {
    shape: &'static Shape,
    word: Option<Word>,
    filters: Vec<(&'p Compared, &'static Shape, Option<Word>)>,
}

impl Compiler<'_> {
    /// Whether rules that a layer switched off name this phase.
    pub(super) fn was_a_phase(&self, phase: &str) -> bool {
        self.names.former_phases.contains(&phase)
    }

    /// Whether the names in a path are known, and what its filters compare with, where it is known which there are.
    pub(super) fn known_fields(&mut self, at: At, path: &Path, roots: Roots) -> bool {
        match walk(path, roots, self.known, &self.names) {
            Ok(walked) => {
                let mut fine = true;
                for (compared, shape, word) in walked.filters {
                    let subject = format!("`{}` in `{}`", compared.field, path.as_str());
                    let at = match &compared.with {
                        Value::String(text) => self.sources.find(at, 0, text),
                        _ => at,
                    };
                    fine &= self.known_literal(at, &subject, shape, word.as_ref(), &compared.with);
                }
                fine
            }
            Err(lost) => self.lost(at, path, &lost),
        }
    }

    fn lost(&mut self, at: At, path: &Path, lost: &Lost) -> bool {
        let written = path.as_str();
        let Lost { name, shape, open } = lost;
        let Shape::Fields(fields) = shape else {
            let title = shape.title();
            let message = format!("`{written}`: there is no `{name}` below {title}");
            self.problem(at, message).help = Some(match shape {
                Shape::List(_) => format!("write `[*].{name}` for each of its entries"),
                _ => "remove what is behind it".into(),
            });
            return false;
        };
        let mut known: Vec<&str> = fields.keys().map(String::as_str).collect();
        known.sort_unstable();
        if *open && nearly(name, known.iter().copied()).is_none() {
            return true;
        }
        self.unknown_name(at, path, name, &known);
        false
    }

    /// Whether a path may ever have this value.
    pub(super) fn may_have(&mut self, at: At, path: &Path, roots: Roots, literal: &Value) -> bool {
        let Ok(walked) = walk(path, roots, self.known, &self.names) else {
            return true;
        };
        let subject = format!("`{}`", path.as_str());
        self.known_literal(at, &subject, walked.shape, walked.word.as_ref(), literal)
    }

    /// Whether a path may lead to something that is in an order with this.
    pub(super) fn is_like(&mut self, at: At, path: &Path, roots: Roots, literal: &Value) -> bool {
        let shape = self.shape(path, roots);
        self.known_literal(at, &format!("`{}`", path.as_str()), shape, None, literal)
    }

    /// Whether a path may lead to a string.
    pub(super) fn may_be_text(&mut self, at: At, path: &Path, roots: Roots) -> bool {
        let shape = self.shape(path, roots);
        let is_text = is_comparable(shape, &Value::String(String::new()));
        if !is_text {
            let (written, title) = (path.as_str(), shape.title());
            let message = format!("`{written}` is {title}, and this operator is for strings");
            self.problem(at, message).help =
                Some("numbers are compared with eq, ne, in, notIn, gt, gte, lt and lte".into());
        }
        is_text
    }

    fn shape(&self, path: &Path, roots: Roots) -> &'static Shape {
        let walked = walk(path, roots, self.known, &self.names);
        walked.map_or(&Shape::Any, |walked| walked.shape)
    }

    fn known_literal(
        &mut self,
        at: At,
        subject: &str,
        shape: &Shape,
        word: Option<&Word>,
        literal: &Value,
    ) -> bool {
        if !is_comparable(shape, literal) {
            let message = format!("{subject} is {}, and never {literal}", shape.title());
            self.problem(at, message).help = Some(comparison_help(shape, literal));
            return false;
        }
        match (word, literal) {
            (Some(word), Value::String(text)) => self.known_word(at, word, text),
            _ => true,
        }
    }

    fn known_word(&mut self, at: At, word: &Word, said: &str) -> bool {
        let names = &self.names;
        if names.unread {
            return true;
        }
        let written = |reasons: &Reasons<'_>| -> Vec<String> {
            let literal = reasons.iter().filter(|(_, made)| made.is_none());
            literal.map(|(written, _)| written.to_string()).collect()
        };
        let owned = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
        let (message, mut known): (String, Vec<String>) = match word {
            Word::Phase if names.phases.contains(&said) => return true,
            Word::Phase => (format!("there is no phase `{said}`"), owned(&names.phases)),
            Word::Signal if names.signals.contains(&said) => return true,
            Word::Signal => (
                format!("there is no signal `{said}`"),
                owned(&names.signals),
            ),
            Word::Severity if SEVERITIES.contains(&said) => return true,
            Word::Severity => (format!("there is no severity `{said}`"), owned(SEVERITIES)),
            Word::Child => {
                let Known {
                    children, others, ..
                } = self.known;
                if children.contains(&said) || others.contains(&said) {
                    return true;
                }
                (
                    format!("no template makes a child `{said}`"),
                    owned(children),
                )
            }
            Word::Reason if may_be(&names.reasons, said) => return true,
            Word::Reason => (
                format!("no signal gives the reason `{said}`"),
                written(&names.reasons),
            ),
            Word::Condition => {
                let known: Vec<&str> = names.conditions.keys().copied().collect();
                // Others may write conditions of their own.
                if known.contains(&said) || nearly(said, known.iter().copied()).is_none() {
                    return true;
                }
                (format!("there is no condition `{said}`"), owned(&known))
            }
            Word::ConditionReason(kinds) => match names.reasons_of(kinds) {
                Some(reasons) if !reasons.is_empty() && !may_be(&reasons, said) => {
                    let of = match kinds.as_slice() {
                        [] => "any condition".to_string(),
                        kinds => format!("the condition {}", kinds.join(" or ")),
                    };
                    (
                        format!("no case of {of} gives the reason `{said}`"),
                        written(&reasons),
                    )
                }
                _ => return true,
            },
        };
        known.sort_unstable();
        known.dedup();
        let near = nearest(said, known.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.len() <= MAX_NAMES => format!("there are {}", known.join(", ")),
            None => "`lotest bundle` prints the rules that there are".to_string(),
        };
        let also = match word {
            Word::Reason => ". An override may give a signal another reason; its `id` stays",
            Word::ConditionReason(_) => {
                ". A rule that asks for a reason is changed together with it"
            }
            _ => "",
        };
        let help = match also {
            "" => help,
            also => format!("{}{also}", help.replace('?', "")),
        };
        self.problem(at, message).help = Some(help);
        false
    }
}

/// Follows a path through what is known of the roots.
fn walk<'p>(
    path: &'p Path,
    roots: Roots,
    known: &Known,
    names: &Names,
) -> Result<Walked<'p>, Lost<'p>> {
    let mut walked = Walked {
        shape: &Shape::Any,
        word: None,
        filters: Vec::new(),
    };
    let (Some(mut shape), parts) = start(path, roots, known) else {
        return Ok(walked);
    };
    let written: Vec<&str> = path.parts().iter().filter_map(name).collect();
    let open = match path.root() {
        "test" => written.first() == Some(&"status"),
        root => {
            !matches!(
                root,
                "signals" | "worst" | "evidence" | "run" | "pods" | "phase"
            ) || written.first() == Some(&"started")
        }
    };
    let mut so_far: Vec<&str> = path.parts()[..path.parts().len() - parts.len()]
        .iter()
        .filter_map(name)
        .collect();
    let mut kinds = Vec::new();
    for part in parts {
        shape = match (part, shape) {
            (_, Shape::Any) | (Part::Anything, _) => return Ok(walked),
            (Part::Name(name), _) => {
                so_far.push(name);
                let of_rules = path.root() == "test"
                    && so_far.len() == 2
                    && so_far[0] == "status"
                    && names.fields.contains(&name.as_str());
                match shape.get(name) {
                    Some(below) => below,
                    None if of_rules => return Ok(walked),
                    None => return Err(Lost { name, shape, open }),
                }
            }
            (Part::Entries(filters), Shape::List(entry)) => {
                for compared in filters {
                    let field = compared.field.as_str();
                    let Some(shape) = entry.get(field) else {
                        let lost = Lost {
                            name: field,
                            shape: entry,
                            open,
                        };
                        return Err(lost);
                    };
                    if let (true, "type", Some(kind)) =
                        (compared.equal, field, compared.with.as_str())
                    {
                        kinds.push(kind.to_string());
                    }
                    let mut to = so_far.clone();
                    to.push(field);
                    let word = word(path.root(), &to, &kinds);
                    walked.filters.push((compared, shape, word));
                }
                entry
            }
            (Part::Entries(_), _) => return Ok(walked),
        };
    }
    walked.word = word(path.root(), &so_far, &kinds);
    walked.shape = shape;
    Ok(walked)
}

fn name(part: &Part) -> Option<&str> {
    match part {
        Part::Name(name) => Some(name),
        _ => None,
    }
}

/// What a path starts from, and the rest of its steps.
fn start<'p>(path: &'p Path, roots: Roots, known: &Known) -> (Option<&'static Shape>, &'p [Part]) {
    let parts = path.parts();
    let pod = || of_kind("v1", "Pod");
    let below = |shape: Option<&'static Shape>, name: &str| shape.and_then(|s| s.get(name));
    let child = |stem: &str| {
        let template = known.templates.iter().find(|t| t.stem == stem)?;
        of_kind(&template.api_version, &template.kind)
    };
    match (roots.about, path.root(), parts) {
        (About::Test, "children", [Part::Name(stem), rest @ ..]) => (child(stem), rest),
        (About::Test, "run", [Part::Name(started), Part::Name(stem), rest @ ..])
            if started == "started" =>
        {
            (child(stem), rest)
        }
        (About::Test, root, _) => (OF_TEST.get(root), parts),
        (About::Pod, root, _) => (below(pod(), root), parts),
        (About::Container, "pod", _) => (pod(), parts),
        (About::Container, "container", _) => {
            (list(below(below(pod(), "spec"), "containers")), parts)
        }
        (About::Container, root, _) => {
            let statuses = below(below(pod(), "status"), "containerStatuses");
            (below(list(statuses), root), parts)
        }
        (About::Other, ..) => (None, parts),
    }
}

fn list(shape: Option<&'static Shape>) -> Option<&'static Shape> {
    match shape {
        Some(Shape::List(entry)) => Some(entry),
        _ => None,
    }
}

/// What the string at the end of a path names; `kinds` are the types of conditions that the path selects.
fn word(root: &str, names: &[&str], kinds: &[String]) -> Option<Word> {
    Some(match (root, names) {
        ("phase", []) | ("test", ["status", "phase"]) => Word::Phase,
        ("signals" | "worst", [field]) | ("evidence", [_, field]) => match *field {
            "id" => Word::Signal,
            "reason" => Word::Reason,
            "severity" => Word::Severity,
            _ => return None,
        },
        ("run", ["children" | "missing" | "unseen"] | ["refused", "child"]) => Word::Child,
        ("test", ["status", "conditions", "type"]) => Word::Condition,
        ("test", ["status", "conditions", "reason"]) => Word::ConditionReason(kinds.to_vec()),
        _ => return None,
    })
}

/// Whether a value of a type may equal or be in an order with a literal.
fn is_comparable(shape: &Shape, literal: &Value) -> bool {
    match shape {
        _ if literal.is_null() => true,
        Shape::Any => true,
        Shape::Fields(_) | Shape::Each(_) => literal.is_object(),
        Shape::List(_) => literal.is_array(),
        Shape::Text => literal.is_string(),
        Shape::Boolean => literal.is_boolean(),
        Shape::Integer(_) | Shape::Number => literal.is_number(),
        Shape::Amount | Shape::Quantity => literal.is_number() || literal.is_string(),
    }
}

fn comparison_help(shape: &Shape, literal: &Value) -> String {
    match (shape, literal) {
        (Shape::Text, Value::Bool(value)) => {
            let word = if *value { "True" } else { "False" };
            format!("write `\"{word}\"`, in quotes: without, YAML reads true or false")
        }
        (Shape::Text, Value::Number(n)) => format!("write `\"{n}\"`, in quotes"),
        (Shape::Integer(_) | Shape::Number, Value::String(text)) if text.parse::<f64>().is_ok() => {
            format!("write `{text}`, without quotes")
        }
        (Shape::Boolean, _) => "write `true` or `false`, without quotes".into(),
        (Shape::List(_), _) => "a list is asked for its entries: end the path with `[*]`".into(),
        (Shape::Fields(_) | Shape::Each(_), _) => "name a field of the map".into(),
        _ => format!("compare it with {}", shape.title()),
    }
}
