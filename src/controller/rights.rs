//! Whether the operator may do with the children of a bundle what it does with children.

use super::children::is_refusal;
use crate::bundle::Bundle;
use crate::bundle::problem::Problem;
use crate::bundle::templates::ChildTemplate;
use crate::bundle::yaml;
use crate::engine::rbac::{VERBS, resource, rules_of};
use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use serde_json::json;

/// Why a bundle is not taken.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// The operator may not do what the bundle needs; that may change at any time.
    Forbidden(Vec<Problem>),
    /// The API server cannot be asked now.
    Unknown(Box<Problem>),
}

impl Refusal {
    pub fn problems(&self) -> &[Problem] {
        match self {
            Refusal::Forbidden(problems) => problems,
            Refusal::Unknown(problem) => std::slice::from_ref(problem),
        }
    }
}

/// Asks for the kinds of children that `bundle` has and `than` has not: those that are in use already cannot be refused
/// any more.
pub async fn check(
    client: &Client,
    namespaces: &[String],
    bundle: &Bundle,
    than: &Bundle,
) -> Result<(), Refusal> {
    let same = |a: &ChildTemplate, b: &ChildTemplate| {
        (&a.kind, &a.api_version) == (&b.kind, &b.api_version)
    };
    let mut new: Vec<&ChildTemplate> = Vec::new();
    for child in bundle.children() {
        let known = than.children().iter().chain(new.iter().copied());
        if !known.into_iter().any(|k| same(k, child)) {
            new.push(child);
        }
    }
    let scopes: Vec<Option<&str>> = match namespaces {
        [] => vec![None],
        some => some.iter().map(|n| Some(n.as_str())).collect(),
    };
    let mut problems = Vec::new();
    for child in new {
        let asked = ask(client, &scopes, child, bundle).await;
        let (error, is_final) = match asked {
            Ok(problem) => {
                problems.extend(problem);
                continue;
            }
            // A Role that says yes is not all that may say no. Who the operator is, though, may be in doubt for a while.
            Err(e) => {
                let is_final =
                    matches!(&e, kube::Error::Api(e) if e.code != 401 && is_refusal(e.code));
                (super::with_causes(&e), is_final)
            }
        };
        let message = format!("cannot ask the API server about {}: {error}", child.kind);
        let problem = place(child, bundle, message);
        match is_final {
            true => problems.push(problem),
            false => return Err(Refusal::Unknown(Box::new(problem))),
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Refusal::Forbidden(problems)),
    }
}

async fn ask(
    client: &Client,
    scopes: &[Option<&str>],
    child: &ChildTemplate,
    bundle: &Bundle,
) -> Result<Option<Problem>, kube::Error> {
    let resource = resource(&child.api_version, &child.kind);
    let rights = scopes
        .iter()
        .flat_map(|scope| VERBS.map(|verb| (*scope, verb)));
    let asked = rights.map(async |(scope, verb)| {
        let allowed = may(client, &resource, scope, verb).await?;
        Ok::<_, kube::Error>((!allowed).then_some((scope, verb)))
    });
    let denied: Vec<_> = try_join_all(asked).await?.into_iter().flatten().collect();
    if denied.is_empty() {
        for scope in scopes {
            is_listed(client, &resource, *scope).await?;
        }
        return Ok(None);
    }
    let unique = |all: Vec<&str>| {
        let mut unique: Vec<String> = Vec::new();
        for one in all {
            if !unique.iter().any(|u| u == one) {
                unique.push(one.to_string());
            }
        }
        unique.join(", ")
    };
    let verbs = unique(denied.iter().map(|(_, verb)| *verb).collect());
    let namespaces = unique(denied.iter().filter_map(|(scope, _)| *scope).collect());
    let place_of_scope = match namespaces.as_str() {
        "" => "in the cluster".to_string(),
        some => format!("in namespace {some}"),
    };
    let name = match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    };
    let message = format!(
        "the operator's Role does not allow this kind of child: it may not {verbs} {name} {place_of_scope}"
    );
    let rules = yaml::to_string(&rules_of([child])).unwrap_or_default();
    let help = format!("add to the operator's Role:\n{}", rules.trim_end());
    Ok(Some(place(child, bundle, message).help(help)))
}

async fn may(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    verb: &str,
) -> Result<bool, kube::Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "group": resource.group,
            "resource": resource.plural,
            "namespace": namespace,
            "verb": verb,
        }},
    });
    let review: SelfSubjectAccessReview =
        serde_json::from_value(review).map_err(kube::Error::SerdeError)?;
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// A bundle waits for the first list of each kind, so one that cannot be listed now is not taken now. A kind that the
/// cluster does not know is another matter: the tests that need it say so.
async fn is_listed(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Err(kube::Error::Api(e)) if e.code == 404 => Ok(()),
        Err(e) => Err(e),
        Ok(_) => Ok(()),
    }
}

/// A problem where the template says which kind its child is.
fn place(child: &ChildTemplate, bundle: &Bundle, message: String) -> Problem {
    let problem = Problem::new(&child.file, message);
    let source = bundle.templates.files.get(&child.file);
    let line = source.and_then(|s| s.lines().position(|l| l.starts_with("kind:")));
    match (source, line) {
        (Some(source), Some(line)) => problem.at(source, line + 1, 1),
        _ => problem,
    }
}
