//! Regular expressions of rules. A compiled one takes tens of KiB, and most of them are about trouble that never comes.

use regex::{Error, Regex};
use std::sync::OnceLock;

/// A regular expression that is compiled when it is first asked.
#[derive(Debug, Clone)]
pub struct Pattern {
    written: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// The error is that of `written`: what is made here compiles.
    pub fn new(written: &str) -> Result<Pattern, Error> {
        Regex::new(written)?;
        Ok(Pattern {
            written: written.into(),
            compiled: OnceLock::new(),
        })
    }

    pub fn get(&self) -> Option<&Regex> {
        let compile = || Regex::new(&self.written).ok();
        self.compiled.get_or_init(compile).as_ref()
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.get().is_some_and(|regex| regex.is_match(text))
    }
}
