//! The text of an error.

/// An error with what is behind it, as far as its own text leaves it out.
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
    text
}

/// The API server's own words, without the object they came in.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => format!("{} ({})", status.message, status.code),
        _ => error.to_string(),
    }
}
