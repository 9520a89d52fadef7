//! The CustomResourceDefinition: names and columns from the derives, the schemas from [`schema`].

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{schema, v1, v2};

const HEADER: &str = "# Made from src/api; do not edit. `make crds` writes it again.\n";

/// The CustomResourceDefinition of LocustTest, as it is installed: YAML.
pub const CRD: &str = include_str!("../../crds/locusttests.locust.io.yaml");

/// The same from the types, as JSON.
pub fn crd() -> Value {
    let mut crd = json!(v2::LocustTest::crd() as CustomResourceDefinition);
    let old = json!(v1::LocustTest::crd() as CustomResourceDefinition);
    let with_schema = |version: &Value, schema: &Value| {
        let mut version = version.clone();
        version["schema"] = json!({ "openAPIV3Schema": schema });
        version
    };
    crd["spec"]["versions"] = json!([
        with_schema(&crd["spec"]["versions"][0], &schema::of_v2()),
        with_schema(&old["spec"]["versions"][0], &schema::of_v1()),
    ]);
    crd["spec"]["conversion"] = conversion();
    crd
}

/// Only requests in v1 need it: v2 is what is stored. The operator adds the certificate that it is called with.
fn conversion() -> Value {
    json!({
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {
                "service": {
                    "namespace": "lotest-system",
                    "name": "lotest-webhook",
                    "path": "/convert",
                    "port": 443,
                },
            },
        },
    })
}

/// The same as YAML, byte for byte equal each time: what [`CRD`] is to be.
pub fn crd_yaml() -> String {
    let yaml = serde_saphyr::to_string(&crd()).unwrap_or_else(|error| format!("# {error}\n"));
    format!("{HEADER}{yaml}")
}
