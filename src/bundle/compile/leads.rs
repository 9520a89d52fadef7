//! Where a path leads, as far as it is known what there is: fields of the test, of pods and of children, and what the
//! engine says of signals and of its own doing. A field that is not there is never anything, and no string is a number.

use super::names::{Names, Word};
use super::{About, Compiler, Known, Roots};
use crate::bundle::problem::nearly;
use crate::bundle::tree::At;
use crate::engine::fields::{Shape, of_kind};
use crate::engine::path::{Compared, Part, Path};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

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
        "cases": {"type": "object", "additionalProperties": text},
    }}));
    if let Shape::Fields(roots) = &mut shape {
        let test = of_kind("locust.io/v2", "LocustTest");
        Arc::make_mut(roots).insert("test".into(), test.cloned().unwrap_or(Shape::Any));
    }
    shape
});

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
    let root = root(path);
    let open = match root {
        "test" => written.first() == Some(&"status"),
        root => {
            !matches!(
                root,
                "signals" | "worst" | "evidence" | "run" | "pods" | "phase" | "cases"
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
                let of_rules = root == "test"
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
                    let word = word(root, &to, &kinds);
                    walked.filters.push((compared, shape, word));
                }
                entry
            }
            (Part::Entries(_), _) => return Ok(walked),
        };
    }
    walked.word = word(root, &so_far, &kinds);
    walked.shape = shape;
    Ok(walked)
}

/// What is known of a root; a test is the same before it is changed.
fn root(path: &Path) -> &str {
    match path.root() {
        "oldTest" => "test",
        root => root,
    }
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
        (About::Admission, ..) if root(path) == "test" => (OF_TEST.get("test"), parts),
        (About::Admission | About::Other, ..) => (None, parts),
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
        ("cases", [kind]) => Word::Case(kind.to_string()),
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
