//! LocustTest `locust.io/v1`, deprecated: what old manifests say. It is served beside [`v2`](super::v2) and stored as it;
//! [`convert`](super::convert) goes from one to the other. The comments are what `kubectl explain` prints.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::v2::PullPolicy;

/// A distributed Locust load test. Deprecated: write `locust.io/v2`.
#[allow(clippy::duplicated_attributes)] // Two columns of one type look like a mistake to clippy.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "locust.io",
    version = "v1",
    kind = "LocustTest",
    plural = "locusttests",
    singular = "locusttest",
    shortname = "lotest",
    namespaced,
    status = "Value",
    storage = false,
    deprecated = "locust.io/v1 LocustTest is deprecated, migrate to locust.io/v2",
    // The schema comes from `api::crd()`, which adds what a derive cannot say.
    schema = "disabled",
    derive = "PartialEq",
    printcolumn(name = "master_cmd", type_ = "string", json_path = ".spec.masterCommandSeed", description = "Master pod command seed"),
    printcolumn(name = "worker_replica_count", type_ = "integer", json_path = ".spec.workerReplicas", description = "Number of requested worker pods"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", description = "Locust image"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct LocustTestSpec {
    /// What Locust is started with in the master pod. In v2: `master.command`.
    #[schemars(length(min = 1))]
    pub master_command_seed: String,

    /// What Locust is started with in the worker pods. In v2: `worker.command`.
    #[schemars(length(min = 1))]
    pub worker_command_seed: String,

    /// Number of workers, 1 to 500. Default 1. In v2: `worker.replicas`.
    #[serde(default = "one_worker")]
    #[schemars(range(min = 1, max = 500))]
    pub worker_replicas: i32,

    /// Container image of the master and the workers.
    #[schemars(length(min = 1))]
    pub image: String,

    /// When to pull the image: `Always`, `IfNotPresent` or `Never`. Default `IfNotPresent`.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,

    /// Names of Secrets in the test's namespace for pulling the image from a private registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secrets: Option<Vec<String>>,

    /// Name of the ConfigMap with the test files. In v2: `testFiles.configMapRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub config_map: Option<String>,

    /// Name of the ConfigMap with library files. In v2: `testFiles.libConfigMapRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub lib_config_map: Option<String>,

    /// Additional labels of the pods. In v2: `master.labels` and `worker.labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PerRole>,

    /// Additional annotations of the pods. In v2: `master.annotations` and `worker.annotations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<PerRole>,

    /// Which nodes the pods may run on. In v2: `scheduling.affinity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Taints that the pods tolerate. In v2: `scheduling.tolerations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Toleration>>,
}

/// What the pods of each role get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PerRole {
    /// For the master pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<BTreeMap<String, String>>,

    /// For the worker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<BTreeMap<String, String>>,
}

/// Which nodes the pods may run on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// By labels of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
}

/// Node affinity by labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeAffinity {
    /// Labels that a node must have, each with its one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_during_scheduling_ignored_during_execution: Option<BTreeMap<String, String>>,
}

/// A taint that the pods tolerate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Toleration {
    /// Key of the taint.
    pub key: String,

    /// How the value is compared: `Exists` or `Equal`.
    pub operator: Operator,

    /// Effect of the taint: `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: Effect,

    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

// No comments on the variants below: they would turn the enum into a `oneOf`, which is not structural.

/// How a toleration compares the value of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    Exists,
    Equal,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

fn one_worker() -> i32 {
    1
}
