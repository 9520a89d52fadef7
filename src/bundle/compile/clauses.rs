//! What rules are made of, compiled: clauses, paths, texts and durations.

use super::{Compiler, Roots, VALUE_ROOTS};
use crate::bundle::durations;
use crate::bundle::problem::nearest;
use crate::bundle::rules as written;
use crate::bundle::tree::At;
use crate::bundle::typed::Placed;
use crate::engine::clause::{Accept, Clause, Operand, Operator};
use crate::engine::path::{Path, Scope};
use crate::engine::pattern::Pattern;
use crate::engine::text::Text;
use jiff::SignedDuration;
use serde_json::Value;

/// A duration as rules write it.
pub(super) enum Lasting {
    For(SignedDuration),
    Never,
}

impl Compiler<'_> {
    pub(super) fn clause(
        &mut self,
        written: Placed<written::Clause>,
        roots: Roots,
    ) -> Option<Clause> {
        let at = written.at;
        let w = written.value;
        let forms = [
            w.all.is_some(),
            w.any.is_some(),
            w.not.is_some(),
            w.path.is_some(),
        ];
        if forms.iter().filter(|f| **f).count() != 1 {
            self.problem(
                at,
                "a clause has exactly one of `path`, `all`, `any` and `not`",
            )
            .help = Some(
                "write `path` with one operator, or join such clauses with `all`, `any` or `not`"
                    .into(),
            );
            return None;
        }
        if let Some(all) = w.all {
            return Some(Clause::All(self.clauses(all, roots)?));
        }
        if let Some(any) = w.any {
            return Some(Clause::Any(self.clauses(any, roots)?));
        }
        if let Some(not) = w.not {
            return Some(Clause::Not(Box::new(self.clause(*not, roots)?)));
        }
        let written_path = w.path.as_ref()?;
        let path = self.path(written_path, roots)?;
        self.literals(&w, written_path, &path, roots)?;
        let mut operators = Vec::new();
        let mut add = |operator: Option<Operator>| operators.extend(operator);
        add(w.exists.map(|e| {
            if e {
                Operator::Exists
            } else {
                Operator::Absent
            }
        }));
        add(w.absent.map(|a| {
            if a {
                Operator::Absent
            } else {
                Operator::Exists
            }
        }));
        add(w.one_of.map(|list| Operator::In {
            list,
            negated: false,
        }));
        add(w.not_in.map(|list| Operator::In {
            list,
            negated: true,
        }));
        for (operand, negated) in [(w.eq, false), (w.ne, true)] {
            if let Some(operand) = operand {
                let operand = self.operand(written_path, operand, roots)?;
                operators.push(Operator::Equal { operand, negated });
            }
        }
        let orders = [
            (w.gt, Accept::Greater),
            (w.gte, Accept::GreaterOrEqual),
            (w.lt, Accept::Less),
            (w.lte, Accept::LessOrEqual),
        ];
        for (operand, accept) in orders {
            if let Some(operand) = operand {
                let operand = self.operand(written_path, operand, roots)?;
                operators.push(Operator::Order { operand, accept });
            }
        }
        if let Some(prefix) = w.prefix {
            operators.push(Operator::Prefix(self.operand(
                written_path,
                prefix,
                roots,
            )?));
        }
        if let Some(within) = w.within {
            let Some(of) = w.of else {
                self.problem(within.at, "`within` says how long, but not after what")
                    .help = Some("add `of: $.path.of.the.earlier.time`".into());
                return None;
            };
            let of = self.path(&of, roots)?;
            match self.duration(&within)? {
                Lasting::For(at_most) => operators.push(Operator::Within { of, at_most }),
                // Nothing is within never.
                Lasting::Never => return Some(Clause::Any(Vec::new())),
            }
        }
        if let Some(matches) = w.matches {
            operators.push(Operator::Matches(self.regex(&matches)?));
        }
        match (operators.pop(), operators.is_empty()) {
            (Some(operator), true) => Some(Clause::Test { path, operator }),
            (operator, _) => {
                let message = match operator {
                    Some(_) => "a clause takes one operator, and this one has several",
                    None => "a clause takes one operator, and this one has none",
                };
                self.problem(written_path.at, message).help = Some(
                    "operators are eq, ne, in, notIn, prefix, matches, exists, absent, gt, gte, lt, lte and within; join clauses with `all`".into(),
                );
                None
            }
        }
    }

    /// Whether the literals of a clause are of the type that its path leads to, and names that there are.
    fn literals(
        &mut self,
        w: &written::Clause,
        written: &Placed,
        path: &Path,
        roots: Roots,
    ) -> Option<()> {
        let mut fine = true;
        let lists = [&w.one_of, &w.not_in].into_iter().flatten().flatten();
        for literal in [&w.eq, &w.ne].into_iter().flatten().chain(lists) {
            let at = self.place_of(written, literal);
            fine &= is_operand_path(literal) || self.may_have(at, path, roots, literal);
        }
        for literal in [&w.gt, &w.gte, &w.lt, &w.lte].into_iter().flatten() {
            let at = self.place_of(written, literal);
            fine &= is_operand_path(literal) || self.is_like(at, path, roots, literal);
        }
        if w.prefix.is_some() || w.matches.is_some() || w.within.is_some() {
            fine &= self.may_be_text(written.at, path, roots);
        }
        fine.then_some(())
    }

    /// Literals are any JSON, so they do not remember where they stand: behind their path, mostly.
    fn place_of(&self, written: &Placed, literal: &Value) -> At {
        let text = literal
            .as_str()
            .map_or_else(|| literal.to_string(), Into::into);
        self.sources.find(written.at, written.value.len(), &text)
    }

    fn clauses(&mut self, all: Vec<Placed<written::Clause>>, roots: Roots) -> Option<Vec<Clause>> {
        let compiled: Vec<_> = all.into_iter().map(|c| self.clause(c, roots)).collect();
        compiled.into_iter().collect()
    }

    /// An operand is a literal, or `{path: ...}` for a value found elsewhere.
    pub(super) fn operand(
        &mut self,
        near: &Placed,
        operand: Value,
        roots: Roots,
    ) -> Option<Operand> {
        let path = operand_path(&operand);
        match path {
            None => Some(Operand::Literal(operand)),
            Some(path) => {
                // Literals are any JSON, so operands do not remember where they stand.
                let at = self.sources.find(near.at, near.value.len(), path);
                self.path_at(path, at, roots).map(Operand::Path)
            }
        }
    }

    pub(super) fn path(&mut self, written: &Placed, roots: Roots) -> Option<Path> {
        self.path_at(&written.value, written.at, roots)
    }

    fn path_at(&mut self, written: &str, at: At, roots: Roots) -> Option<Path> {
        match Path::compile(written) {
            Ok(path) => self.known_root(at, &path, roots).then_some(path),
            Err(message) => {
                self.bad_path(at, message);
                None
            }
        }
    }

    fn bad_path(&mut self, at: At, message: String) {
        self.problem(at, message).help = Some(
            "a path is names and filters, such as `$.status.phase` or `$.status.conditions[?@.type == 'Ready'].status`".into(),
        );
    }

    fn known_root(&mut self, at: At, path: &Path, roots: Roots) -> bool {
        if roots.names.contains(&path.root()) {
            return self.known_names(at, path) && self.known_fields(at, path, roots);
        }
        let help = match nearest(path.root(), roots.names.iter().copied()) {
            Some(near) => format!("did you mean `$.{near}`?"),
            None => format!("here a path starts with $.{}", roots.names.join(", $.")),
        };
        let message = format!(
            "`{}` starts from an unknown `{}`",
            path.as_str(),
            path.root()
        );
        self.problem(at, message).help = Some(help);
        false
    }

    /// Whether the names after the root are known, where it is known which there are.
    fn known_names(&mut self, at: At, path: &Path) -> bool {
        let mut names = path.names();
        match path.root() {
            "values" => return self.known_value(at, path),
            "cases" => return self.known_condition(at, path),
            "children" | "evidence" => {}
            "run" if names.next() == Some("started") => {}
            _ => return true,
        }
        let Some(stem) = names.next() else {
            return true;
        };
        let known = self.known;
        if known.children.contains(&stem) || known.others.contains(&stem) {
            return true;
        }
        self.unknown_name(at, path, stem, &known.children);
        false
    }

    fn known_condition(&mut self, at: At, path: &Path) -> bool {
        match path.names().next() {
            Some(kind) => self.has_cases(at, path, kind),
            None => true,
        }
    }

    fn known_value(&mut self, at: At, path: &Path) -> bool {
        let Some(values) = self.known.values else {
            return true;
        };
        let mut value = &values.value;
        for name in path.names() {
            let Some(map) = value.as_object() else {
                return true;
            };
            let Some(below) = map.get(name) else {
                let known: Vec<&str> = map.keys().map(String::as_str).collect();
                let message = format!("the values have nothing at `{}`", path.as_str());
                self.problem(at, message).help = Some(match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add it to values.yaml; values of your own go below `extra`".into(),
                });
                return false;
            };
            value = below;
        }
        true
    }

    pub(super) fn unknown_name(&mut self, at: At, path: &Path, name: &str, known: &[&str]) {
        let message = format!("`{}`: there is no `{name}`", path.as_str());
        self.problem(at, message).help = Some(match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        });
    }

    pub(super) fn text(&mut self, written: &Placed, roots: Roots) -> Option<Text> {
        match Text::compile(&written.value) {
            Ok(text) => {
                let mut known = true;
                for path in text.paths() {
                    let at =
                        self.sources
                            .find(written.at, 0, path.as_str().trim_start_matches("$."));
                    known &= self.known_root(at, path, roots);
                }
                known.then_some(text)
            }
            Err((offset, message)) => {
                let rest = written.value.get(offset..).unwrap_or_default();
                let at = self
                    .sources
                    .find(written.at, 0, rest.lines().next().unwrap_or_default());
                if rest.contains("}}") {
                    self.bad_path(at, message);
                } else {
                    self.problem(at, message).help = Some("close it with `}}`".into());
                }
                None
            }
        }
    }

    pub(super) fn regex(&mut self, written: &Placed) -> Option<Pattern> {
        match Pattern::new(&written.value) {
            Ok(pattern) => Some(pattern),
            Err(e) => {
                // The last line says what is wrong, the others show where.
                let text = e.to_string();
                let reason = text.lines().next_back().unwrap_or_default();
                let reason = reason.trim_start_matches("error: ");
                let message = format!("`{}` is not a regular expression: {reason}", written.value);
                self.problem(written.at, message).help = Some(
                    "the syntax is that of Rust's regex: no look-around, no back-references".into(),
                );
                None
            }
        }
    }

    /// `2m`, or the path of a value that holds such a duration; `never` switches its rule off.
    pub(super) fn duration(&mut self, written: &Placed) -> Option<Lasting> {
        let mut subject = format!("`{}`", written.value);
        let text = if written.value.starts_with('$') {
            let path = self.path(written, VALUE_ROOTS)?;
            // Values that could not be read were reported already.
            let values = &self.known.values?.value;
            let text = match path.first(&OfValues(values)) {
                Some(Value::String(text)) => text.clone(),
                // As fields of Kubernetes say it: seconds, or nothing at all.
                Some(Value::Number(seconds)) => format!("{seconds}s"),
                None if is_null(values, &written.value) => "never".to_string(),
                Some(other) => other.to_string(),
                None => {
                    let message = format!("the values have nothing at {subject}");
                    self.problem(written.at, message).help =
                        Some("add it to values.yaml, or write a duration, such as `2m`".into());
                    return None;
                }
            };
            subject = format!("the value at {subject}, `{text}`,");
            text
        } else {
            written.value.clone()
        };
        if text == "never" {
            return Some(Lasting::Never);
        }
        match durations::parse(&text) {
            Some(duration) if duration.subsec_nanos() != 0 => {
                self.problem(written.at, format!("{subject} is not in whole seconds"))
                    .help = Some("the API server dates to the second; write `1s`, or `0s`".into());
                None
            }
            Some(duration) if !duration.is_negative() => Some(Lasting::For(duration)),
            _ => {
                self.problem(written.at, format!("{subject} is not a duration"))
                    .help = Some(format!("{}, or `never`", durations::HELP));
                None
            }
        }
    }
}

/// The path of an operand that is none itself.
fn operand_path(operand: &Value) -> Option<&str> {
    let fields = operand.as_object().filter(|o| o.len() == 1)?;
    fields.get("path")?.as_str()
}

fn is_operand_path(operand: &Value) -> bool {
    operand_path(operand).is_some()
}

/// Whether the values have the field and it is null, which a path takes for missing.
fn is_null(values: &Value, path: &str) -> bool {
    let pointer = path.trim_start_matches("$.values").replace('.', "/");
    values.pointer(&pointer).is_some_and(Value::is_null)
}

struct OfValues<'a>(&'a Value);

impl Scope for OfValues<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        (name == "values").then_some(self.0)
    }
}
