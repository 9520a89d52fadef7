//! From rules as written to rules as compiled. Collects every mistake.

use super::problem::{Problem, nearest};
use super::rules::{self as written, Placed};
use super::yaml;
use crate::engine::clause::{Accept, Clause, Operand, Operator};
use crate::engine::path::{Path, Scope};
use crate::engine::rule::{
    Case, Condition, Each, Event, Field, Guard, Notice, Occasion, Origin, PhaseRules, Rules,
    Signal, Source, Transition,
};
use crate::engine::text::Text;
use jiff::SignedDuration;
use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// The roots that a path may start from, by what the rule is about. A container
/// adds the fields of its own status to these.
const VERDICT_ROOTS: &[&str] = &[
    "test", "children", "pods", "signals", "worst", "run", "phase", "values",
];
const POD_ROOTS: &[&str] = &["metadata", "spec", "status", "role", "values"];
const CONTAINER_ROOTS: &[&str] = &[
    "pod",
    "container",
    "class",
    "role",
    "values",
    "name",
    "state",
    "lastState",
    "ready",
    "started",
    "restartCount",
    "image",
    "imageID",
    "containerID",
];
const CHILD_NOTICE_ROOTS: &[&str] = &["child", "test"];
const WARNING_NOTICE_ROOTS: &[&str] = &["warning", "test"];

/// Compiles the rule files of a bundle; `children` are the names of its templates.
pub fn compile(
    files: &BTreeMap<String, String>,
    children: &[String],
    values: &Value,
    problems: &mut Vec<Problem>,
) -> Rules {
    let mut rules = Rules::default();
    let mut ids = HashMap::new();
    for (file, source) in files {
        let mut c = Compiler {
            file,
            source,
            children,
            values,
            ids: &mut ids,
            problems,
        };
        match file.rsplit('/').next().unwrap_or(file) {
            "signals.yaml" => rules.signals.extend(c.each(Compiler::signal)),
            "phase.yaml" => {
                if let Some(phase) = c.read() {
                    rules.phase = c.phase(phase);
                }
            }
            "conditions.yaml" => rules.conditions.extend(c.each(Compiler::condition)),
            "status.yaml" => rules.fields.extend(c.each(Compiler::field)),
            "events.yaml" => rules.notices.extend(c.each(Compiler::notice)),
            name => {
                let known = [
                    "signals.yaml",
                    "phase.yaml",
                    "conditions.yaml",
                    "status.yaml",
                    "events.yaml",
                ];
                let mut problem = Problem::new(file, "no rules are read from a file of this name");
                problem.help = Some(match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("rule files are {}", known.join(", ")),
                });
                c.problems.push(problem);
            }
        }
    }
    rules.signals.sort_by_key(|s| std::cmp::Reverse(s.priority));
    rules
}

struct Compiler<'a> {
    file: &'a str,
    source: &'a str,
    children: &'a [String],
    values: &'a Value,
    /// Every rule id so far and where it stands.
    ids: &'a mut HashMap<String, String>,
    problems: &'a mut Vec<Problem>,
}

impl Compiler<'_> {
    fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        match yaml::from_str(self.file, self.source) {
            Ok(read) => Some(read),
            Err(problem) => {
                self.problems.push(*problem);
                None
            }
        }
    }

    fn each<W: DeserializeOwned, C>(&mut self, one: fn(&mut Self, W) -> Option<C>) -> Vec<C> {
        let all: Vec<W> = self.read().unwrap_or_default();
        all.into_iter().filter_map(|w| one(self, w)).collect()
    }

    fn problem<T>(
        &mut self,
        at: &serde_saphyr::Spanned<T>,
        message: impl Into<String>,
    ) -> &mut Problem {
        let location = at.referenced;
        let problem = Problem::new(self.file, message).at(
            self.source,
            location.line() as usize,
            location.column() as usize,
        );
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn origin(&mut self, id: &Placed) -> Origin {
        let line = id.referenced.line() as usize;
        let here = format!("{}:{line}", self.file);
        if let Some(first) = self.ids.insert(id.value.clone(), here) {
            self.problem(id, format!("the rule id `{}` is used twice", id.value))
                .help = Some(format!("the first is at {first}; an id names one rule"));
        }
        Origin {
            id: id.value.clone(),
            file: self.file.to_string(),
            line,
        }
    }

    fn signal(&mut self, w: written::Signal) -> Option<Signal> {
        let roots = match w.on.each {
            Each::Pod | Each::Child => POD_ROOTS,
            Each::Container => CONTAINER_ROOTS,
        };
        for role in w.on.role.iter().flatten() {
            if !self.children.contains(&role.value) {
                let near = nearest(&role.value, self.children.iter().map(String::as_str));
                let help = near.map_or_else(
                    || format!("children are {}", self.children.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.problem(role, format!("no template makes a child `{}`", role.value))
                    .help = Some(help);
            }
        }
        let priority = format!("priority {}", w.priority.value);
        let id = w.id.value.clone();
        if let Some(other) = self.ids.insert(priority.clone(), id) {
            self.problem(
                &w.priority,
                format!("{priority} is already that of `{other}`"),
            )
            .help = Some("priorities decide who wins; give each rule one of its own".into());
        }
        Some(Signal {
            guard: self.guard(&w.id, Some(w.when), w.lasting, w.since, roots)?,
            roles: w
                .on
                .role
                .map(|all| all.into_iter().map(|r| r.value).collect()),
            each: w.on.each,
            classes: w.on.class,
            reason: self.text(&w.reason, roots)?,
            severity: w.severity,
            priority: w.priority.value,
            message: self.text(&w.message, roots)?,
        })
    }

    fn phase(&mut self, w: written::Phase) -> PhaseRules {
        let transitions = w
            .transitions
            .into_iter()
            .filter_map(|t| {
                if let Some(from) = t
                    .from
                    .iter()
                    .find(|f| w.terminal.iter().any(|t| t.value == **f))
                {
                    let message = format!("`{from}` is terminal: a test never leaves it");
                    self.problem(&t.id, message);
                }
                Some(Transition {
                    guard: self.guard(&t.id, Some(t.when), t.lasting, t.since, VERDICT_ROOTS)?,
                    from: t.from,
                    to: t.to,
                    event: flip(t.event.map(|e| self.event(e, VERDICT_ROOTS)))?,
                })
            })
            .collect();
        PhaseRules {
            initial: w.initial,
            terminal: w.terminal.into_iter().map(|t| t.value).collect(),
            transitions,
        }
    }

    fn condition(&mut self, w: written::Condition) -> Option<Condition> {
        let cases = w
            .cases
            .into_iter()
            .filter_map(|case| {
                Some(Case {
                    guard: self.guard(
                        &case.id,
                        case.when,
                        case.lasting,
                        case.since,
                        VERDICT_ROOTS,
                    )?,
                    status: case.status,
                    reason: self.text(&case.reason, VERDICT_ROOTS)?,
                    message: self.text(&case.message, VERDICT_ROOTS)?,
                    event: flip(case.event.map(|e| self.event(e, VERDICT_ROOTS)))?,
                })
            })
            .collect();
        let when = w.when.map(|when| self.clause(&w.kind, when, VERDICT_ROOTS));
        Some(Condition {
            when: flip(when)?,
            kind: w.kind.value,
            kept: w.kept,
            cases,
        })
    }

    fn field(&mut self, w: written::Field) -> Option<Field> {
        let source = match (&w.path, w.now) {
            (Some(path), false) => Source::Path(self.path(path, VERDICT_ROOTS)?),
            (None, true) => Source::Now,
            _ => {
                self.problem(&w.field, "a field takes either `path` or `now: true`");
                return None;
            }
        };
        let when = w
            .when
            .map(|when| self.clause(&w.field, when, VERDICT_ROOTS));
        Some(Field {
            origin: self.origin(&w.field),
            field: w.field.value,
            when: flip(when)?,
            source,
            default: w.default,
            once: w.once,
        })
    }

    fn notice(&mut self, w: written::Notice) -> Option<Notice> {
        let roots = match w.on {
            Occasion::Created | Occasion::Deleted => CHILD_NOTICE_ROOTS,
            Occasion::Warning => WARNING_NOTICE_ROOTS,
        };
        Some(Notice {
            origin: self.origin(&w.id),
            on: w.on,
            event: self.event(w.event, roots)?,
        })
    }

    fn event(&mut self, w: written::Event, roots: &[&str]) -> Option<Event> {
        Some(Event {
            kind: w.kind,
            reason: self.text(&w.reason, roots)?,
            message: self.text(&w.message, roots)?,
        })
    }

    fn guard(
        &mut self,
        id: &Placed,
        when: Option<written::Clause>,
        lasting: Option<Placed>,
        since: Option<Placed>,
        roots: &[&str],
    ) -> Option<Guard> {
        let origin = self.origin(id);
        let when = when.map(|w| self.clause(id, w, roots));
        let lasting = lasting.map(|l| self.duration(&l));
        let since = since.map(|s| self.path(&s, roots));
        Some(Guard {
            origin,
            when: flip(when)?,
            lasting: flip(lasting)?.unwrap_or_default(),
            since: flip(since)?,
        })
    }

    fn clause(&mut self, near: &Placed, w: written::Clause, roots: &[&str]) -> Option<Clause> {
        let forms = [
            w.all.is_some(),
            w.any.is_some(),
            w.not.is_some(),
            w.path.is_some(),
        ];
        if forms.iter().filter(|f| **f).count() != 1 {
            self.problem(
                near,
                format!(
                    "a clause of `{}` needs exactly one of `path`, `all`, `any` and `not`",
                    near.value
                ),
            );
            return None;
        }
        if let Some(all) = w.all {
            return Some(Clause::All(self.clauses(near, all, roots)?));
        }
        if let Some(any) = w.any {
            return Some(Clause::Any(self.clauses(near, any, roots)?));
        }
        if let Some(not) = w.not {
            return Some(Clause::Not(Box::new(self.clause(near, *not, roots)?)));
        }
        let written_path = w.path.as_ref()?;
        let path = self.path(written_path, roots)?;
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
        add(w.within.map(|list| Operator::In {
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
        if let Some(matches) = w.matches {
            match Regex::new(&matches.value) {
                Ok(regex) => operators.push(Operator::Matches(regex)),
                Err(e) => {
                    self.problem(&matches, format!("not a regular expression: {e}"));
                    return None;
                }
            }
        }
        match (operators.pop(), operators.is_empty()) {
            (Some(operator), true) => Some(Clause::Test { path, operator }),
            _ => {
                self.problem(written_path, "a path takes exactly one operator").help = Some(
                    "eq, ne, in, notIn, prefix, matches, exists, absent, gt, gte, lt or lte; join several with `all`".into(),
                );
                None
            }
        }
    }

    fn clauses(
        &mut self,
        near: &Placed,
        all: Vec<written::Clause>,
        roots: &[&str],
    ) -> Option<Vec<Clause>> {
        let compiled: Vec<_> = all
            .into_iter()
            .map(|c| self.clause(near, c, roots))
            .collect();
        compiled.into_iter().collect()
    }

    /// An operand is a literal, or `{path: ...}` for a value found elsewhere.
    fn operand(&mut self, near: &Placed, operand: Value, roots: &[&str]) -> Option<Operand> {
        let path = operand
            .as_object()
            .filter(|o| o.len() == 1)
            .and_then(|o| o.get("path"))
            .and_then(Value::as_str);
        match path {
            None => Some(Operand::Literal(operand)),
            Some(path) => {
                let placed = Placed::new(path.to_string(), near.referenced, near.defined);
                self.path(&placed, roots).map(Operand::Path)
            }
        }
    }

    fn path(&mut self, written: &Placed, roots: &[&str]) -> Option<Path> {
        match Path::compile(&written.value) {
            Ok(path) => self.known_root(written, &path, roots).then_some(path),
            Err(message) => {
                self.problem(written, message);
                None
            }
        }
    }

    fn known_root(&mut self, at: &Placed, path: &Path, roots: &[&str]) -> bool {
        if roots.contains(&path.root()) {
            return true;
        }
        let help = match nearest(path.root(), roots.iter().copied()) {
            Some(near) => format!("did you mean `$.{near}`?"),
            None => format!("here a path starts with one of {}", roots.join(", ")),
        };
        self.problem(
            at,
            format!(
                "`{}` starts from an unknown `{}`",
                path.as_str(),
                path.root()
            ),
        )
        .help = Some(help);
        false
    }

    fn text(&mut self, written: &Placed, roots: &[&str]) -> Option<Text> {
        match Text::compile(&written.value) {
            Ok(text) => {
                let mut known = true;
                for path in text.paths() {
                    known &= self.known_root(written, path, roots);
                }
                known.then_some(text)
            }
            Err((_, message)) => {
                self.problem(written, message);
                None
            }
        }
    }

    /// `2m`, or the path of a value that holds such a duration.
    fn duration(&mut self, written: &Placed) -> Option<SignedDuration> {
        let text = if written.value.starts_with('$') {
            let path = self.path(written, &["values"])?;
            match path.first(&Values(self.values)) {
                Some(Value::String(text)) => text.clone(),
                _ => {
                    self.problem(
                        written,
                        format!("the values have no duration at `{}`", written.value),
                    );
                    return None;
                }
            }
        } else {
            written.value.clone()
        };
        match text.parse::<SignedDuration>() {
            Ok(duration) if !duration.is_negative() => Some(duration),
            _ => {
                self.problem(written, format!("`{text}` is not a duration"))
                    .help =
                    Some("write hours, minutes and seconds, such as `90s`, `2m` or `1h30m`".into());
                None
            }
        }
    }
}

/// Turns "written, but wrong" into `None` and "not written" into `Some(None)`.
fn flip<T>(compiled: Option<Option<T>>) -> Option<Option<T>> {
    match compiled {
        None => Some(None),
        Some(compiled) => compiled.map(Some),
    }
}

struct Values<'a>(&'a Value);

impl Scope for Values<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        (name == "values").then_some(self.0)
    }
}
