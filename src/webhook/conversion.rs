//! Reviews of the API server that ask for objects in another version. Pure: the conversion itself is
//! [`crate::api::convert`].

use crate::api::convert::convert;
use crate::engine::render::text;
use crate::engine::text::escape;
use serde_json::{Value, json};

const API_VERSION: &str = "apiextensions.k8s.io/v1";
const KIND: &str = "ConversionReview";

/// The answer to a review. All objects are converted, or none: then it says which could not be, and why. An error
/// means that it is no review.
pub fn review(mut sent: Value) -> Result<Value, String> {
    let request = super::request(&mut sent, API_VERSION, KIND)?;
    let uid = text(&request, "/uid").to_string();
    let to = text(&request, "/desiredAPIVersion").to_string();
    let response = match objects(request, &to) {
        Ok(objects) => json!({
            "uid": uid,
            "convertedObjects": objects,
            "result": {"status": "Success"},
        }),
        Err(message) => json!({
            "uid": uid,
            "convertedObjects": [],
            "result": {"status": "Failure", "message": message},
        }),
    };
    Ok(json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}))
}

fn objects(mut request: Value, to: &str) -> Result<Vec<Value>, String> {
    let Some(Value::Array(objects)) = request.get_mut("objects").map(Value::take) else {
        return Err("`request.objects` is no list".to_string());
    };
    let one = |object: Value| {
        let name = format!(
            "{}/{}",
            text(&object, "/metadata/namespace"),
            text(&object, "/metadata/name")
        );
        let converted = convert(object, to);
        converted.map_err(|e| escape(&format!("{}: {e}", name.trim_matches('/'))))
    };
    objects.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_review_is_an_error_and_what_cannot_be_converted_an_answer() {
        for (sent, wanted) in [
            (json!(null), "expected a ConversionReview"),
            (json!([]), "expected a ConversionReview"),
            (
                json!({"apiVersion": API_VERSION, "kind": "Pod"}),
                "expected a ConversionReview",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": KIND}),
                "`request` is missing",
            ),
        ] {
            let error = review(sent).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        for objects in [json!(null), json!({}), json!([1]), json!([{"kind": "Pod"}])] {
            let request =
                json!({"uid": "u", "desiredAPIVersion": "locust.io/v1", "objects": objects});
            let sent = json!({"apiVersion": API_VERSION, "kind": KIND, "request": request});
            let answer = review(sent).unwrap();
            assert_eq!(answer["response"]["uid"], "u");
            assert_eq!(answer["response"]["result"]["status"], "Failure");
        }
    }
}
