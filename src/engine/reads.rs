//! What the rules of a bundle read: all paths in them.

use super::clause::Operand;
use super::path::Path;
use super::rule::{Event, Guard, Rules, Signal, Source};
use std::collections::BTreeSet;

/// Every path of the rules about a whole test.
pub fn of_tests(rules: &Rules) -> Vec<&Path> {
    let mut paths = Vec::new();
    for transition in &rules.phase.transitions {
        guard(&transition.guard, &mut paths);
        event(transition.event.as_ref(), &mut paths);
    }
    for condition in &rules.conditions {
        paths.extend(condition.when.iter().flat_map(|c| c.paths()));
        for case in &condition.cases {
            guard(&case.guard, &mut paths);
            paths.extend(case.reason.paths());
            paths.extend(case.message.paths());
            event(case.event.as_ref(), &mut paths);
        }
    }
    for field in &rules.fields {
        paths.extend(field.when.iter().flat_map(|c| c.paths()));
        if let Source::Path(path) = &field.source {
            paths.push(path);
        }
        if let Some(Operand::Path(path)) = &field.default {
            paths.push(path);
        }
    }
    for action in &rules.actions {
        guard(&action.guard, &mut paths);
    }
    paths
}

/// Every path of the rules about one pod, container or child.
pub fn of_objects(rules: &Rules) -> Vec<&Path> {
    let signals = rules.signals.iter().flat_map(of_signal);
    signals.chain(of_done(rules)).collect()
}

/// Every path of one signal.
pub fn of_signal(signal: &Signal) -> Vec<&Path> {
    let mut paths = Vec::new();
    guard(&signal.guard, &mut paths);
    paths.extend(&signal.not_before);
    paths.extend(signal.reason.paths());
    paths.extend(signal.message.paths());
    paths
}

/// Every path that says whether a child is done.
pub fn of_done(rules: &Rules) -> Vec<&Path> {
    let done = rules.phase.done.iter();
    done.flat_map(|c| c.paths()).collect()
}

fn guard<'r>(guard: &'r Guard, paths: &mut Vec<&'r Path>) {
    paths.extend(guard.when.iter().flat_map(|c| c.paths()));
    paths.extend(&guard.since);
}

fn event<'r>(event: Option<&'r Event>, paths: &mut Vec<&'r Path>) {
    if let Some(event) = event {
        paths.extend(event.reason.paths());
        paths.extend(event.message.paths());
    }
}

/// Which fields may be read of an object. A path names every field on its way, so one whose name stands in no path is
/// read by nobody.
#[derive(Debug, Default)]
pub struct Names {
    /// Every field may be: some path looks everywhere (`..`).
    all: bool,
    names: BTreeSet<String>,
    /// Those below which every field may be (`.*`).
    whole: BTreeSet<String>,
}

impl Names {
    pub fn of(rules: &Rules) -> Names {
        let mut names = Names::default();
        for path in of_tests(rules).into_iter().chain(of_objects(rules)) {
            let written = path.as_str();
            names.all |= written.contains("..");
            let is_word = |c: char| c.is_alphanumeric() || "-_".contains(c);
            let words = |text: &str| -> Vec<String> {
                let words = text.split(|c| !is_word(c)).filter(|w| !w.is_empty());
                words.map(str::to_string).collect()
            };
            names.names.extend(words(written));
            for (at, _) in written.match_indices(".*") {
                names.whole.extend(words(&written[..at]).pop());
            }
        }
        names
    }

    pub fn contain(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    /// Whether all below a field may be read.
    pub fn contain_all_of(&self, name: &str) -> bool {
        self.all || self.whole.contains(name)
    }
}
