//! The text of an error.

use crate::engine::text::escape;

/// An error with what is behind it, as far as its own text leaves it out. It may quote an object, so it is escaped.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = said(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = said(error);
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    escape(&text)
}

/// The API server's own words, without the object they came in.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => format!("{} ({})", status.message, status.code),
        _ => error.to_string(),
    }
}
