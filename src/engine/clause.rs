//! What a rule asks: clauses over paths, in three-valued logic. A missing field
//! is unknown, not false, so a rule never fires for want of data.

use super::path::{Nodes, Path, Scope};
use super::pattern::Pattern;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::cmp::Ordering;

/// A compiled condition of a rule.
#[derive(Debug, Clone)]
pub enum Clause {
    All(Vec<Clause>),
    Any(Vec<Clause>),
    Not(Box<Clause>),
    Test { path: Path, operator: Operator },
}

#[derive(Debug, Clone)]
pub enum Operator {
    Exists,
    Absent,
    In {
        list: Vec<Value>,
        negated: bool,
    },
    Equal {
        operand: Operand,
        negated: bool,
    },
    Order {
        operand: Operand,
        accept: Accept,
    },
    Prefix(Operand),
    Matches(Pattern),
    /// A time at most so long after another.
    Within {
        of: Path,
        at_most: SignedDuration,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum Accept {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, Clone)]
pub enum Operand {
    Literal(Value),
    Path(Path),
}

/// `Ok(None)` is unknown; an error says which path had the wrong type.
pub type Truth = Result<Option<bool>, String>;

impl Clause {
    pub fn holds(&self, scope: &dyn Scope) -> Truth {
        match self {
            Clause::All(clauses) => fold(clauses, scope, false),
            Clause::Any(clauses) => fold(clauses, scope, true),
            Clause::Not(clause) => Ok(clause.holds(scope)?.map(|b| !b)),
            Clause::Test { path, operator } => operator.holds(path, scope),
        }
    }

    /// Every path that the clause reads.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Clause::All(all) | Clause::Any(all) => all.iter().flat_map(Clause::paths).collect(),
            Clause::Not(clause) => clause.paths(),
            Clause::Test { path, operator } => {
                let mut paths = vec![path];
                if let Operator::Equal { operand, .. }
                | Operator::Order { operand, .. }
                | Operator::Prefix(operand) = operator
                    && let Operand::Path(path) = operand
                {
                    paths.push(path);
                }
                if let Operator::Within { of, .. } = operator {
                    paths.push(of);
                }
                paths
            }
        }
    }
}

/// Kleene's `and` (decided by a false) and `or` (decided by a true). An error
/// decides only when nothing else does.
fn fold(clauses: &[Clause], scope: &dyn Scope, decisive: bool) -> Truth {
    let mut result = Ok(Some(!decisive));
    for clause in clauses {
        match clause.holds(scope) {
            Ok(Some(b)) if b == decisive => return Ok(Some(decisive)),
            Ok(Some(_)) => {}
            Ok(None) => {
                if result.is_ok() {
                    result = Ok(None);
                }
            }
            Err(e) => result = Err(e),
        }
    }
    result
}

impl Operator {
    fn holds(&self, path: &Path, scope: &dyn Scope) -> Truth {
        let nodes = path.select(scope)?;
        match self {
            Operator::Exists => return Ok(Some(!nodes.is_empty())),
            Operator::Absent => return Ok(Some(nodes.is_empty())),
            _ if nodes.is_empty() => return Ok(None),
            _ => {}
        }
        any(&nodes, |value| self.accepts(path, value, scope))
    }

    fn accepts(&self, path: &Path, value: &Value, scope: &dyn Scope) -> Truth {
        match self {
            Operator::Exists | Operator::Absent => Ok(None),
            Operator::In { list, negated } => Ok(Some(list.contains(value) != *negated)),
            Operator::Equal { operand, negated } => {
                operand.compare(scope, |o| Ok(Some((value == o) != *negated)))
            }
            Operator::Order { operand, accept } => {
                operand.compare(scope, |o| match order(value, o) {
                    Some(ordering) => Ok(Some(accept.holds(ordering))),
                    None => Err(format!(
                        "`{}` is {}, which has no order against {}",
                        path.as_str(),
                        kind(value),
                        kind(o)
                    )),
                })
            }
            Operator::Prefix(operand) => {
                let text = text(path, value)?;
                operand.compare(scope, |o| match o.as_str() {
                    Some(prefix) => Ok(Some(text.starts_with(prefix))),
                    None => Err(format!("the prefix is {}, not a string", kind(o))),
                })
            }
            Operator::Within { of, at_most } => {
                let nodes = of.select(scope)?;
                let Some(earlier) = nodes.iter().next() else {
                    return Ok(None);
                };
                let took = time(path, value)?.duration_since(time(of, earlier)?);
                Ok(Some(took <= *at_most))
            }
            Operator::Matches(regex) => Ok(Some(regex.is_match(text(path, value)?))),
        }
    }
}

impl Operand {
    fn compare(&self, scope: &dyn Scope, with: impl Fn(&Value) -> Truth) -> Truth {
        match self {
            Operand::Literal(value) => with(value),
            Operand::Path(path) => {
                let nodes = path.select(scope)?;
                if nodes.is_empty() {
                    return Ok(None);
                }
                any(&nodes, with)
            }
        }
    }
}

impl Accept {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Accept::Greater => ordering.is_gt(),
            Accept::GreaterOrEqual => ordering.is_ge(),
            Accept::Less => ordering.is_lt(),
            Accept::LessOrEqual => ordering.is_le(),
        }
    }
}

/// A path that selects several values holds when it holds for one of them.
fn any(nodes: &Nodes<'_>, accepts: impl Fn(&Value) -> Truth) -> Truth {
    let mut result = Ok(Some(false));
    for value in nodes.iter() {
        match accepts(value) {
            Ok(Some(true)) => return Ok(Some(true)),
            Ok(Some(false)) => {}
            other => result = other,
        }
    }
    result
}

/// Numbers by value, strings (RFC 3339 times in UTC among them) by their bytes.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn time(path: &Path, value: &Value) -> Result<Timestamp, String> {
    let time = text(path, value)?.parse();
    time.map_err(|_| format!("`{}` is no time (RFC 3339)", path.as_str()))
}

fn text<'a>(path: &Path, value: &'a Value) -> Result<&'a str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("`{}` is {}, expected a string", path.as_str(), kind(value)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
