//! What rules call each other by: phases, signals, reasons, conditions. A name that nothing answers to makes a rule that
//! never holds, and nobody would be told.

use super::{Compiler, Known};
use crate::bundle::merge::Merged;
use crate::bundle::problem::{nearest, nearly};
use crate::bundle::tree::{At, Node};
use crate::engine::path::Path;
use crate::engine::text::Text;
use std::collections::HashMap;

/// The names of all rules of a bundle, those that a layer switched off among them: others may still ask for them.
#[derive(Default)]
pub(super) struct Names<'a> {
    signals: Vec<&'a str>,
    reasons: Reasons<'a>,
    phases: Vec<&'a str>,
    /// Those that a transition led to which was switched off.
    former_phases: Vec<&'a str>,
    conditions: HashMap<&'a str, Reasons<'a>>,
    /// The ids of the cases of each.
    cases: HashMap<&'a str, Vec<&'a str>>,
    /// Of cases that were switched off, whatever their condition.
    former_cases: Vec<&'a str>,
    /// The same.
    former: Reasons<'a>,
    /// Fields of the status that rules make.
    pub(super) fields: Vec<&'a str>,
    /// There are more rules than these: nothing can be said of a name that is not known.
    unread: bool,
}

/// Reasons as they are written; some are made of what was found.
type Reasons<'a> = Vec<(&'a str, Option<Text>)>;

/// What a string in a path names.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Phase,
    Signal,
    Reason,
    Severity,
    Child,
    Condition,
    /// Of conditions of these types; of any when there is none.
    ConditionReason(Vec<String>),
    /// Of a condition of this type.
    Case(String),
}

const SEVERITIES: &[&str] = &["ignore", "info", "warn", "degraded", "fatal"];

/// So many names are said when none is near.
const MAX_NAMES: usize = 12;

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
                [_, _, Some(_), ..] => {
                    names.former.extend(reason(node));
                    names.former_cases.extend(text(node, "id"));
                }
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
            let ids = cases.iter().filter_map(|case| text(case, "id"));
            self.cases.entry(kind).or_default().extend(ids);
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

impl Compiler<'_> {
    /// Whether rules that a layer switched off name this phase.
    pub(super) fn was_a_phase(&self, phase: &str) -> bool {
        self.names.former_phases.contains(&phase)
    }

    /// Whether a condition of this type is made by rules.
    pub(super) fn has_cases(&mut self, at: At, path: &Path, kind: &str) -> bool {
        let names = &self.names;
        if names.unread || names.cases.contains_key(kind) {
            return true;
        }
        let mut known: Vec<&str> = names.cases.keys().copied().collect();
        known.sort_unstable();
        self.unknown_name(at, path, kind, &known);
        false
    }

    /// Whether there is something of that name.
    pub(super) fn known_word(&mut self, at: At, word: &Word, said: &str) -> bool {
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
            Word::Case(kind) => {
                let cases = names.cases.get(kind.as_str());
                let cases = cases.map_or(&[][..], Vec::as_slice);
                // There are none where they could not be read, which is said already.
                if cases.is_empty() || cases.contains(&said) || names.former_cases.contains(&said) {
                    return true;
                }
                (
                    format!("the condition {kind} has no case `{said}`"),
                    owned(cases),
                )
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
            Word::Reason => "An override may give a signal another reason; its `id` stays",
            Word::ConditionReason(_) => {
                "An override may give a case another reason; `$.cases` has its `id`"
            }
            _ => "",
        };
        let help = match also {
            "" => help,
            also if help.ends_with('?') => format!("{help} {also}"),
            also => format!("{help}. {also}"),
        };
        self.problem(at, message).help = Some(help);
        false
    }
}
