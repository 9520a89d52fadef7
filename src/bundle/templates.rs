//! The templates of a bundle: compiled, and checked for what would let text
//! become structure.

use super::blocks;
use super::filters;
use super::interpolations::{check_interpolations, tags};
use super::layer::{Files, Layer};
use super::names;
use super::problem::{Problem, suggestion};
use super::yaml;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, UndefinedBehavior};
use std::collections::BTreeMap;

/// Steps that one template may take; writing 64 bytes is one. The built-in pod with
/// every field set takes some thousand, and an object holds at most some megabytes.
const FUEL: u64 = 2_000_000;

/// A template that makes one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildTemplate {
    /// The file's stem: the child's name in rules.
    pub stem: String,
    /// The template's file.
    pub file: String,
    /// Known at load, so that watches and roles can be.
    pub api_version: String,
    pub kind: String,
}

/// The templates of all layers.
#[derive(Debug, Default)]
pub struct Templates {
    /// Every version that counts, by what messages call it.
    pub files: Files,
    pub children: Vec<ChildTemplate>,
    pub versions: Versions,
    /// Children that a layer removed, by stem, and the file that says so.
    pub removed: BTreeMap<String, String>,
}

impl Templates {
    /// Stems of templates that make no child: a layer removed them, or something is wrong with them.
    pub fn other_stems(&self) -> impl Iterator<Item = &str> {
        let removed = self.removed.keys().map(String::as_str);
        removed.chain(self.versions.all().map(|(name, _)| stem(name)))
    }
}

/// Which file of which layer a template's name means.
#[derive(Debug, Default, Clone)]
pub struct Versions {
    /// Name (`templates/service.yaml`) to the file of the highest layer that has it.
    top: BTreeMap<String, String>,
    /// File to the name of its template.
    names: BTreeMap<String, String>,
    /// File to the one of the same name in the nearest layer below.
    below: BTreeMap<String, String>,
}

impl Versions {
    /// The file that `name` means in the file `from`: in the template of that name the version below it.
    pub fn resolve(&self, name: &str, from: &str) -> Option<&str> {
        let is_own = self.names.get(from).is_some_and(|own| own == name);
        let file = match is_own {
            true => self.below.get(from),
            false => self.top.get(name),
        };
        file.map(String::as_str)
    }

    /// Names of templates with the files that they mean from outside.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.top
            .iter()
            .map(|(name, file)| (name.as_str(), file.as_str()))
    }

    /// Whether a file is a version of this template.
    pub fn is(&self, name: &str, file: &str) -> bool {
        self.names.get(file).is_some_and(|own| own == name)
    }

    /// The version below a file.
    pub fn below(&self, file: &str) -> Option<&str> {
        self.below.get(file).map(String::as_str)
    }
}

/// Compiles the templates of the layers, the lowest first; partials start with `_`.
pub fn compile(layers: &[Layer], problems: &mut Vec<Problem>) -> (Environment<'static>, Templates) {
    let mut templates = gather(layers, problems);
    let mut env = environment(&templates.versions);
    let files = &templates.files;
    for (file, source) in files {
        check_interpolations(file, source, problems);
        if let Err(e) = env.add_template_owned(file.clone(), unindent_super(source)) {
            problems.push(from_error(&e, file, files));
        }
    }
    let mut children = Vec::new();
    for (name, file) in templates.versions.all() {
        let stem = stem(name);
        if stem.starts_with('_') {
            continue;
        }
        match (
            header(&templates, file, "apiVersion:"),
            header(&templates, file, "kind:"),
        ) {
            (Some(api_version), Some(kind)) => children.push(ChildTemplate {
                stem: stem.to_string(),
                file: file.to_string(),
                api_version,
                kind,
            }),
            _ if extends_nothing(&templates, file) => {}
            _ => problems.push(without_kind(file, files.get(file))),
        }
    }
    for (file, source) in files {
        names::check(file, source, &templates, &env, problems);
        check_extends(file, source, &templates, problems);
        blocks::check(file, source, &templates, problems);
    }
    templates.children = children;
    (env, templates)
}

/// What a block held below brings its indentation along: that of a `{{ super() }}` in front of it would come on top for the
/// first line alone. It is moved into the tag, so that every place in the source stays where it is.
fn unindent_super(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.split_inclusive('\n') {
        let tag = line.trim_start_matches([' ', '\t']);
        let inside = tag.strip_prefix("{{").map(str::trim_start);
        if inside.is_some_and(|code| code.starts_with("super()")) {
            out.push_str("{{");
            out.push_str(&" ".repeat(line.len() - tag.len()));
            out.push_str(&tag[2..]);
        } else {
            out.push_str(line);
        }
    }
    out
}

/// Reports a template that extends itself through others.
fn check_extends(file: &str, source: &str, templates: &Templates, problems: &mut Vec<Problem>) {
    let Some((offset, first)) = names::extended(source) else {
        return;
    };
    let mut through = vec![first.clone()];
    let mut next = templates.versions.resolve(&first, file);
    while let Some(above) = next.filter(|_| through.len() <= templates.files.len()) {
        if above == file {
            let message = format!(
                "the template extends itself, through {}",
                through.join(", ")
            );
            let problem = Problem::new(file, message).at_offset(source, offset);
            problems.push(problem.help("let one of them extend nothing, or a partial of its own"));
            return;
        }
        let further = templates.files.get(above).and_then(|s| names::extended(s));
        next = further.and_then(|(_, name)| {
            let next = templates.versions.resolve(&name, above);
            through.push(name);
            next
        });
    }
}

/// The stem of a template's file.
pub(crate) fn stem(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.trim_end_matches(".yaml")
}

/// Whether a template extends one that there is not, which is said elsewhere.
fn extends_nothing(templates: &Templates, file: &str) -> bool {
    let extended = templates.files.get(file).and_then(|s| names::extended(s));
    extended.is_some_and(|(_, name)| templates.versions.resolve(&name, file).is_none())
}

fn without_kind(file: &str, source: Option<&String>) -> Problem {
    let help = match source.is_none_or(|s| s.trim().is_empty()) {
        true => "the file is empty; to remove the child of a layer below, write `remove: true`",
        false => {
            "write both at the start of a line, without interpolation: roles and watches are made from them; a partial's name starts with `_`"
        }
    };
    Problem::new(file, "a child's template names its `apiVersion` and `kind`").help(help)
}

fn gather(layers: &[Layer], problems: &mut Vec<Problem>) -> Templates {
    let mut templates = Templates::default();
    let Templates {
        files,
        versions,
        removed,
        ..
    } = &mut templates;
    for layer in layers {
        let own = layer
            .files
            .iter()
            .filter(|(f, _)| f.starts_with("templates/"));
        for (name, text) in own {
            let file = layer.path(name);
            // Editors of other systems write a mark of the byte order, which YAML ignores.
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            if removes(text) {
                if versions.top.remove(name).is_none() && !removed.contains_key(stem(name)) {
                    let message = format!("no layer below has a template `{name}` to remove");
                    let known = versions.top.keys().map(String::as_str);
                    let help = suggestion(name, known, "templates are");
                    problems.push(Problem::new(&file, message).help(help));
                    continue;
                }
                removed.insert(stem(name).to_string(), file);
                continue;
            }
            removed.remove(stem(name));
            if let Some(below) = versions.top.get(name) {
                // A copy of what is below changes nothing.
                if files.get(below).is_some_and(|known| known == text) {
                    continue;
                }
                versions.below.insert(file.clone(), below.clone());
            }
            versions.top.insert(name.clone(), file.clone());
            versions.names.insert(file.clone(), name.clone());
            files.insert(file, text.to_string());
        }
    }
    templates
}

/// Whether a file says nothing but that the child is removed.
fn removes(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next() == Some("remove: true") && lines.next().is_none()
}

fn environment(versions: &Versions) -> Environment<'static> {
    let mut env = Environment::new();
    let versions = versions.clone();
    env.set_path_join_callback(move |name, from| match versions.resolve(name, from) {
        Some(file) => file.to_string().into(),
        None => name.into(),
    });
    env.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    env.set_auto_escape_callback(|_| AutoEscape::Json);
    env.set_formatter(|out, _, value| write_json(out, value));
    env.set_fuel(Some(FUEL));
    env.set_syntax(lines_of_blocks_vanish());
    env.set_debug(true);
    filters::install(&mut env);
    env
}

/// A line that holds nothing but a block tag leaves no empty line behind.
fn lines_of_blocks_vanish() -> SyntaxConfig {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    syntax.build().unwrap_or_default()
}

/// Every interpolation is one JSON value on one line, which YAML reads back to
/// the same value.
fn write_json(out: &mut Output, value: &Value) -> Result<(), Error> {
    // In a list or a map it would become null, and the field would be gone without a word.
    if let Some(path) = undefined_in(value) {
        let what = match path.as_str() {
            "" => "this value".to_string(),
            path => format!("`{path}` in this value"),
        };
        return Err(Error::new(
            ErrorKind::UndefinedError,
            format!("{what} is undefined"),
        ));
    }
    if value.is_safe() {
        // What a block or a macro made was written by this function already.
        return Ok(out.write_str(value.as_str().unwrap_or_default())?);
    }
    let json = serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    Ok(yaml::write_json(out, &json)?)
}

/// Where in `value` something is undefined: empty for the value itself, else a path such as `[0].name`.
fn undefined_in(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::Undefined => Some(String::new()),
        ValueKind::Seq => value
            .try_iter()
            .ok()?
            .enumerate()
            .find_map(|(n, entry)| Some(format!("[{n}]{}", undefined_in(&entry)?))),
        ValueKind::Map => value.try_iter().ok()?.find_map(|key| {
            let below = undefined_in(&value.get_item(&key).ok()?)?;
            Some(format!(".{key}{below}"))
        }),
        _ => None,
    }
}

/// The value of a top-level `key:` line, in the file or in what it extends.
fn header(templates: &Templates, file: &str, key: &str) -> Option<String> {
    let mut file = file;
    // A chain of `extends` is at most as long as there are files.
    for _ in &templates.files {
        let source = templates.files.get(file)?;
        let value = source
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .map(str::trim)
            .filter(|v| !v.is_empty() && !v.contains("{{"));
        if let Some(value) = value {
            return Some(value.trim_matches('"').to_string());
        }
        let (_, name) = names::extended(source)?;
        file = templates.versions.resolve(&name, file)?;
    }
    None
}

/// An error of minijinja as a [`Problem`] in the template where it happened.
pub fn from_error(error: &Error, file: &str, files: &BTreeMap<String, String>) -> Problem {
    // An error inside an included template is the cause of one at the include.
    let mut innermost = error;
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        if let Some(e) = e.downcast_ref::<Error>() {
            innermost = e;
        }
        cause = e.source();
    }
    let file = innermost.name().unwrap_or(file);
    let problem = Problem::new(file, message(innermost));
    let mut problem = match (files.get(file), innermost.range(), innermost.line()) {
        (Some(source), Some(range), _) => problem.at_offset(source, range.start),
        (Some(source), None, Some(line)) => problem.at_offset(source, tag_on(source, line)),
        _ => problem,
    };
    problem.help = help(innermost);
    problem
}

fn message(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            format!(
                "the template takes more than {FUEL} steps: does a loop not end, or a text grow?"
            )
        }
        // The detail says all that the kind does.
        (ErrorKind::UndefinedError | ErrorKind::TemplateNotFound, Some(detail)) => {
            detail.to_string()
        }
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

fn help(error: &Error) -> Option<String> {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::UndefinedError => Some(
            "correct the name, test it with `is defined`, or give it a value with `| default(...)`"
                .into(),
        ),
        ErrorKind::SyntaxError if detail.starts_with("unknown statement end") => Some(
            "something inside it is not closed: each `if`, `for`, `block` and `macro` has its end"
                .into(),
        ),
        _ => None,
    }
}

/// Where the tag begins that is on this line, or that goes on over it.
fn tag_on(source: &str, line: usize) -> usize {
    let lines = source.split_inclusive('\n');
    let start: usize = lines.clone().take(line - 1).map(str::len).sum();
    let end = start + lines.clone().nth(line - 1).map_or(0, str::len);
    let mut on_line = tags(source).filter(|t| !t.kind.is_empty() && t.start < end && t.end > start);
    on_line.next().map_or(start, |tag| tag.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn super_has_the_indentation_of_what_it_holds() {
        let source = "a:\n    {{ super() }}\n  - {{ b }}\n";
        let unindented = unindent_super(source);
        assert_eq!(unindented, "a:\n{{     super() }}\n  - {{ b }}\n");
        assert_eq!(unindented.len(), source.len());
        assert_eq!(unindent_super("{{super()}}"), "{{super()}}");
    }
}
