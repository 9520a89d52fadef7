//! What is said to whoever applies a test: legal, but surely not meant. The rules are `rules/admission.yaml`; they warn,
//! and never refuse anything.

use super::path::Scope;
use crate::bundle::Bundle;
use serde_json::Value;

/// The operation of a test that is new.
pub const CREATE: &str = "CREATE";

/// So many warnings are said at once: who has more to read reads none.
const MAX_WARNINGS: usize = 12;

/// A test that is about to be stored.
#[derive(Debug)]
pub struct Request<'a> {
    pub test: &'a Value,
    /// As it is stored; nothing when the test is new.
    pub old: Option<&'a Value>,
    /// As the API server calls it.
    pub operation: &'a str,
}

/// What the rules of a bundle have to say, in their order, each text once. A rule that cannot be evaluated says
/// nothing: it was not made for this test.
pub fn warnings(bundle: &Bundle, request: &Request) -> Vec<String> {
    let scope = Roots {
        test: request.test,
        old: request.old,
        operation: request.operation.into(),
        values: &bundle.values,
    };
    let mut warnings: Vec<String> = Vec::new();
    for rule in &bundle.rules.admission {
        if !matches!(rule.when.holds(&scope), Ok(Some(true))) {
            continue;
        }
        let message = bundle.secrets().mask(&rule.message.render(&scope));
        if !warnings.contains(&message) {
            warnings.push(message);
        }
        if warnings.len() == MAX_WARNINGS {
            break;
        }
    }
    warnings
}

/// What is said of a new test, besides what its templates say of it.
pub fn besides(said: &[String], bundle: &Bundle, test: &Value) -> Vec<String> {
    let request = Request {
        test,
        old: None,
        operation: CREATE,
    };
    let mut warnings = warnings(bundle, &request);
    warnings.retain(|warning| !said.contains(warning));
    warnings
}

struct Roots<'a> {
    test: &'a Value,
    old: Option<&'a Value>,
    operation: Value,
    values: &'a Value,
}

impl Scope for Roots<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "test" => Some(self.test),
            "oldTest" => self.old,
            "operation" => Some(&self.operation),
            "values" => Some(self.values),
            _ => None,
        }
    }
}
