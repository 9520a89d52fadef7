//! Credentials among the values: those of the paths that types.yaml lists under `secret`. Whatever is said to somebody (a
//! message, an excerpt, an event, a status, a log) shows a mask instead of them.

use super::problem::{Problem, nearest};
use super::tree::Node;
use super::types::Types;
use super::values::below;
use crate::engine::text::escape;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What is shown instead.
pub const MASK: &str = "***";

/// Parts of a credential that are shorter say nothing.
const PART: usize = 6;

/// Shorter ones are masked only where they are a word of their own: "a" is in most messages.
const SHORT: usize = 4;

/// In what is said of a cluster, credentials that are shorter are masked only where they stand alone: there are no others
/// to tell them from the words around them.
const TOLD: usize = 6;

#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The longest first, in every way in which they may be written.
    texts: Vec<String>,
    /// The same for what comes from a cluster, where no credential is written over several lines.
    told: Vec<String>,
    /// The credentials themselves.
    alone: BTreeSet<String>,
    /// Lines of files, by what messages call them, that hold one.
    lines: BTreeSet<(String, usize)>,
}

impl Secrets {
    pub fn add(&mut self, secret: &str) {
        let mut texts = vec![secret.trim()];
        // A long text is written over several lines.
        let parts = secret.split_whitespace();
        texts.extend(parts.filter(|part| part.chars().count() >= PART));
        for text in texts {
            let json = serde_json::Value::from(text).to_string();
            let json = json[1..json.len() - 1].to_string();
            for written in [text.to_string(), json, text.replace('\'', "''")] {
                if !written.is_empty() && !self.texts.contains(&written) {
                    self.texts.push(written);
                }
            }
        }
        self.texts.sort_by_key(|t| std::cmp::Reverse(t.len()));
        self.add_told(secret);
    }

    fn add_told(&mut self, secret: &str) {
        let is_told = |text: &&str| text.chars().count() >= TOLD;
        // Of a credential of several words, those that are no mere words.
        let is_word = |part: &&str| part.chars().all(|c| c.is_alphabetic() || c == '.');
        let parts = secret.split_whitespace().filter(|part| !is_word(part));
        for text in [secret, secret.trim()]
            .into_iter()
            .chain(parts)
            .filter(is_told)
        {
            for written in ways(text) {
                if !self.told.contains(&written) {
                    self.told.push(written);
                }
            }
        }
        self.told.sort_by_key(|t| std::cmp::Reverse(t.len()));
        let alone = secret.trim();
        if !alone.is_empty() {
            self.alone.insert(alone.to_string());
        }
    }

    /// Notes the credentials in a file of values. One under a key that nobody knows may be meant for one that is
    /// written almost like it.
    pub fn add_file(
        &mut self,
        file: &str,
        values: &Node,
        types: &Types,
        is_known: impl Fn(&str) -> bool,
    ) {
        let mut lines = Vec::new();
        let is_secret =
            |path: &str| types.is_secret(path) || !is_known(path) && is_like(path, types);
        self.walk(values, "", false, &is_secret, &mut lines);
        lines.sort_by_key(|(line, _)| *line);
        for (n, (line, is_secret)) in lines.iter().enumerate() {
            if *is_secret {
                // It may go on over the lines below.
                let next = lines[n..].iter().find(|(next, _)| next > line);
                let end = next.map_or(line + 1000, |(next, _)| *next);
                let file = file.to_string();
                self.lines.extend((*line..end).map(|l| (file.clone(), l)));
            }
        }
    }

    fn walk(
        &mut self,
        node: &Node,
        path: &str,
        inside: bool,
        is_secret: &impl Fn(&str) -> bool,
        lines: &mut Vec<(usize, bool)>,
    ) {
        for entry in node.entries() {
            let path = below(path, &entry.key);
            let inside = inside || is_secret(&path);
            lines.push((entry.at.line, inside));
            self.walk(&entry.value, &path, inside, is_secret, lines);
        }
        for item in node.items() {
            lines.push((item.at.line, inside));
            self.walk(item, path, inside, is_secret, lines);
        }
        if inside && node.entries().is_empty() && node.items().is_empty() && !node.is_null() {
            match node.as_str() {
                Some(text) => self.add(text),
                // As it is written, a number or a boolean is on a line that is not shown.
                None => self.add(&node.to_value().to_string()),
            }
        }
    }

    /// A file of values that cannot be read: who knows what is in which of its lines.
    pub fn unread(problem: &mut Problem, source: &str, types: &Types) {
        let before: Vec<&str> = source.lines().take(problem.line).collect();
        let before = before.join("\n").to_lowercase();
        if types
            .secret_keys()
            .any(|key| before.contains(&key.to_lowercase()))
        {
            problem.hide_excerpt();
        }
    }

    pub fn mask(&self, text: &str) -> String {
        let mut shown = text.to_string();
        for secret in &self.texts {
            shown = replace(&shown, secret);
        }
        shown
    }

    /// What a cluster says (an answer of the API server, a field of an object) without the credentials that were given to
    /// it; borrowed when there were none in it.
    pub fn mask_told<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.alone.contains(text.trim()) {
            return Cow::Owned(MASK.to_string());
        }
        let mut shown = Cow::from(text);
        for secret in &self.told {
            if shown.contains(secret.as_str()) {
                shown = shown.replace(secret, MASK).into();
            }
        }
        shown
    }

    /// The same for every text in a value.
    pub fn mask_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.mask_told(text) {
                    *text = masked;
                }
            }
            Value::Array(all) => all.iter_mut().for_each(|v| self.mask_value(v)),
            Value::Object(all) => all.values_mut().for_each(|v| self.mask_value(v)),
            _ => {}
        }
    }

    pub fn mask_problem(&self, problem: &mut Problem) {
        if self.lines.contains(&(problem.file.clone(), problem.line)) {
            problem.hide_excerpt();
        }
        if !self.texts.is_empty() {
            problem.change_texts(|text| self.mask(text));
        }
    }

    pub fn mask_problems(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        problems.iter_mut().for_each(|p| self.mask_problem(p));
        problems
    }
}

/// Whether the last key of a path is almost that of a credential.
fn is_like(path: &str, types: &Types) -> bool {
    let key = path.rsplit('.').next().unwrap_or(path);
    let lower = key.to_lowercase();
    let part = |secret: &str| {
        let secret = secret.to_lowercase();
        lower.len() >= SHORT && (secret.contains(&lower) || lower.contains(&secret))
    };
    nearest(key, types.secret_keys()).is_some() || types.secret_keys().any(part)
}

/// The ways in which an answer quotes a text: as it is, in JSON (of a browser, too), in JSON in JSON, in a log.
fn ways(text: &str) -> Vec<String> {
    let json = |text: &str| {
        let json = Value::from(text).to_string();
        json[1..json.len() - 1].to_string()
    };
    let mut html = json(text);
    for c in ['<', '>', '&'] {
        html = html.replace(c, &format!("\\u{:04x}", c as u32));
    }
    let once = json(text);
    let twice = json(&once);
    vec![text.to_string(), once, twice, html, escape(text)]
}

fn replace(text: &str, secret: &str) -> String {
    let is_short = secret.chars().count() < SHORT;
    let in_word = |c: Option<char>| is_short && c.is_some_and(char::is_alphanumeric);
    let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
    for (at, _) in text.match_indices(secret) {
        let end = at + secret.len();
        let (before, after) = (text[..at].chars().next_back(), text[end..].chars().next());
        if !in_word(before) && !in_word(after) {
            shown.push_str(&text[from..at]);
            shown.push_str(MASK);
            from = end;
        }
    }
    shown + &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_says_is_masked_and_its_words_are_left() {
        let mut secrets = Secrets::default();
        let jaas = r#"some.LoginModule required username="me" password="<y\z>";"#;
        for secret in [jaas, "hunter", "abc"] {
            secrets.add(secret);
        }
        let quoted = Value::from(jaas).to_string();
        for (text, shown) in [
            (jaas, "***"),
            ("abc", "***"),
            (" abc\n", "***"),
            ("abc is short: abcd", "abc is short: abcd"),
            ("x: required value", "x: required value"),
            ("is hunter or hunter2", "is *** or ***2"),
            (
                &format!("Invalid value: {jaas:?}: no"),
                "Invalid value: \"***\": no",
            ),
            (
                &format!("Invalid value: {quoted}"),
                "Invalid value: \"***\"",
            ),
            (&Value::from(quoted.as_str()).to_string(), r#""\"***\"""#),
            (r#"password=\"\u003cy\\z\u003e\";"#, "***"),
            (
                "some.LoginModule is not found",
                "some.LoginModule is not found",
            ),
        ] {
            assert_eq!(secrets.mask_told(text), shown, "{text}");
        }
        let mut value = serde_json::json!({"a": ["hunter", 1], "b": {"c": "x hunter"}});
        secrets.mask_value(&mut value);
        assert_eq!(
            value,
            serde_json::json!({"a": ["***", 1], "b": {"c": "x ***"}})
        );
        assert_eq!(Secrets::default().mask_told(""), "");
    }

    #[test]
    fn a_credential_is_masked_however_it_is_written() {
        let mut secrets = Secrets::default();
        secrets.add("login required name='me' password=\"hun'ter2\";");
        secrets.add("ab");
        for text in [
            "login required name='me' password=\"hun'ter2\";",
            r#"x: "login required name='me' password=\"hun'ter2\";""#,
            "x: 'login required name=''me'' password=\"hun''ter2\";'",
            "x: >-\n  login required name='me'\n  password=\"hun'ter2\";",
        ] {
            let masked = secrets.mask(text);
            assert!(
                !masked.contains("ter2") && masked.contains(MASK),
                "{masked}"
            );
        }
        assert_eq!(secrets.mask("ab cab (ab)"), "*** cab (***)");
    }
}
