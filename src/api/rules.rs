//! The rules across fields: each once as CEL, for the API server, with the message that both it and
//! [`validate`](super::validate()) show. Bounds of a single field are in its schema and not here.
//!
//! The bounds on lengths and counts next to these rules in [`v2`](super::v2) are what lets the API server
//! accept the CEL: it refuses a CRD whose rules could cost too much in the worst case.

use schemars::Schema;
use serde_json::{Value, json};

/// One rule. `cel` holds on a valid object; `field` is relative to the schema that carries the rule.
#[derive(Debug)]
pub struct Rule {
    pub cel: &'static str,
    pub message: &'static str,
    pub field: Option<&'static str>,
    /// What the API server writes before the message. By default that is `Invalid value: "object"`, which is never what
    /// the user wrote.
    pub reason: &'static str,
    /// Also judge objects that exist already? Not rules about names: nobody can change the name of an
    /// old test, which must still be able to lose a finalizer.
    pub creation_only: bool,
}

/// A path with a `/` at its end, so that `/a` is a prefix of `/a/b` and not of `/ab`.
macro_rules! dir {
    ($path:literal) => {
        concat!(
            "(",
            $path,
            ".endsWith('/') ? ",
            $path,
            " : ",
            $path,
            " + '/')"
        )
    };
}

/// Equal, or one inside the other.
macro_rules! overlap {
    ($a:literal, $b:literal) => {
        concat!(
            "(",
            dir!($a),
            ".startsWith(",
            dir!($b),
            ") || ",
            dir!($b),
            ".startsWith(",
            dir!($a),
            "))"
        )
    };
}

/// No entry of `$list` overlaps the mount path of a ConfigMap, which counts only when `$config_map` is set.
macro_rules! keeps_clear {
    ($has:literal, $list:literal, $config_map:literal, $path:literal) => {
        concat!(
            $has,
            " || !has(self.testFiles) || !has(",
            $config_map,
            ") || ",
            $config_map,
            " == '' || ",
            $list,
            ".all(m, !",
            overlap!("m.mountPath", $path),
            ")"
        )
    };
}

const FORBIDDEN: &str = "FieldValueForbidden";
const REQUIRED: &str = "FieldValueRequired";

const fn rule(field: Option<&'static str>, cel: &'static str, message: &'static str) -> Rule {
    Rule {
        cel,
        message,
        field,
        reason: FORBIDDEN,
        creation_only: false,
    }
}

pub const NAME_LENGTH: Rule = Rule {
    cel: "size(self.metadata.name) <= 56",
    message: "must be at most 56 characters: names of the form NAME-master and NAME-worker are made of it; choose a shorter name",
    field: Some(".metadata.name"),
    reason: FORBIDDEN,
    creation_only: true,
};

/// Dots become dashes and the suffix ends in a letter: only the first character can go wrong.
pub const NAME_SERVICE: Rule = Rule {
    cel: "self.metadata.name.matches('^[a-z]')",
    message: "must begin with a lower-case letter: a Service is named after it; write test-NAME, for example",
    field: Some(".metadata.name"),
    reason: FORBIDDEN,
    creation_only: true,
};

pub const VOLUME_OF_JOB: Rule = Rule {
    cel: "!has(self.spec.volumes) || [self.metadata.name.replace('.', '-')].all(n, self.spec.volumes.all(v, v.name != n + '-master' && v.name != n + '-worker'))",
    message: "the volume names NAME-master and NAME-worker belong to the operator; give the volume another name",
    field: Some(".spec.volumes"),
    reason: FORBIDDEN,
    creation_only: true,
};

pub const VOLUME_SECRET: Rule = rule(
    Some(".name"),
    "!self.name.startsWith('secret-')",
    "volume names that begin with secret- belong to the operator; give the volume another name",
);

pub const VOLUME_LIB: Rule = rule(
    Some(".name"),
    "self.name != 'locust-lib'",
    "the volume name locust-lib belongs to the operator; give the volume another name",
);

pub const VOLUME_UNIQUE: Rule = rule(
    None,
    "self.all(v, self.exists_one(w, w.name == v.name))",
    "two volumes have the same name; rename one of them",
);

pub const MOUNT_DECLARED: Rule = rule(
    Some(".volumeMounts"),
    "!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))",
    "a mount names a volume that spec.volumes does not declare; declare the volume or correct the name",
);

pub const MOUNT_UNIQUE: Rule = rule(
    None,
    "self.all(m, self.exists_one(n, n.mountPath == m.mountPath && (n.target == m.target || n.target == 'both' || m.target == 'both')))",
    "two mounts in the same pod have the same mountPath; choose another path for one of them, or different targets",
);

pub const SECRET_MOUNT_UNIQUE: Rule = rule(
    None,
    concat!(
        "[self.map(m, ",
        dir!("m.mountPath"),
        ")].all(paths, paths.all(p, paths.exists_one(q, q == p)))"
    ),
    "two secretMounts have the same mountPath; remove one or choose another path",
);

pub const MOUNT_ON_SECRET: Rule = rule(
    Some(".volumeMounts"),
    "!has(self.volumeMounts) || !has(self.env) || !has(self.env.secretMounts) || self.volumeMounts.all(m, self.env.secretMounts.all(s, s.mountPath != m.mountPath))",
    "a volumeMount has the mountPath of a secretMount; choose another path for one of them",
);

pub const MOUNT_ON_SRC: Rule = rule(
    Some(".volumeMounts"),
    keeps_clear!(
        "!has(self.volumeMounts)",
        "self.volumeMounts",
        "self.testFiles.configMapRef",
        "self.testFiles.srcMountPath"
    ),
    "a mountPath overlaps testFiles.srcMountPath, where the test files are; choose a path neither inside nor above it",
);

pub const MOUNT_ON_LIB: Rule = rule(
    Some(".volumeMounts"),
    keeps_clear!(
        "!has(self.volumeMounts)",
        "self.volumeMounts",
        "self.testFiles.libConfigMapRef",
        "self.testFiles.libMountPath"
    ),
    "a mountPath overlaps testFiles.libMountPath, where the library files are; choose a path neither inside nor above it",
);

pub const SECRET_ON_SRC: Rule = rule(
    Some(".env.secretMounts"),
    keeps_clear!(
        "!has(self.env) || !has(self.env.secretMounts)",
        "self.env.secretMounts",
        "self.testFiles.configMapRef",
        "self.testFiles.srcMountPath"
    ),
    MOUNT_ON_SRC.message,
);

pub const SECRET_ON_LIB: Rule = rule(
    Some(".env.secretMounts"),
    keeps_clear!(
        "!has(self.env) || !has(self.env.secretMounts)",
        "self.env.secretMounts",
        "self.testFiles.libConfigMapRef",
        "self.testFiles.libMountPath"
    ),
    MOUNT_ON_LIB.message,
);

pub const TEST_FILES_APART: Rule = rule(
    Some(".testFiles.libMountPath"),
    "!has(self.testFiles) || !has(self.testFiles.configMapRef) || self.testFiles.configMapRef == '' || !has(self.testFiles.libConfigMapRef) || self.testFiles.libConfigMapRef == '' || self.testFiles.srcMountPath != self.testFiles.libMountPath",
    "libMountPath is the same as srcMountPath; choose another path for one of them",
);

pub const OTEL_ENDPOINT: Rule = Rule {
    field: Some(".endpoint"),
    cel: "!self.enabled || (has(self.endpoint) && self.endpoint.trim() != '')",
    message: "required when OpenTelemetry is enabled; write the collector's address, for example otel-collector:4317",
    reason: REQUIRED,
    creation_only: false,
};

/// On the object as a whole: the only place that sees its name.
pub const ROOT: &[&Rule] = &[&NAME_LENGTH, &NAME_SERVICE, &VOLUME_OF_JOB];
/// The same for v1, which has no volumes.
pub const ROOT_V1: &[&Rule] = &[&NAME_LENGTH, &NAME_SERVICE];
pub const SPEC: &[&Rule] = &[
    &MOUNT_DECLARED,
    &MOUNT_ON_SRC,
    &MOUNT_ON_LIB,
    &MOUNT_ON_SECRET,
    &SECRET_ON_SRC,
    &SECRET_ON_LIB,
    &TEST_FILES_APART,
];
pub const VOLUMES: &[&Rule] = &[&VOLUME_UNIQUE];
pub const VOLUME: &[&Rule] = &[&VOLUME_SECRET, &VOLUME_LIB];
pub const VOLUME_MOUNTS: &[&Rule] = &[&MOUNT_UNIQUE];
pub const SECRET_MOUNTS: &[&Rule] = &[&SECRET_MOUNT_UNIQUE];
pub const OPEN_TELEMETRY: &[&Rule] = &[&OTEL_ENDPOINT];

/// The value of `x-kubernetes-validations`.
pub fn to_json(rules: &[&Rule]) -> Value {
    rules.iter().map(|rule| rule.to_json()).collect()
}

impl Rule {
    fn to_json(&self) -> Value {
        let mut json = json!({ "rule": self.cel, "message": self.message, "reason": self.reason });
        if let Some(field) = self.field {
            json["fieldPath"] = field.into();
        }
        if self.creation_only {
            json["rule"] = format!("oldSelf.hasValue() || ({})", self.cel).into();
            json["optionalOldSelf"] = true.into();
        }
        json
    }
}

/// Puts the rules about volumes on `spec.volumes` and on its items, and bounds their names as Kubernetes does.
pub fn on_volumes(schema: &mut Schema) {
    schema.insert("x-kubernetes-validations".into(), to_json(VOLUMES));
    if let Some(item) = schema.get_mut("items") {
        item["x-kubernetes-validations"] = to_json(VOLUME);
        item["properties"]["name"]["minLength"] = 1.into();
        item["properties"]["name"]["maxLength"] = 63.into();
    }
}
