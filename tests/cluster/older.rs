//! What an older Kubernetes does not know yet. The tests run against several: `LOTEST_TEST_KUBERNETES`.

use crate::support::Room;
use serde_json::Value;

/// Fields of a pod, and the minor version of Kubernetes from which they are kept.
const FIELDS: &[(&str, u32)] = &[
    ("seLinuxChangePolicy", 32),
    ("supplementalGroupsPolicy", 33),
    ("fileKeyRef", 34),
];

/// Where names of variables may be any text.
pub const ANY_VARIABLE: u32 = 32;

/// Where kubectl says from which namespace it deleted something.
pub const NAMESPACE_OF_DELETED: u32 = 34;

/// The minor version of the API server.
pub async fn minor(room: &Room) -> u32 {
    let version = room.client.apiserver_version().await.unwrap();
    version.minor.parse().unwrap()
}

/// Takes away the fields that this version does not know.
pub fn without_newer(object: &mut Value, minor: u32) {
    match object {
        Value::Object(fields) => {
            let is_newer = |name: &str| {
                FIELDS
                    .iter()
                    .any(|(field, since)| *field == name && minor < *since)
            };
            fields.retain(|name, _| !is_newer(name));
            fields.values_mut().for_each(|v| without_newer(v, minor));
        }
        Value::Array(entries) => entries.iter_mut().for_each(|e| without_newer(e, minor)),
        _ => {}
    }
}
