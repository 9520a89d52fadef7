//! Reviews of tests that are about to be stored. Everything is allowed; what is surely not meant is said in warnings,
//! which kubectl shows. What they are is data: see [`crate::engine::admission`].

use crate::bundle::Bundle;
use crate::engine::admission::{Request, warnings};
use crate::engine::render::text;
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The API server cuts warnings at this length, in bytes.
const MAX_WARNING: usize = 256;

/// The answer to a review. An error means that it is no review.
pub fn review(bundle: &Bundle, mut sent: Value) -> Result<Value, String> {
    let request = super::request(&mut sent, API_VERSION, KIND)?;
    let mut response = json!({"uid": text(&request, "/uid"), "allowed": true});
    let old = request.get("oldObject").filter(|old| old.is_object());
    if let Some(test) = request.get("object").filter(|test| test.is_object()) {
        let request = Request {
            test,
            old,
            operation: text(&request, "/operation"),
        };
        let warnings = warnings(bundle, &request).into_iter().map(shorten);
        let warnings: Vec<String> = warnings.collect();
        if !warnings.is_empty() {
            response["warnings"] = warnings.into();
        }
    }
    Ok(json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}))
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_WARNING {
        text.truncate(text.floor_char_boundary(MAX_WARNING - '…'.len_utf8()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Layer;
    use std::collections::BTreeMap;

    fn answer(request: Value) -> Value {
        let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
        let sent = json!({"apiVersion": API_VERSION, "kind": KIND, "request": request});
        review(&bundle, sent).unwrap()["response"].take()
    }

    #[test]
    fn everything_is_allowed() {
        for object in [
            json!(null),
            json!(1),
            json!([]),
            json!({}),
            json!({"spec": 1}),
        ] {
            let request = json!({"uid": "u", "operation": "CREATE", "object": object});
            assert_eq!(answer(request), json!({"uid": "u", "allowed": true}));
        }
        assert_eq!(answer(json!({})), json!({"uid": "", "allowed": true}));
    }

    #[test]
    fn a_warning_is_as_long_as_one_may_be() {
        let old = json!({"spec": {"image": "a"}, "status": {"phase": "é".repeat(900)}});
        let request = json!({"uid": "u", "operation": "UPDATE", "object": {"spec": {"image": "b"}}, "oldObject": old});
        let answer = answer(request);
        assert_eq!(answer["allowed"], true);
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(
            warning.len() <= MAX_WARNING && warning.ends_with('…'),
            "{warning}"
        );
    }
}
