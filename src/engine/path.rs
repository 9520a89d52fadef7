//! Paths (RFC 9535 JSONPath), compiled once. The first name of a path chooses
//! one of the roots that its [`Scope`] offers; the rest is looked up below it.
//!
//! Nearly all paths of rules are plain names or pick one entry of a list by a
//! key (`[?@.type == 'Ready']`); those are walked here without allocating. All
//! others go to jsonpath-rust.

use crate::bundle::Secrets;
use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, JpQuery, Literal, Segment, Selector, SingularQuery,
    SingularQuerySegment,
};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;
use std::borrow::Cow;

/// What a path may start from.
pub trait Scope {
    /// The value of the root `name`, if there is one now.
    fn root(&self, name: &str) -> Option<&Value>;

    /// The credentials that no text shows, whatever it quotes.
    fn secrets(&self) -> Option<&Secrets> {
        None
    }
}

/// A compiled path.
#[derive(Debug, Clone)]
pub struct Path {
    written: String,
    root: String,
    rest: Rest,
}

#[derive(Debug, Clone)]
enum Rest {
    Steps(Vec<Step>),
    Query(JpQuery),
}

#[derive(Debug, Clone)]
enum Step {
    Name(String),
    Index(usize),
    /// Every entry of a list whose `key` is the string `value`.
    Where {
        key: String,
        value: String,
    },
}

impl Path {
    /// Compiles `$.root...`. The error says what is wrong, without a place.
    pub fn compile(written: &str) -> Result<Path, String> {
        let query = parse_json_path(written).map_err(|e| {
            let reason = reason(written, &e.to_string());
            format!("`{written}` is not a JSONPath (RFC 9535): {reason}")
        })?;
        let mut segments = query.segments.into_iter();
        let root = match segments.next() {
            Some(Segment::Selector(Selector::Name(name))) => unquote(&name).into_owned(),
            _ => {
                return Err(format!(
                    "`{written}` must start with a name, such as `$.test`"
                ));
            }
        };
        let segments: Vec<Segment> = segments.collect();
        let steps = segments.iter().map(step).collect::<Option<Vec<_>>>();
        let rest = match steps {
            Some(steps) => Rest::Steps(steps),
            None => Rest::Query(JpQuery::new(segments)),
        };
        Ok(Path {
            written: written.to_string(),
            root,
            rest,
        })
    }

    pub fn root(&self) -> &str {
        &self.root
    }

    /// The plain names after the root, up to the first step that is none.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let steps = match &self.rest {
            Rest::Steps(steps) => steps.as_slice(),
            Rest::Query(_) => &[],
        };
        steps.iter().map_while(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }

    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// All values that the path selects. `null` counts as missing: the API
    /// server does not tell the two apart either.
    pub fn select<'a>(&self, scope: &'a dyn Scope) -> Result<Nodes<'a>, String> {
        let Some(root) = scope.root(&self.root) else {
            return Ok(Nodes::None);
        };
        match &self.rest {
            Rest::Steps(steps) => Ok(walk(root, steps)),
            Rest::Query(query) => js_path_process(query, root)
                .map(|found| {
                    Nodes::Many(
                        found
                            .into_iter()
                            .map(|f| f.val())
                            .filter(|v| !v.is_null())
                            .collect(),
                    )
                })
                .map_err(|e| format!("`{}`: {e}", self.written)),
        }
    }

    /// The first value that the path selects.
    pub fn first<'a>(&self, scope: &'a dyn Scope) -> Option<&'a Value> {
        self.select(scope).ok()?.iter().next()
    }
}

/// What a path selected. Most paths select one value at the most.
pub enum Nodes<'a> {
    None,
    One(&'a Value),
    Many(Vec<&'a Value>),
}

impl<'a> Nodes<'a> {
    pub fn iter(&self) -> impl Iterator<Item = &'a Value> + '_ {
        let (one, many): (Option<&'a Value>, &[&'a Value]) = match self {
            Nodes::None => (None, &[]),
            Nodes::One(v) => (Some(v), &[]),
            Nodes::Many(all) => (None, all),
        };
        one.into_iter().chain(many.iter().copied())
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

fn walk<'a>(value: &'a Value, steps: &[Step]) -> Nodes<'a> {
    let mut at = value;
    for (n, step) in steps.iter().enumerate() {
        let next = match step {
            Step::Name(name) => at.get(name.as_str()),
            Step::Index(index) => at.get(*index),
            Step::Where { key, value } => {
                let Value::Array(entries) = at else {
                    return Nodes::None;
                };
                let mut found = entries
                    .iter()
                    .filter(|e| e.get(key.as_str()).and_then(Value::as_str) == Some(value));
                let first = found.next();
                if found.next().is_some() {
                    return every(entries, key, value, &steps[n + 1..]);
                }
                first
            }
        };
        match next {
            Some(found) => at = found,
            None => return Nodes::None,
        }
    }
    if at.is_null() {
        Nodes::None
    } else {
        Nodes::One(at)
    }
}

/// The rare list in which several entries carry the same key.
fn every<'a>(entries: &'a [Value], key: &str, value: &str, rest: &[Step]) -> Nodes<'a> {
    Nodes::Many(
        entries
            .iter()
            .filter(|e| e.get(key).and_then(Value::as_str) == Some(value))
            .flat_map(|e| walk(e, rest).iter().collect::<Vec<_>>())
            .collect(),
    )
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Selector(Selector::Name(name)) => Some(Step::Name(unquote(name).into_owned())),
        Segment::Selector(Selector::Index(index)) => usize::try_from(*index).ok().map(Step::Index),
        Segment::Selector(Selector::Filter(Filter::Atom(FilterAtom::Comparison(comparison)))) => {
            let Comparison::Eq(
                Comparable::SingularQuery(SingularQuery::Current(keys)),
                Comparable::Literal(Literal::String(value)),
            ) = comparison.as_ref()
            else {
                return None;
            };
            let [SingularQuerySegment::Name(key)] = keys.as_slice() else {
                return None;
            };
            Some(Step::Where {
                key: unquote(key).into_owned(),
                value: value.clone(),
            })
        }
        _ => None,
    }
}

/// jsonpath-rust keeps the quotes of `['name']` in the name.
fn unquote(name: &str) -> Cow<'_, str> {
    for quote in ['\'', '"'] {
        if let Some(inner) = name.strip_prefix(quote).and_then(|n| n.strip_suffix(quote)) {
            return Cow::Borrowed(inner);
        }
    }
    Cow::Borrowed(name)
}

/// The parser tells where it stopped and which rules of its grammar it tried, which tells nobody anything.
fn reason(written: &str, error: &str) -> String {
    if !written.starts_with('$') {
        return format!("it does not start with `$`, as `$.{written}` would");
    }
    let column = error
        .split_once("--> 1:")
        .and_then(|(_, rest)| rest.lines().next()?.trim().parse::<usize>().ok());
    let Some(column) = column else {
        return error.lines().next_back().unwrap_or_default().to_string();
    };
    let rest: String = written.chars().skip(column.saturating_sub(1)).collect();
    match rest.is_empty() {
        true => "it ends too early".to_string(),
        false => format!("`{rest}` is not understood"),
    }
}
