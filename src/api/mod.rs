//! The LocustTest API: the types, what the API server is told about them, and what makes a test valid.
//!
//! Everything here is pure: JSON goes in, types or findings come out. The rooms, in reading order:
//!
//! - [`v2`]: the object as users write it, with its defaults.
//! - [`v1`]: the deprecated form of it, and [`convert`](mod@convert) from one to the other and back.
//! - [`embedded`]: how Kubernetes' own types sit inside it without being rewritten.
//! - [`rules`]: the rules across fields, each as CEL with the message a user sees.
//! - [`validate`](validate()): the same rules in Rust, for files and for what the operator reads.
//! - [`schema`] and [`crd`](crd()): the structural schema and the CustomResourceDefinition around it.
//! - [`check`]: any JSON against that schema; what makes reading a file as strict as the API server.
//! - [`read`]: JSON to [`v2::LocustTest`], leniently for the operator, strictly for files.

pub mod check;
pub mod convert;
mod crd;
pub mod embedded;
pub mod read;
pub mod rules;
pub mod schema;
pub mod v1;
pub mod v2;
mod validate;

pub use crd::{CRD, crd, crd_yaml};
pub use validate::validate;

/// Something wrong with one field, in words that fit `path: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Where, as the API server writes it: `spec.volumeMounts[0].name`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl FieldError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}
