//! The status of a test on the API server.
//!
//! It is patched, not applied: the API server asks the conversion webhook before it applies to a test whose fields were
//! set in another version, and a status is written whether or not that answers.

use super::object::Object;
use super::{patch_params, watch};
use crate::bundle::Bundle;
use crate::engine::patch;
use crate::engine::render::text;
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::{Map, Value, json};

/// Makes `status` the status of a test, apart from conditions of types that the bundle does not have: those are somebody
/// else's and stay. The test as it is then.
///
/// It is refused (409) when the test is no longer as it was seen: another operator may be ahead.
pub async fn write(
    client: &Client,
    bundle: &Bundle,
    test: &Value,
    status: &Map<String, Value>,
) -> Result<Value, kube::Error> {
    let conditions = bundle.rules.conditions.iter();
    let ours: Vec<&str> = conditions.map(|c| c.kind.as_str()).collect();
    let Some(change) = change(test, status, &ours) else {
        return Ok(test.clone());
    };
    let resource = watch::tests();
    let namespace = text(test, "/metadata/namespace");
    let api: Api<Object> = Api::namespaced_with(client.clone(), namespace, &resource);
    let change = json!({
        "metadata": {
            "uid": text(test, "/metadata/uid"),
            "resourceVersion": text(test, "/metadata/resourceVersion"),
        },
        "status": change,
    });
    let name = text(test, "/metadata/name");
    let patched = api
        .patch_status(name, &patch_params(), &Patch::Merge(&change))
        .await?;
    Ok(patched.into_value(&resource))
}

fn change(test: &Value, status: &Map<String, Value>, ours: &[&str]) -> Option<Value> {
    let stored = test.get("status").unwrap_or(&Value::Null);
    let mut wanted = Value::Object(status.clone());
    let conditions = stored.get("conditions").and_then(Value::as_array);
    let theirs = conditions.into_iter().flatten();
    let theirs = theirs.filter(|c| !ours.contains(&text(c, "/type")));
    if let Some(all) = wanted.get_mut("conditions").and_then(Value::as_array_mut) {
        all.extend(theirs.cloned());
    }
    patch::between(stored, &wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_ours_but_for_the_conditions_of_others() {
        let test = json!({"status": {
            "phase": "Pending",
            "since": {"gone": "t", "stays": "t"},
            "conditions": [{"type": "A"}, {"type": "Theirs"}, {"type": "B"}],
        }});
        let status =
            json!({"phase": "Running", "since": {"stays": "t"}, "conditions": [{"type": "A"}]});
        let change = |test: &Value| super::change(test, status.as_object().unwrap(), &["A", "B"]);
        let expected = json!({
            "phase": "Running",
            "since": {"gone": null},
            "conditions": [{"type": "A"}, {"type": "Theirs"}],
        });
        assert_eq!(change(&test), Some(expected));
        assert_eq!(change(&json!({})), Some(status.clone()));
        assert_eq!(change(&json!({"status": status})), None);
    }
}
