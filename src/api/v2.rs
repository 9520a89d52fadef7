//! LocustTest `locust.io/v2`, field by field. The comments are what `kubectl explain` prints.
//!
//! A field with a default is not an `Option`: the default is in the schema for the API server and in serde
//! for files, so a rendered file and a test in a cluster start from the same object. A field without one is
//! left out of the JSON when it is absent, never `null`, so that templates can tell.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{embedded::Embedded, rules};

/// A distributed Locust load test: what to run, with how many workers, and where.
#[allow(clippy::duplicated_attributes)] // Two columns of one type look like a mistake to clippy.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "locust.io",
    version = "v2",
    kind = "LocustTest",
    plural = "locusttests",
    singular = "locusttest",
    shortname = "lotest",
    namespaced,
    status = "Value",
    // The schema comes from `api::crd()`, which adds what a derive cannot say.
    schema = "disabled",
    derive = "PartialEq",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Current phase of the test"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".spec.worker.replicas", description = "Requested worker count"),
    printcolumn(name = "Connected", type_ = "integer", json_path = ".status.connectedWorkers", description = "Connected worker count"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", description = "Container image", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::to_json(rules::SPEC)))]
pub struct LocustTestSpec {
    /// Container image of the master and the workers, for example `locustio/locust:2.20.0`.
    #[schemars(length(min = 1))]
    pub image: String,

    /// When to pull the image: `Always`, `IfNotPresent` or `Never`. Default `IfNotPresent`.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,

    /// Secrets in the test's namespace for pulling the image from a private registry, each as `name: SECRET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secrets: Option<Vec<Embedded<core::LocalObjectReference>>>,

    /// The master pod, which coordinates the workers.
    pub master: MasterSpec,

    /// The worker pods, which generate the load.
    pub worker: WorkerSpec,

    /// ConfigMaps that hold the test files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_files: Option<TestFilesConfig>,

    /// Where the pods may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<SchedulingConfig>,

    /// Environment variables and secret files for the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvConfig>,

    /// Additional volumes of any kind; `volumeMounts` says where they are mounted. At most 64. The names
    /// `secret-*`, `locust-lib`, `TEST-master` and `TEST-worker` belong to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), transform = rules::on_volumes)]
    pub volumes: Option<Vec<Embedded<core::Volume>>>,

    /// Where the volumes are mounted, and in which pods. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-validations" = rules::to_json(rules::VOLUME_MOUNTS)))]
    pub volume_mounts: Option<Vec<TargetedVolumeMount>>,

    /// Traces and metrics of the test itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observability: Option<ObservabilityConfig>,

    /// Security contexts of the pods and their containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityConfig>,
}

/// The master pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MasterSpec {
    /// What Locust is started with, for example
    /// `--locustfile /lotest/src/test.py --host https://example.com`. The operator adds its own arguments.
    #[schemars(length(min = 1))]
    pub command: String,

    /// CPU and memory of the master. If any request or limit is set, the block replaces the operator's
    /// defaults as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Embedded<core::ResourceRequirements>>,

    /// Additional labels of the master pod. The operator's own labels win.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,

    /// Additional annotations of the master pod. They win over the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,

    /// Start the test as soon as the workers have connected. Default true.
    #[serde(default = "yes")]
    pub autostart: bool,

    /// Quit when the test has ended. Default: enabled, after 60 seconds.
    #[serde(default)]
    pub autoquit: AutoquitConfig,

    /// Additional command-line arguments, after all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_args: Option<Vec<String>>,
}

/// The worker pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// What Locust is started with, for example `--locustfile /lotest/src/test.py`. The operator adds its
    /// own arguments.
    #[schemars(length(min = 1))]
    pub command: String,

    /// Number of workers, 1 to 500.
    #[schemars(range(min = 1, max = 500))]
    pub replicas: i32,

    /// CPU and memory of each worker. If any request or limit is set, the block replaces the operator's
    /// defaults as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Embedded<core::ResourceRequirements>>,

    /// Additional labels of the worker pods. The operator's own labels win.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,

    /// Additional annotations of the worker pods. They win over the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,

    /// Additional command-line arguments, after all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_args: Option<Vec<String>>,
}

/// What the master does when the test has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoquitConfig {
    /// Quit after the test. Without it the master runs until somebody stops it. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Seconds between the end of the test and the quit; 0 quits at once. Default 60.
    #[serde(default = "autoquit_timeout")]
    // The API server does not enforce int32: without the bound it would store what we cannot read.
    #[schemars(range(min = 0, max = i32::MAX))]
    pub timeout: i32,
}

/// ConfigMaps with the test files, and where they are mounted. A path is taken only when its ConfigMap is
/// set: without `configMapRef` a volume of your own may be mounted at `/lotest/src`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestFilesConfig {
    /// Name of the ConfigMap with the test files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub config_map_ref: Option<String>,

    /// Name of the ConfigMap with library files that the test imports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub lib_config_map_ref: Option<String>,

    /// Directory of the test files. Default `/lotest/src`.
    #[serde(default = "src_mount_path")]
    #[schemars(length(min = 1, max = 512))]
    pub src_mount_path: String,

    /// Directory of the library files. Default `/opt/locust/lib`.
    #[serde(default = "lib_mount_path")]
    #[schemars(length(min = 1, max = 512))]
    pub lib_mount_path: String,
}

/// Where the pods may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingConfig {
    /// Node and pod affinity, as in a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Embedded<core::Affinity>>,

    /// Tolerations, as in a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Embedded<core::Toleration>>>,

    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,

    /// Runtime class of the pods. `""` opts out of the operator's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub runtime_class_name: Option<String>,
}

/// Environment variables and secret files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvConfig {
    /// ConfigMaps whose keys become environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_refs: Option<Vec<ConfigMapEnvSource>>,

    /// Secrets whose keys become environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_refs: Option<Vec<SecretEnvSource>>,

    /// Single environment variables, as in a Pod. They win over those that the operator sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Vec<Embedded<core::EnvVar>>>,

    /// Secrets to mount as files. The same Secret may be mounted at several paths. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-validations" = rules::to_json(rules::SECRET_MOUNTS)))]
    pub secret_mounts: Option<Vec<SecretMount>>,
}

/// A ConfigMap whose keys become environment variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapEnvSource {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Text put before each key, for example `APP_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A Secret whose keys become environment variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretEnvSource {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Text put before each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A Secret mounted as files, in the master and the workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretMount {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Directory of the files.
    #[schemars(length(min = 1, max = 512))]
    pub mount_path: String,

    /// Mount read-only. Default true.
    #[serde(default = "yes")]
    pub read_only: bool,
}

/// Where a volume is mounted, and in which pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetedVolumeMount {
    /// Name of the volume, one of `volumes`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Path in the container.
    #[schemars(length(min = 1, max = 512))]
    pub mount_path: String,

    /// Path in the volume. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,

    /// Mount read-only. Default false.
    #[serde(default)]
    pub read_only: bool,

    /// Pods that get the mount: `master`, `worker` or `both`. Default `both`.
    #[serde(default)]
    pub target: Target,
}

/// Traces and metrics of the test itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservabilityConfig {
    /// Locust's own OpenTelemetry export. It replaces the metrics exporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OpenTelemetryConfig>,
}

/// OpenTelemetry export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::to_json(rules::OPEN_TELEMETRY)))]
pub struct OpenTelemetryConfig {
    /// Export traces and metrics. Default false.
    #[serde(default)]
    pub enabled: bool,

    /// Address of the collector, for example `otel-collector.monitoring:4317`. Required when enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,

    /// Protocol: `grpc` or `http/protobuf`. Default `grpc`.
    #[serde(default)]
    pub protocol: Protocol,

    /// Connect without TLS. Default false.
    #[serde(default)]
    pub insecure: bool,

    /// Additional environment variables for OpenTelemetry, for example `OTEL_SERVICE_NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_env_vars: Option<BTreeMap<String, String>>,
}

/// Security contexts, as in a Pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecurityConfig {
    /// Security context of the pods. It replaces the operator's default, seccomp `RuntimeDefault`, as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<Embedded<core::PodSecurityContext>>,

    /// Security context of the Locust containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_security_context: Option<Embedded<core::SecurityContext>>,
}

// No comments on the variants below: they would turn the enum into a `oneOf`, which is not structural.

/// When to pull the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

/// Which pods get a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Master,
    Worker,
    #[default]
    Both,
}

/// How telemetry travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

impl Default for AutoquitConfig {
    fn default() -> Self {
        Self {
            enabled: yes(),
            timeout: autoquit_timeout(),
        }
    }
}

fn yes() -> bool {
    true
}

fn autoquit_timeout() -> i32 {
    60
}

fn src_mount_path() -> String {
    "/lotest/src".into()
}

fn lib_mount_path() -> String {
    "/opt/locust/lib".into()
}
