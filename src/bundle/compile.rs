//! From rules as written to rules as compiled. Collects every mistake.

mod clauses;
mod leads;
mod names;
mod phases;

use super::layer::Sources;
use super::merge::Merged;
use super::problem::{Problem, nearest};
use super::rules as written;
use super::templates::ChildTemplate;
use super::tree::{At, Node};
use super::typed::{self, Placed};
use super::values::Values;
use crate::engine::rule::{
    Act, Action, Admission, Case, Condition, Each, Event, Field, Guard, Names, Notice, Occasion,
    Origin, Rules, Signal, Source, Target,
};
use clauses::Lasting;
use jiff::SignedDuration;
use names::Names as RuleNames;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// What a path may start from.
#[derive(Debug, Clone, Copy)]
struct Roots {
    about: About,
    names: &'static [&'static str],
}

/// What is known of the roots of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Test,
    Pod,
    Container,
    /// A test that is about to be stored.
    Admission,
    /// Nothing is: any kind of child, or what happened to one.
    Other,
}

/// The roots that a path may start from, by what the rule is about. A container
/// adds the fields of its own status to these.
const VERDICT_ROOTS: Roots = Roots {
    about: About::Test,
    names: &[
        "test", "children", "pods", "signals", "worst", "evidence", "run", "phase", "cases",
        "values",
    ],
};
const POD_ROOTS: Roots = Roots {
    about: About::Pod,
    names: &["metadata", "spec", "status", "role", "values"],
};
const CONTAINER_ROOTS: Roots = Roots {
    about: About::Container,
    names: &[
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
    ],
};
const CHILD_NOTICE_ROOTS: Roots = Roots {
    about: About::Other,
    names: &["child", "test"],
};
const WARNING_NOTICE_ROOTS: Roots = Roots {
    about: About::Other,
    names: &["warning", "test"],
};
const ADMISSION_ROOTS: Roots = Roots {
    about: About::Admission,
    names: &["test", "oldTest", "operation", "values"],
};
/// A child of whatever kind.
const OBJECT_ROOTS: Roots = Roots {
    about: About::Other,
    ..POD_ROOTS
};
const VALUE_ROOTS: Roots = Roots {
    about: About::Other,
    names: &["values"],
};

/// What rules may refer to.
pub struct Known<'a> {
    /// Stems of the templates that make children.
    pub children: Vec<&'a str>,
    /// Stems of others, which a layer removed or which are wrong: rules may still name them.
    pub others: Vec<&'a str>,
    /// What makes the children.
    pub templates: &'a [ChildTemplate],
    /// Nothing when the values could not be read.
    pub values: Option<&'a Values>,
}

/// Compiles the rules of a bundle.
pub fn compile<'a>(
    merged: &'a Merged,
    known: &'a Known<'a>,
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
) -> Rules {
    let mut c = Compiler {
        sources,
        known,
        names: RuleNames::of(merged),
        ids: HashMap::new(),
        problems,
    };
    let phase = merged.get("phase").and_then(|node| c.read(node));
    let phase = phase.map(|phase| c.phase(phase)).unwrap_or_default();
    let mut signals = c.each(merged, "signals", Compiler::signal);
    signals.sort_by_key(|s| std::cmp::Reverse(s.priority));
    Rules {
        signals,
        phase,
        conditions: c.each(merged, "conditions", Compiler::condition),
        fields: c.each(merged, "status", Compiler::field),
        notices: c.each(merged, "events", Compiler::notice),
        actions: c.each(merged, "actions", Compiler::action),
        admission: c.each(merged, "admission", Compiler::admission),
    }
}

/// Instead of a path in `since`.
const SEEN: &str = "seen";

struct Compiler<'a> {
    sources: &'a Sources,
    known: &'a Known<'a>,
    names: RuleNames<'a>,
    /// Every rule id so far and where it stands.
    ids: HashMap<String, String>,
    problems: &'a mut Vec<Problem>,
}

impl Compiler<'_> {
    fn read<'n, T: Deserialize<'n>>(&mut self, node: &'n Node) -> Option<T> {
        match typed::from_node(node) {
            Ok(read) => Some(read),
            Err(mistake) => {
                self.problems.push(mistake.problem(self.sources));
                None
            }
        }
    }

    fn each<'n, W: Deserialize<'n>, C>(
        &mut self,
        merged: &'n Merged,
        file: &str,
        one: fn(&mut Self, W) -> Option<C>,
    ) -> Vec<C> {
        let nodes = merged.get(file).map_or(&[][..], Node::items);
        let mut all = Vec::new();
        for node in nodes {
            if let Some(written) = self.read(node) {
                all.extend(one(self, written));
            }
        }
        all
    }

    fn problem(&mut self, at: At, message: impl Into<String>) -> &mut Problem {
        self.problems.push(self.sources.problem(at, message));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn origin(&mut self, id: &Placed) -> Origin {
        let here = self.sources.place(id.at);
        if let Some(first) = self.ids.insert(id.value.clone(), here) {
            self.problem(id.at, format!("the rule id `{}` is used twice", id.value))
                .help = Some(format!("the first is at {first}; an id names one rule"));
        }
        Origin {
            id: id.value.clone(),
            file: self
                .sources
                .get(id.at)
                .map(|s| s.path.clone())
                .unwrap_or_default(),
            line: id.at.line,
        }
    }

    fn signal(&mut self, w: written::Signal) -> Option<Signal> {
        let roots = match w.on.each {
            Each::Pod => POD_ROOTS,
            Each::Child => OBJECT_ROOTS,
            Each::Container => CONTAINER_ROOTS,
        };
        self.known_children(w.on.role.iter().flatten());
        let priority = format!("priority {}", w.priority.value);
        let id = w.id.value.clone();
        if let Some(other) = self.ids.insert(priority.clone(), id) {
            self.problem(
                w.priority.at,
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
            let name = child.value.as_str();
            if self.known.children.contains(&name) || self.known.others.contains(&name) {
                continue;
            }
            let near = nearest(name, self.known.children.iter().copied());
            let help = near.map_or_else(
                || format!("children are {}", self.known.children.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.problem(
                child.at,
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
                self.problem(w.id.at, "an action is on either `children` or `test: true`");
                return None;
            }
        };
        let act = match (w.patch, w.delete) {
            (Some(patch), false) if is_about_spec(&patch) => Act::Patch(patch),
            (Some(_), false) => {
                self.problem(w.id.at, "a patch changes the `spec`, and not its `template`")
                    .help = Some("write `patch: {spec: {suspend: true}}`, for example; what a child is made with stands in templates/".into());
                return None;
            }
            (None, true) => Act::Delete,
            _ => {
                self.problem(w.id.at, "an action takes either `patch` or `delete: true`");
                return None;
            }
        };
        let guard = self.guard(&w.id, Some(w.when), w.lasting, w.since, VERDICT_ROOTS)?;
        Some(Action { guard, on, act })
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
                self.problem(w.field.at, "a field takes either `path` or `now: true`")
                    .help = Some("`path` says where the value is, `now` is the time".into());
                return None;
            }
        };
        let when = w.when.map(|when| self.clause(when, VERDICT_ROOTS));
        let default = w.default.map(|Placed { value, at }| {
            let here = Placed {
                value: String::new(),
                at,
            };
            self.operand(&here, value, VERDICT_ROOTS)
        });
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

    fn admission(&mut self, w: written::Admission) -> Option<Admission> {
        let origin = self.origin(&w.id);
        let (when, message) = (
            self.clause(w.when, ADMISSION_ROOTS),
            self.text(&w.message, ADMISSION_ROOTS),
        );
        Some(Admission {
            origin,
            when: when?,
            message: message?,
        })
    }

    fn event(&mut self, w: written::Event, roots: Roots) -> Option<Event> {
        Some(Event {
            kind: w.kind,
            reason: self.text(&w.reason, roots)?,
            message: self.text(&w.message, roots)?,
        })
    }

    fn guard(
        &mut self,
        id: &Placed,
        when: Option<Placed<written::Clause>>,
        lasting: Option<Placed>,
        since: Option<Placed>,
        roots: Roots,
    ) -> Option<Guard> {
        let origin = self.origin(id);
        let when = when.map(|w| self.clause(w, roots));
        if let (Some(lasting), None, About::Test) = (&lasting, &since, roots.about) {
            self.problem(lasting.at, "`for` says how long, but not from when on")
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
