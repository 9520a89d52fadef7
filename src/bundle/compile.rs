//! From rules as written to rules as compiled. Collects every mistake.

mod clauses;

use super::problem::{Place, Problem, nearest};
use super::rules::{self as written, Placed};
use super::yaml;
use crate::engine::rule::{
    Act, Action, Case, Condition, Each, Event, Field, Guard, Names, Notice, Occasion, Origin,
    PhaseRules, Rules, Signal, Source, Target, Transition,
};
use clauses::Lasting;
use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Spanned;
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

const RULE_FILES: &[&str] = &[
    "signals",
    "phase",
    "conditions",
    "status",
    "events",
    "actions",
];

/// Compiles the rule files of a bundle; `children` are the names of its templates.
/// There are no `values` when those could not be read.
pub fn compile(
    files: &BTreeMap<String, String>,
    children: &[String],
    values: Option<&Value>,
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
                let stem = name.trim_end_matches(".yaml");
                let help = match nearest(stem, RULE_FILES.iter().copied()) {
                    Some(near) => format!("did you mean `rules/{near}.yaml`?"),
                    None => format!("rule files are {}, each .yaml", RULE_FILES.join(", ")),
                };
                let problem = Problem::new(file, "no rules are read from a file of this name");
                c.problems.push(problem.help(help));
            }
        }
    }
    rules.signals.sort_by_key(|s| std::cmp::Reverse(s.priority));
    rules
}

/// Instead of a path in `since`.
const SEEN: &str = "seen";

struct Compiler<'a> {
    file: &'a str,
    source: &'a str,
    children: &'a [String],
    values: Option<&'a Value>,
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

    fn problem(&mut self, at: impl Into<Place>, message: impl Into<String>) -> &mut Problem {
        let Place { line, column } = at.into();
        let problem = Problem::new(self.file, message).at(self.source, line, column);
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
        let not_before = w.not_before.map(|path| self.path(&path, roots));
        let names = w.names.into_iter().flatten().map(|n| {
            let (message, fields) = (self.regex(&n.message), self.regex(&n.fields));
            let (message, fields) = (message?, fields?);
            Some(Names { message, fields })
        });
        let names: Option<Vec<Names>> = names.collect();
        Some(Signal {
            guard: self.guard(&w.id, Some(w.when), w.lasting, since, roots)?,
            dated_when_seen,
            not_before: flip(not_before)?,
            events: w.events.unwrap_or_default(),
            names: names?,
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
            (Some(patch), false) if is_about_spec(&patch) => Act::Patch(patch),
            (Some(_), false) => {
                self.problem(&w.id, "a patch changes the `spec`, and not its `template`")
                    .help = Some("write `patch: {spec: {suspend: true}}`, for example; what a child is made with stands in templates/".into());
                return None;
            }
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
                for from in &t.from {
                    if w.terminal.iter().any(|t| t.value == from.value) {
                        let message =
                            format!("`{}` is terminal: a test never leaves it", from.value);
                        self.problem(from, message).help =
                            Some("remove it here, or from `terminal`".into());
                    }
                }
                Some(Transition {
                    guard: self.guard(&t.id, Some(t.when), t.lasting, t.since, VERDICT_ROOTS)?,
                    from: t.from.into_iter().map(|from| from.value).collect(),
                    to: t.to,
                    event: flip(t.event.map(|e| self.event(e, VERDICT_ROOTS)))?,
                })
            })
            .collect();
        let done = w.done.and_then(|done| self.clause(done, POD_ROOTS));
        PhaseRules {
            done,
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
        let when = w.when.map(|when| self.clause(when, VERDICT_ROOTS));
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
                self.problem(&w.field, "a field takes either `path` or `now: true`")
                    .help = Some("`path` says where the value is, `now` is the time".into());
                return None;
            }
        };
        let when = w.when.map(|when| self.clause(when, VERDICT_ROOTS));
        let default = w.default.map(|d| self.operand(&w.field, d, VERDICT_ROOTS));
        Some(Field {
            origin: self.origin(&w.field),
            field: w.field.value,
            when: flip(when)?,
            source,
            default: flip(default)?,
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
        when: Option<Spanned<written::Clause>>,
        lasting: Option<Placed>,
        since: Option<Placed>,
        roots: &[&str],
    ) -> Option<Guard> {
        let origin = self.origin(id);
        let when = when.map(|w| self.clause(w, roots));
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
}

/// Rules know nothing else of a child than its spec without the template: they could not tell that more is done.
fn is_about_spec(patch: &Value) -> bool {
    let Some(keys) = patch.as_object() else {
        return false;
    };
    let spec = keys.get("spec").and_then(Value::as_object);
    keys.len() == 1 && spec.is_some_and(|spec| !spec.contains_key("template"))
}

/// Turns "written, but wrong" into `None` and "not written" into `Some(None)`.
fn flip<T>(compiled: Option<Option<T>>) -> Option<Option<T>> {
    match compiled {
        None => Some(None),
        Some(compiled) => compiled.map(Some),
    }
}
