//! The CustomResourceDefinition: names and columns from the derive, the schema from [`schema`].

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{schema, v2};

const HEADER: &str =
    "# Made by `lotest crd` from src/api; do not edit. `make crds` writes it again.\n";

/// The CustomResourceDefinition of LocustTest, as JSON.
pub fn crd() -> Value {
    let mut crd = json!(v2::LocustTest::crd() as CustomResourceDefinition);
    crd["spec"]["versions"][0]["schema"] = json!({ "openAPIV3Schema": schema::locust_test() });
    crd
}

/// The same as YAML, byte for byte equal each time: the content of `crds/locusttests.locust.io.yaml`.
pub fn crd_yaml() -> String {
    let yaml = serde_saphyr::to_string(&crd()).unwrap_or_else(|error| format!("# {error}\n"));
    format!("{HEADER}{yaml}")
}
