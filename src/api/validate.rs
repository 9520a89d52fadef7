//! The rules of [`rules`] in Rust: the same verdict and message as the API server's, with the exact path.
//!
//! The operator asks here before it renders: a test may be older than the rules, or the CRD in the cluster
//! older than the operator.

use super::{
    FieldError, check,
    rules::{self, Rule},
    schema,
    v2::{LocustTest, LocustTestSpec, SecretMount, Target, TargetedVolumeMount, TestFilesConfig},
};

/// Everything that is wrong with `test`, in the order of its fields; nothing when it may run.
///
/// Rules that the API server applies at creation only are applied here always: a test with such a name
/// has never been able to run.
pub fn validate(test: &LocustTest) -> Vec<FieldError> {
    let mut findings = match serde_json::to_value(&test.spec) {
        Ok(spec) => check::against(schema::spec(), &spec, "spec", check::Unknown::Allow),
        Err(error) => vec![FieldError::new("spec", error.to_string())],
    };
    names(test, &mut findings);
    volumes(&test.spec, &mut findings);
    mounts(&test.spec, &mut findings);
    reserved_paths(&test.spec, &mut findings);
    telemetry(&test.spec, &mut findings);
    findings
}

impl Rule {
    fn at(&self, path: impl Into<String>) -> FieldError {
        FieldError::new(path, self.message)
    }
}

fn names(test: &LocustTest, findings: &mut Vec<FieldError>) {
    let name = test.metadata.name.as_deref().unwrap_or_default();
    if name.chars().count() > 56 {
        findings.push(rules::NAME_LENGTH.at("metadata.name"));
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        findings.push(rules::NAME_SERVICE.at("metadata.name"));
    }
    let base = name.replace('.', "-");
    for (i, volume) in test.spec.volumes.iter().flatten().enumerate() {
        let of_job = volume.str("name").strip_prefix(&base);
        if matches!(of_job, Some("-master" | "-worker")) {
            findings.push(rules::VOLUME_OF_JOB.at(format!("spec.volumes[{i}].name")));
        }
    }
}

fn volumes(spec: &LocustTestSpec, findings: &mut Vec<FieldError>) {
    let names: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .map(|volume| volume.str("name"))
        .collect();
    for (i, name) in names.iter().enumerate() {
        let path = format!("spec.volumes[{i}].name");
        if name.starts_with("secret-") {
            findings.push(rules::VOLUME_SECRET.at(&path));
        }
        if *name == "locust-lib" {
            findings.push(rules::VOLUME_LIB.at(&path));
        }
        if names[..i].contains(name) {
            findings.push(rules::VOLUME_UNIQUE.at(&path));
        }
    }
    for (i, mount) in spec.volume_mounts.iter().flatten().enumerate() {
        if !names.contains(&mount.name.as_str()) {
            findings.push(rules::MOUNT_DECLARED.at(format!("spec.volumeMounts[{i}].name")));
        }
    }
}

/// Two mounts at one path in one pod: Kubernetes refuses the pod.
fn mounts(spec: &LocustTestSpec, findings: &mut Vec<FieldError>) {
    let secrets = secret_mounts(spec);
    for (i, mount) in secrets.iter().enumerate() {
        if secrets[..i]
            .iter()
            .any(|other| dir(&other.mount_path) == dir(&mount.mount_path))
        {
            findings.push(rules::SECRET_MOUNT_UNIQUE.at(secret_path(i)));
        }
    }
    let mounts = volume_mounts(spec);
    for (i, mount) in mounts.iter().enumerate() {
        let same = |other: &TargetedVolumeMount| {
            other.mount_path == mount.mount_path && meet(other.target, mount.target)
        };
        if mounts[..i].iter().any(same) {
            findings.push(rules::MOUNT_UNIQUE.at(mount_path(i)));
        }
        if secrets
            .iter()
            .any(|secret| secret.mount_path == mount.mount_path)
        {
            findings.push(rules::MOUNT_ON_SECRET.at(mount_path(i)));
        }
    }
}

/// The test files and libraries have their directories for themselves, if they are mounted at all.
fn reserved_paths(spec: &LocustTestSpec, findings: &mut Vec<FieldError>) {
    let Some(files) = &spec.test_files else {
        return;
    };
    let (src, lib) = mounted(files);
    for (dir, on_mount, on_secret) in [
        (src, &rules::MOUNT_ON_SRC, &rules::SECRET_ON_SRC),
        (lib, &rules::MOUNT_ON_LIB, &rules::SECRET_ON_LIB),
    ] {
        let Some(dir) = dir else { continue };
        for (i, mount) in volume_mounts(spec).iter().enumerate() {
            if overlap(&mount.mount_path, dir) {
                findings.push(on_mount.at(mount_path(i)));
            }
        }
        for (i, mount) in secret_mounts(spec).iter().enumerate() {
            if overlap(&mount.mount_path, dir) {
                findings.push(on_secret.at(secret_path(i)));
            }
        }
    }
    if src.is_some() && src == lib {
        findings.push(rules::TEST_FILES_APART.at("spec.testFiles.libMountPath"));
    }
}

fn telemetry(spec: &LocustTestSpec, findings: &mut Vec<FieldError>) {
    let otel = spec
        .observability
        .as_ref()
        .and_then(|observability| observability.open_telemetry.as_ref());
    let missing =
        |endpoint: &Option<String>| endpoint.as_deref().unwrap_or_default().trim().is_empty();
    if otel.is_some_and(|otel| otel.enabled && missing(&otel.endpoint)) {
        findings.push(rules::OTEL_ENDPOINT.at("spec.observability.openTelemetry.endpoint"));
    }
}

/// The mount paths of the test files and of the libraries, each when its ConfigMap is set.
fn mounted(files: &TestFilesConfig) -> (Option<&str>, Option<&str>) {
    let set = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    (
        set(&files.config_map_ref).then_some(files.src_mount_path.as_str()),
        set(&files.lib_config_map_ref).then_some(files.lib_mount_path.as_str()),
    )
}

fn meet(a: Target, b: Target) -> bool {
    a == b || a == Target::Both || b == Target::Both
}

fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (dir(a), dir(b));
    a.starts_with(&b) || b.starts_with(&a)
}

/// With a `/` at its end, so that `/a` is a prefix of `/a/b` and not of `/ab`.
fn dir(path: &str) -> String {
    if path.ends_with('/') {
        path.to_owned()
    } else {
        format!("{path}/")
    }
}

fn volume_mounts(spec: &LocustTestSpec) -> &[TargetedVolumeMount] {
    spec.volume_mounts.as_deref().unwrap_or_default()
}

fn secret_mounts(spec: &LocustTestSpec) -> &[SecretMount] {
    spec.env
        .as_ref()
        .and_then(|env| env.secret_mounts.as_deref())
        .unwrap_or_default()
}

fn mount_path(i: usize) -> String {
    format!("spec.volumeMounts[{i}].mountPath")
}

fn secret_path(i: usize) -> String {
    format!("spec.env.secretMounts[{i}].mountPath")
}
