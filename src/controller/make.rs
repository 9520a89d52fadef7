//! Making children, under names that no other test has, and noting those that cannot be made.

use super::children::{self, Claim};
use super::reconcile::{Context, Created, Outcome};
use crate::engine::notice;
use crate::engine::render::{Child, text};
use crate::engine::rule::Occasion;
use crate::engine::run::Run;
use serde_json::Value;

/// Makes the children that are not there yet, one after the other up to the first that
/// is refused, and adopts those that are there without our labels. Of two tests whose
/// children have the same names, one thus makes all of them and the other none.
pub async fn make(
    context: &Context,
    wanted: impl Iterator<Item = &Child>,
    ours: &[(String, Value)],
    run: Run,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    for child in wanted {
        let exists = ours.iter().find(|(stem, _)| *stem == child.stem);
        let written = match exists {
            None => children::apply(&context.client, child).await,
            // A second apply would say nothing new.
            Some((_, existing)) if children::is_labelled(child, existing) => Ok(existing.clone()),
            Some((_, existing)) => children::adopt(&context.client, child, existing).await,
        };
        match written {
            Ok(applied) => {
                if exists.is_none() {
                    outcome.created.push(Created {
                        uid: text(&applied, "/metadata/uid").to_string(),
                        notices: notice::about_child(&context.bundle, Occasion::Created, &applied),
                    });
                }
                outcome.applied.push(applied);
            }
            Err(kube::Error::Api(e)) if children::is_refusal(e.code) => {
                refuse(outcome, run, vec![children::refusal(child, &e.message)]);
                return Ok(());
            }
            Err(e) => {
                outcome.run = Some(run);
                return Err(e);
            }
        }
    }
    outcome.run = Some(run);
    Ok(())
}

/// Claims the names of children; notes it when another test has one of them.
pub fn claim<'a>(
    context: &'a Context,
    test: &Value,
    children: &[Child],
    run: impl FnOnce() -> Run,
    outcome: &mut Outcome,
) -> Option<Claim<'a>> {
    match context.claims.claim(test, children) {
        Ok(claim) => Some(claim),
        Err(taken) => {
            let message = "it is being made for another test, whose objects have the same names";
            refuse(outcome, run(), vec![children::refusal(taken, message)]);
            None
        }
    }
}

/// Notes children that could not be made, to be tried again.
pub fn refuse(outcome: &mut Outcome, mut run: Run, refused: Vec<Value>) {
    let names: Vec<String> = refused
        .iter()
        .map(|r| {
            format!(
                "{} {}: {}",
                text(r, "/kind"),
                text(r, "/name"),
                text(r, "/message")
            )
        })
        .collect();
    run.refused = refused;
    outcome.retry = Some(format!("children cannot be made: {}", names.join("; ")));
    outcome.run = Some(run);
}
