//! The phases of a test and the ways between them: a test that comes into a phase must be able to end.

use super::{Compiler, OBJECT_ROOTS, VERDICT_ROOTS, flip};
use crate::bundle::problem::suggestion;
use crate::bundle::rules as written;
use crate::bundle::typed::Placed;
use crate::engine::rule::{PhaseRules, Transition};

impl Compiler<'_> {
    pub(super) fn phase(&mut self, w: written::Phase) -> PhaseRules {
        self.known_phases(&w);
        let mut transitions = Vec::new();
        for t in w.transitions {
            for from in &t.from {
                if w.terminal.iter().any(|t| t.value == from.value) {
                    let message = format!("`{}` is terminal: a test never leaves it", from.value);
                    self.problem(from.at, message).help =
                        Some("remove it here, or from `terminal`".into());
                }
            }
            transitions.extend(self.transition(t));
        }
        let done = w.done.and_then(|done| self.clause(done, OBJECT_ROOTS));
        PhaseRules {
            done,
            initial: w.initial.value,
            terminal: w.terminal.into_iter().map(|t| t.value).collect(),
            transitions,
        }
    }

    fn transition(&mut self, t: written::Transition) -> Option<Transition> {
        Some(Transition {
            guard: self.guard(&t.id, Some(t.when), t.lasting, t.since, VERDICT_ROOTS)?,
            from: t.from.into_iter().map(|from| from.value).collect(),
            to: t.to.value,
            event: flip(t.event.map(|e| self.event(e, VERDICT_ROOTS)))?,
        })
    }

    /// A test can leave every phase that it comes into, unless it is terminal; and it comes into every phase that is
    /// named.
    fn known_phases(&mut self, w: &written::Phase) {
        let left = w.transitions.iter().flat_map(|t| &t.from);
        let ends: Vec<&Placed> = w.terminal.iter().chain(left).collect();
        let reached = || std::iter::once(&w.initial).chain(w.transitions.iter().map(|t| &t.to));
        let mut is_fine = true;
        for phase in reached() {
            if ends.iter().all(|end| end.value != phase.value) {
                is_fine = false;
                let message = format!(
                    "a test would stay in the phase `{}`: it is not terminal, and no transition is `from` it",
                    phase.value
                );
                let known = unique(ends.iter().copied());
                let help = suggestion(&phase.value, known, "other phases are");
                self.problem(phase.at, message).help = Some(help);
            }
        }
        // Where the way into a phase is misspelt, the phase itself is not.
        if !is_fine {
            return;
        }
        for end in ends {
            if !reached().any(|phase| phase.value == end.value) && !self.was_a_phase(&end.value) {
                let message = format!("no test comes into the phase `{}`", end.value);
                let help = suggestion(&end.value, unique(reached()), "phases are");
                self.problem(end.at, message).help = Some(help);
            }
        }
    }
}

fn unique<'a>(phases: impl Iterator<Item = &'a Placed>) -> Vec<&'a str> {
    let mut names: Vec<&str> = phases.map(|p| p.value.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
