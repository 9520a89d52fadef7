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

    /// The same for a path that goes on with the name `next`: of a root that is made when it is asked for, the rest may
    /// be left out.
    fn root_with(&self, name: &str, _next: Option<&str>) -> Option<&Value> {
        self.root(name)
    }

    /// The credentials that no text shows, whatever it quotes.
    fn secrets(&self) -> Option<&Secrets> {
        None
    }
}

/// A compiled path.
#[derive(Debug, Clone)]
pub struct Path {
    written: Box<str>,
    root: Box<str>,
    rest: Rest,
    parts: Vec<Part>,
    is_complete: bool,
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
    /// Every entry of a list whose `key` is one of some strings.
    Where {
        key: String,
        values: Vec<String>,
    },
}

/// One step of a path as it is written, for whoever checks what a path names.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Name(String),
    /// Some entries of a list, or of a map too when it is `[*]`; those whose fields compare with literals as it says.
    Entries(Vec<Compared>),
    /// Anything may be selected from here on.
    Anything,
}

/// A field of an entry, which a filter compares with a literal.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub field: String,
    pub with: Value,
    /// `==`, and not `!=`, `<` or the like.
    pub equal: bool,
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
        let parts = parts(&segments);
        let is_complete = segments.iter().all(is_told);
        let steps = segments.iter().map(step).collect::<Option<Vec<_>>>();
        let rest = match steps {
            Some(steps) => Rest::Steps(steps),
            None => Rest::Query(JpQuery::new(segments)),
        };
        Ok(Path {
            written: written.into(),
            root: root.into(),
            rest,
            parts,
            is_complete,
        })
    }

    pub fn root(&self) -> &str {
        &self.root
    }

    /// The plain names after the root, up to the first step that is none.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map_while(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The steps after the root.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The steps after the root, when they say all that the path reads: what a filter looks up by another path, or
    /// what stands anywhere, they do not say.
    pub fn complete_parts(&self) -> Option<&[Part]> {
        self.is_complete.then_some(self.parts.as_slice())
    }

    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// All values that the path selects. `null` counts as missing: the API
    /// server does not tell the two apart either.
    pub fn select<'a>(&self, scope: &'a dyn Scope) -> Result<Nodes<'a>, String> {
        let Some(root) = scope.root_with(&self.root, self.names().next()) else {
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
            Step::Where { key, values } => {
                let Value::Array(entries) = at else {
                    return Nodes::None;
                };
                let mut found = entries.iter().filter(|e| is_one_of(e, key, values));
                let first = found.next();
                if found.next().is_some() {
                    return every(entries, key, values, &steps[n + 1..]);
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

fn is_one_of(entry: &Value, key: &str, values: &[String]) -> bool {
    let found = entry.get(key).and_then(Value::as_str);
    found.is_some_and(|found| values.iter().any(|value| value == found))
}

/// The rare list in which several entries fit.
fn every<'a>(entries: &'a [Value], key: &str, values: &[String], rest: &[Step]) -> Nodes<'a> {
    Nodes::Many(
        entries
            .iter()
            .filter(|e| is_one_of(e, key, values))
            .flat_map(|e| walk(e, rest).iter().collect::<Vec<_>>())
            .collect(),
    )
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Selector(Selector::Name(name)) => Some(Step::Name(unquote(name).into_owned())),
        Segment::Selector(Selector::Index(index)) => usize::try_from(*index).ok().map(Step::Index),
        Segment::Selector(Selector::Filter(filter)) => {
            let (key, values) = one_of(filter)?;
            Some(Step::Where { key, values })
        }
        _ => None,
    }
}

/// A filter that asks whether one field is one of some strings: `@.id == 'a' || @.id == 'b'`.
fn one_of(filter: &Filter) -> Option<(String, Vec<String>)> {
    match filter {
        Filter::Atom(FilterAtom::Comparison(comparison)) => match compared(comparison)? {
            Compared {
                field,
                with: Value::String(value),
                equal: true,
            } => Some((field, vec![value])),
            _ => None,
        },
        Filter::Or(filters) => {
            let mut all = filters.iter().map(one_of);
            let (key, mut values) = all.next()??;
            for other in all {
                let (other, more) = other?;
                if other != key {
                    return None;
                }
                values.extend(more);
            }
            Some((key, values))
        }
        _ => None,
    }
}

/// The comparison of a field of the entry itself with a literal.
fn compared(comparison: &Comparison) -> Option<Compared> {
    let (left, right) = comparison.vals();
    let (Comparable::SingularQuery(SingularQuery::Current(keys)), Comparable::Literal(literal)) =
        (left, right)
    else {
        return None;
    };
    let [SingularQuerySegment::Name(field)] = keys.as_slice() else {
        return None;
    };
    Some(Compared {
        field: unquote(field).into_owned(),
        with: match literal {
            Literal::String(text) => text.as_str().into(),
            Literal::Int(number) => (*number).into(),
            Literal::Float(number) => (*number).into(),
            Literal::Bool(value) => (*value).into(),
            Literal::Null => Value::Null,
        },
        equal: matches!(comparison, Comparison::Eq(..)),
    })
}

fn parts(segments: &[Segment]) -> Vec<Part> {
    let part = |segment: &Segment| match segment {
        Segment::Selector(Selector::Name(name)) => Part::Name(unquote(name).into_owned()),
        Segment::Selector(Selector::Filter(filter)) => {
            let mut all = Vec::new();
            comparisons(filter, &mut all);
            Part::Entries(all)
        }
        Segment::Selector(_) => Part::Entries(Vec::new()),
        Segment::Selectors(_) | Segment::Descendant(_) => Part::Anything,
    };
    segments.iter().map(part).collect()
}

/// Whether a [`Part`] says all that a segment reads.
fn is_told(segment: &Segment) -> bool {
    match segment {
        Segment::Selector(Selector::Filter(filter)) => is_compared(filter),
        Segment::Selector(_) => true,
        Segment::Selectors(_) | Segment::Descendant(_) => false,
    }
}

fn is_compared(filter: &Filter) -> bool {
    match filter {
        Filter::Or(filters) | Filter::And(filters) => filters.iter().all(is_compared),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => is_compared(expr),
        Filter::Atom(FilterAtom::Comparison(comparison)) => compared(comparison).is_some(),
        Filter::Atom(FilterAtom::Test { .. }) => false,
    }
}

fn comparisons(filter: &Filter, all: &mut Vec<Compared>) {
    match filter {
        Filter::Or(filters) | Filter::And(filters) => {
            filters.iter().for_each(|filter| comparisons(filter, all));
        }
        Filter::Atom(FilterAtom::Filter { expr, .. }) => comparisons(expr, all),
        Filter::Atom(FilterAtom::Comparison(comparison)) => all.extend(compared(comparison)),
        Filter::Atom(FilterAtom::Test { .. }) => {}
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
