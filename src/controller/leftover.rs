//! Conditions that another operator left in a status: an apply takes away only what it made itself.

use super::{MANAGER, watch};
use crate::engine::render::text;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};

/// The conditions of a written test without those of `kinds` that are in its status although what was applied has them
/// not; nothing when there are none. Conditions of other kinds are somebody else's and stay.
pub fn without(test: &Value, applied: &Map<String, Value>, kinds: &[&str]) -> Option<Vec<Value>> {
    let stored = test.pointer("/status/conditions")?.as_array()?;
    let applied = applied.get("conditions")?.as_array()?;
    let is_left = |condition: &&Value| {
        let kind = text(condition, "/type");
        kinds.contains(&kind) && !applied.iter().any(|c| text(c, "/type") == kind)
    };
    let kept: Vec<Value> = stored.iter().filter(|c| !is_left(c)).cloned().collect();
    (kept.len() < stored.len()).then_some(kept)
}

/// Leaves these conditions in the status of a test, as it is there now: whoever changed it since is not overwritten.
pub async fn remove(
    client: &Client,
    test: &Value,
    conditions: Vec<Value>,
) -> Result<Value, kube::Error> {
    let resource = watch::tests();
    let namespace = text(test, "/metadata/namespace");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let patch = json!({
        "metadata": {
            "uid": text(test, "/metadata/uid"),
            "resourceVersion": text(test, "/metadata/resourceVersion"),
        },
        "status": {"conditions": conditions},
    });
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_string()),
        ..PatchParams::default()
    };
    let name = text(test, "/metadata/name");
    let patch = Patch::Merge(&patch);
    let patched = api.patch_status(name, &parameters, &patch).await?;
    Ok(watch::plain(patched, &resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_the_rules_that_were_not_applied_are_left_over() {
        let test =
            json!({"status": {"conditions": [{"type": "A"}, {"type": "B"}, {"type": "Theirs"}]}});
        let applied = |kinds: &[&str]| {
            let conditions: Vec<Value> = kinds.iter().map(|k| json!({"type": k})).collect();
            Map::from_iter([("conditions".to_string(), conditions.into())])
        };
        let kinds = ["A", "B", "C"];
        let kept = without(&test, &applied(&["A"]), &kinds).unwrap();
        assert_eq!(kept, [json!({"type": "A"}), json!({"type": "Theirs"})]);
        assert_eq!(without(&test, &applied(&["A", "B"]), &kinds), None);
        assert_eq!(without(&json!({}), &applied(&[]), &kinds), None);
    }
}
