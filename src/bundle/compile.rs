//! From rules as written to rules as compiled. Collects every mistake.

use super::problem::{Problem, nearest};
use super::rules::{self as written, Placed};
use super::yaml;
use crate::engine::clause::{Accept, Clause, Operand, Operator};
use crate::engine::path::{Path, Scope};
use crate::engine::rule::{
    Act, Action, Case, Condition, Each, Event, Field, Guard, Notice, Occasion, Origin, PhaseRules,
    Rules, Signal, Source, Target, Transition,
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
    "test", "children", "pods", "signals", "worst", "evidence", "run", "phase", "values",
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
            "actions.yaml" => rules.actions.extend(c.each(Compiler::action)),
            name => {
                let known = [
                    "signals.yaml",
                    "phase.yaml",
                    "conditions.yaml",
                    "status.yaml",
                    "events.yaml",
                    "actions.yaml",
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

/// Instead of a path in `since`.
const SEEN: &str = "seen";

/// Instead of a duration.
const NEVER: &str = "never";

enum Lasting {
    For(SignedDuration),
    Never,
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
        self.known_children(w.on.role.iter().flatten());
        let priority = format!("priority {}", w.priority.value);
        let id = w.id.value.clone();
        if let Some(other) = self.ids.insert(priority.clone(), id) {
            self.problem(
                &w.priority,
                format!("{priority} is already that of `{other}`"),
            )
            .help = Some("priorities decide who wins; give each rule one of its own".into());
        }
        let dated_when_seen = w.since.as_ref().is_some_and(|s| s.value == SEEN);
        let since = w.since.filter(|_| !dated_when_seen);
        let names = w.names.map(|names| self.regex(&names));
        Some(Signal {
            guard: self.guard(&w.id, Some(w.when), w.lasting, since, roots)?,
            dated_when_seen,
            events: w.events.unwrap_or_default(),
            names: flip(names)?,
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

    fn known_children<'w>(&mut self, named: impl Iterator<Item = &'w Placed>) {
        for child in named {
            if self.children.contains(&child.value) {
                continue;
            }
            let near = nearest(&child.value, self.children.iter().map(String::as_str));
            let help = near.map_or_else(
                || format!("children are {}", self.children.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.problem(
                child,
                format!("no template makes a child `{}`", child.value),
            )
            .help = Some(help);
        }
    }

    fn action(&mut self, w: written::Action) -> Option<Action> {
        let on = match (w.on.children, w.on.test) {
            (Some(children), false) => {
                self.known_children(children.iter());
                Target::Children(children.into_iter().map(|c| c.value).collect())
            }
            (None, true) => Target::Test,
            _ => {
                self.problem(&w.id, "an action is on either `children` or `test: true`");
                return None;
            }
        };
        let act = match (w.patch, w.delete) {
            (Some(patch), false) => Act::Patch(patch),
            (None, true) => Act::Delete,
            _ => {
                self.problem(&w.id, "an action takes either `patch` or `delete: true`");
                return None;
            }
        };
        let guard = self.guard(&w.id, Some(w.when), w.lasting, w.since, VERDICT_ROOTS)?;
        Some(Action { guard, on, act })
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
        if let (Some(lasting), None, VERDICT_ROOTS) = (&lasting, &since, roots) {
            self.problem(lasting, "`for` says how long, but not from when on")
                .help = Some("add `since: $.path.of.a.time`".into());
            return None;
        }
        let lasting = lasting.map(|l| self.duration(&l));
        let since = since.map(|s| self.path(&s, roots));
        let lasting = match flip(lasting)? {
            Some(Lasting::Never) => return None,
            Some(Lasting::For(duration)) => duration,
            None => SignedDuration::ZERO,
        };
        Some(Guard {
            origin,
            when: flip(when)?,
            lasting,
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
                self.problem(&within, "`within` takes `of`, the path of the earlier time");
                return None;
            };
            let of = self.path(&of, roots)?;
            match self.duration(&within)? {
                Lasting::For(at_most) => operators.push(Operator::Within { of, at_most }),
                Lasting::Never => return Some(Clause::Any(Vec::new())),
            }
        }
        if let Some(matches) = w.matches {
            operators.push(Operator::Matches(self.regex(&matches)?));
        }
        match (operators.pop(), operators.is_empty()) {
            (Some(operator), true) => Some(Clause::Test { path, operator }),
            _ => {
                self.problem(written_path, "a path takes exactly one operator").help = Some(
                    "eq, ne, in, notIn, prefix, matches, exists, absent, gt, gte, lt, lte or within; join several with `all`".into(),
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

    fn regex(&mut self, written: &Placed) -> Option<Regex> {
        match Regex::new(&written.value) {
            Ok(regex) => Some(regex),
            Err(e) => {
                self.problem(written, format!("not a regular expression: {e}"));
                None
            }
        }
    }

    /// `2m`, or the path of a value that holds such a duration; `never` switches its rule off.
    fn duration(&mut self, written: &Placed) -> Option<Lasting> {
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
        if text == NEVER {
            return Some(Lasting::Never);
        }
        match text.parse::<SignedDuration>() {
            Ok(duration) if !duration.is_negative() => Some(Lasting::For(duration)),
            _ => {
                self.problem(written, format!("`{text}` is not a duration"))
                    .help = Some(
                    "write hours, minutes and seconds, such as `90s`, `2m` or `1h30m`, or `never`"
                        .into(),
                );
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
