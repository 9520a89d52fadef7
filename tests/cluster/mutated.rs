//! Thousands of wrong and unusual tests, made from the schema: each is refused with the field that is wrong, or runs, or
//! says in its Ready condition which object the API server refuses and why.
//!
//! `LOTEST_MUTATED_SPECS` says how many: every place of the schema is among the first 700, and 20000 is all that one thing
//! can be and many that two can. `LOTEST_MUTATED_REPORT` names a file that gets a line for each.

use crate::invalid::{acceptable, try_strictly, yaml};
use crate::mutants::{Mutant, mutants, places};
use crate::shell::Shell;
use crate::support::{Room, condition};
use futures::{StreamExt, stream};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{GroupVersionKind, Request, Resource, Status};
use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Layer, yaml as json_as_yaml};
use lotest::engine::render::{Child, render};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

const SPECS: &str = include_str!("../specs.yaml");
const FEW: usize = 300;

/// Places that take nothing that a mutant has: an entry that needs a name and a path, and a time.
const REFUSED: &[&str] = &[
    "spec.volumeMounts[]",
    "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.managedFields[].time",
];

fn how_many() -> usize {
    let wanted = std::env::var("LOTEST_MUTATED_SPECS").ok();
    wanted.map_or(FEW, |n| n.parse().unwrap())
}

fn all(count: usize) -> Vec<Mutant> {
    mutants(&yaml(SPECS)["base"], &acceptable(), count)
}

/// What becomes of a test.
#[derive(Debug)]
enum Outcome {
    /// The API server refuses it, and says where.
    Rejected,
    /// The operator refuses it, and says where: what the Ready condition would carry.
    Refused(String),
    /// A child of it is refused, and the answer says where in it.
    ChildRefused(String),
    Runs,
    /// None of these.
    Bad(String),
}

/// Whether the answer names a field of the object, so that somebody knows what to change.
fn names_a_field(error: &Status) -> bool {
    let starts = |text: &str| ["spec", "metadata"].iter().any(|s| text.starts_with(s));
    let causes = error.details.iter().flat_map(|d| &d.causes);
    let mut fields = causes.map(|c| c.field.as_str()).filter(|f| *f != "<nil>");
    let said = fields.any(starts);
    let message = &error.message;
    match error.code {
        422 => said,
        // That a list has two entries of one key is an internal error to server-side apply; what it says is good.
        500 if message.starts_with("failed to create typed patch object") => {
            message.contains(" .spec.")
        }
        400 => [".spec.", "\"spec.", " spec.", ".metadata.", "\"metadata."]
            .iter()
            .any(|field| message.contains(field)),
        _ => false,
    }
}

/// As the operator applies a child, but nothing is stored.
async fn try_child(room: &Room, child: &Child) -> Result<(), Box<Status>> {
    let (group, version) = child
        .api_version()
        .split_once('/')
        .unwrap_or(("", child.api_version()));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, child.kind()));
    let mut params = PatchParams::apply("lotest").force().dry_run();
    params.field_validation = Some(ValidationDirective::Strict);
    let request = Request::new(DynamicObject::url_path(&resource, Some(&room.namespace)));
    let mut request = request
        .patch(child.name(), &params, &Patch::Apply(&child.object))
        .unwrap();
    let mut body = String::new();
    json_as_yaml::write_json(&mut body, &child.object.to_string()).unwrap();
    *request.body_mut() = body.into_bytes();
    match room.client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

async fn judge(room: &Room, bundle: &Bundle, mutant: &Mutant) -> (Outcome, Option<Value>) {
    let stored = match try_strictly(room, &mutant.test).await {
        Ok(stored) => stored,
        Err(error) if names_a_field(&error) => return (Outcome::Rejected, None),
        Err(error) => {
            let said = format!("{} {}", error.code, error.message);
            return (Outcome::Bad(said), None);
        }
    };
    (judge_stored(room, bundle, &stored).await, Some(stored))
}

async fn judge_stored(room: &Room, bundle: &Bundle, stored: &Value) -> Outcome {
    let typed = match LocustTest::from_value(stored.clone()) {
        Ok(typed) => typed,
        Err(error) => return Outcome::Bad(format!("cannot be read: {error}")),
    };
    let mistakes = lotest::api::validate(&typed);
    if let Some(mistake) = mistakes.first() {
        return Outcome::Refused(mistake.to_string());
    }
    let children = match render(bundle, &typed.to_value()) {
        Ok(rendered) => rendered.children,
        Err(problem) => return Outcome::Bad(format!("cannot be rendered: {problem}")),
    };
    let mut refused = Vec::new();
    for child in &children {
        let Err(error) = try_child(room, child).await else {
            continue;
        };
        let said = format!("{} {}: {}", child.kind(), child.name(), error.message);
        if !names_a_field(&error) {
            return Outcome::Bad(format!("{} {said}", error.code));
        }
        refused.push(said);
    }
    match refused.is_empty() {
        true => Outcome::Runs,
        false => Outcome::ChildRefused(refused.join("; ")),
    }
}

fn short(text: &str) -> String {
    text.chars().take(400).collect()
}

#[tokio::test]
async fn each_is_refused_where_it_is_wrong_or_runs() {
    let room = Room::new("mutated").await;
    let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
    let count = how_many();
    let all = all(count);
    let started = Instant::now();
    let mut judged = stream::iter(all.iter().enumerate())
        .map(|(n, mutant)| {
            let (room, bundle) = (&room, &bundle);
            async move { (n, judge(room, bundle, mutant).await) }
        })
        .buffer_unordered(16);

    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut bad = Vec::new();
    let (mut tried, mut arrived) = (BTreeSet::new(), BTreeSet::new());
    // As they come: somebody may not want to wait for all.
    let report = std::env::var("LOTEST_MUTATED_REPORT").ok();
    let mut report = report.map(|file| std::fs::File::create(file).unwrap());
    while let Some((n, (outcome, stored))) = judged.next().await {
        let mutant = &all[n];
        let (name, said) = match &outcome {
            Outcome::Rejected => ("rejected by the API server", ""),
            Outcome::Refused(said) => ("refused by the operator", said.as_str()),
            Outcome::ChildRefused(said) => ("a child is refused", said.as_str()),
            Outcome::Runs => ("runs", ""),
            Outcome::Bad(said) => ("BAD", said.as_str()),
        };
        *counts.entry(name).or_default() += 1;
        let said = short(said);
        if let Some(report) = &mut report {
            let said = said.replace('\n', " ");
            writeln!(report, "{name}\t{n}\t{}\t{said}", mutant.what).unwrap();
        }
        if let Outcome::Bad(_) = outcome {
            bad.push(format!("{n}: {}\n    {said}", mutant.what));
        }
        for place in &mutant.places {
            tried.insert(place.path.clone());
            if stored.as_ref().is_some_and(|stored| place.is_set(stored)) {
                arrived.insert(place.path.clone());
            }
        }
    }
    println!(
        "{} specs in {:.1?}: {counts:?}",
        all.len(),
        started.elapsed()
    );
    assert!(
        bad.is_empty(),
        "{} are bad:\n{}",
        bad.len(),
        bad[..bad.len().min(60)].join("\n")
    );
    let places: BTreeSet<String> = places().into_iter().map(|p| p.path).collect();
    let missed: Vec<&String> = places.difference(&tried).collect();
    assert!(count < 700 || missed.is_empty(), "never tried: {missed:?}");
    // A large sample shows that each place can be used at all.
    let missed = places.difference(&arrived);
    let missed: Vec<&String> = missed.filter(|p| !REFUSED.contains(&p.as_str())).collect();
    assert!(
        count < 20_000 || missed.is_empty(),
        "never stored: {missed:?}"
    );
    assert!(counts.len() >= 3, "{counts:?}");
}

/// Accepted by the API server; small enough for a simulated cluster.
async fn for_real(room: &Room, wanted: usize) -> Vec<(String, Mutant)> {
    let all = all(how_many());
    let mut chosen = Vec::new();
    // All over the list, each once.
    let step = (1..)
        .find(|s| s * 7 > all.len() / wanted && !all.len().is_multiple_of(*s))
        .unwrap();
    for n in 0..all.len() {
        let mut mutant = all[(n * step) % all.len()].clone();
        if mutant.test["spec"]["worker"]["replicas"].as_i64() > Some(5)
            && mutant.what.starts_with("full ")
        {
            mutant.test["spec"]["worker"]["replicas"] = 1.into();
        }
        if mutant.test["spec"]["worker"]["replicas"].as_i64() > Some(5) {
            continue;
        }
        let name = format!("m-{n}");
        mutant.test["metadata"] = json!({"name": name});
        if try_strictly(room, &mutant.test).await.is_ok() {
            room.create(mutant.test.clone()).await;
            chosen.push((name, mutant));
        }
        if chosen.len() == wanted {
            break;
        }
    }
    chosen
}

/// Whether the operator has come to something with it.
fn settled(test: &Value) -> bool {
    let ready = condition(test, "Ready");
    let phase = test["status"]["phase"].as_str().unwrap_or_default();
    ready["status"] == "True"
        || ready["reason"] == "ResourcesFailed"
        || ["Running", "Succeeded", "Failed"].contains(&phase)
}

#[tokio::test]
async fn an_operator_comes_to_an_end_with_each() {
    let room = Room::new("mutated-run").await;
    let shell = Shell::new(&room);
    let _operator = room.operator_logging_to(shell.file("log"));
    room.create_test("before").await;
    let chosen = for_real(&room, how_many() / 40).await;
    assert!(chosen.len() >= how_many() / 40);
    let (mut runs, mut refused) = (0, 0);
    for (name, mutant) in &chosen {
        let test = room.until("LocustTest", name, settled).await;
        let ready = condition(&test, "Ready");
        if ready["reason"] == "ResourcesFailed" {
            let said = ready["message"].as_str().unwrap();
            let of_child = [" ", "/"].map(|before| format!("{before}{name}-"));
            let names_child = of_child.iter().any(|child| said.contains(child));
            assert!(
                said.contains("spec.") && (said.starts_with("spec.") || names_child),
                "{}: {said}",
                mutant.what
            );
            refused += 1;
        } else {
            runs += 1;
        }
    }
    room.create_test("after").await;
    for name in ["before", "after"] {
        room.until_phase(name, "Succeeded").await;
    }
    println!("{runs} run, of {refused} a child or a field is refused");
    assert!(runs > 0 && refused > 0);
    // Retries back off: those that are refused are asked about ever more seldom.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let requests = room.requests();
    let most = chosen.iter().map(|(name, mutant)| {
        let own = |r: &&Value| {
            let asked = r["objectRef"]["name"].as_str().unwrap_or_default();
            asked == name
                || asked
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('-'))
        };
        (requests.iter().filter(own).count(), &mutant.what)
    });
    let most = most.max().unwrap();
    println!("at most {} requests for one: {}", most.0, most.1);
    assert!(most.0 <= 60, "{} requests for {}", most.0, most.1);
    let log = shell.read("log");
    for sign in [" ERROR ", "panicked"] {
        let lines: Vec<&str> = log.lines().filter(|l| l.contains(sign)).take(5).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}
