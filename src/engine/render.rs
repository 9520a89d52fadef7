//! From a test to its children: each template is rendered, read back, checked,
//! and given what the engine owns.

use super::fields::{self, Shape, What, Wrong};
use super::place::{Field, place};
use super::read_back::read_back;
use crate::bundle::Bundle;
use crate::bundle::filters::Warnings;
use crate::bundle::problem::Problem;
use crate::bundle::templates::{ChildTemplate, from_error};
use minijinja::context;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The labels and annotations that the engine sets on every child.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "lotest");
pub const CHILD_LABEL: &str = "locust.io/child";
pub const BUNDLE_ANNOTATION: &str = "locust.io/bundle";

/// An object that the bundle makes for a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Its template's stem, by which rules know it.
    pub stem: String,
    pub object: Value,
}

impl Child {
    pub fn api_version(&self) -> &str {
        text(&self.object, "/apiVersion")
    }

    pub fn kind(&self) -> &str {
        text(&self.object, "/kind")
    }

    pub fn name(&self) -> &str {
        text(&self.object, "/metadata/name")
    }

    /// Whether its controller makes pods of it.
    pub fn runs_pods(&self) -> bool {
        self.object.pointer("/spec/template").is_some()
    }
}

/// The string at a JSON pointer; empty when there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The group of an `apiVersion`; the core group is empty.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The value at a JSON pointer of plain names. [`Value::pointer`] makes two strings of each name; this is asked many
/// times in every verdict.
pub fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut names = pointer.split('/').skip(1);
    names.try_fold(object, |at, name| at.get(name))
}

/// What a test needs, and what the templates had to say about it.
#[derive(Debug, Default, PartialEq)]
pub struct Rendered {
    pub children: Vec<Child>,
    pub warnings: Vec<String>,
}

/// Renders the children of `test` (a v2 object with its defaults), in the order in
/// which they are made: what runs pods comes last, then by name.
pub fn render(bundle: &Bundle, test: &Value) -> Result<Rendered, Box<Problem>> {
    let secrets = bundle.secrets();
    let mut rendered = render_all(bundle, test).map_err(|mut problem| {
        secrets.mask_problem(&mut problem);
        problem
    })?;
    for warning in &mut rendered.warnings {
        *warning = secrets.mask(warning);
    }
    Ok(rendered)
}

fn render_all(bundle: &Bundle, test: &Value) -> Result<Rendered, Box<Problem>> {
    let mut rendered = Rendered::default();
    let context = context! {
        test => minijinja::Value::from(Serde(test)),
        values => bundle.template_values.clone(),
    };
    for template in bundle.children() {
        let (text, warnings) = run(bundle, template, &context)?;
        // Templates that share a partial say the same about the test.
        for warning in warnings {
            if !rendered.warnings.contains(&warning) {
                rendered.warnings.push(warning);
            }
        }
        let mut object = read_back(&template.file, &text)
            .map_err(|problem| invalid_yaml(template, &text, &problem))?;
        drop_nulls(&mut object);
        if object.is_null() {
            continue;
        }
        let object = complete(bundle, template, test, object)?;
        rendered.children.push(Child {
            stem: template.stem.clone(),
            object,
        });
    }
    if let Some(problem) = same_object(&rendered.children, bundle) {
        return Err(problem);
    }
    rendered.children.sort_by_key(Child::runs_pods);
    Ok(rendered)
}

/// To Kubernetes a field that is null is one that is not there. A template may so write the name of a list or map whose
/// entries are all optional.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn run(
    bundle: &Bundle,
    template: &ChildTemplate,
    context: &minijinja::Value,
) -> Result<(String, Vec<String>), Box<Problem>> {
    let error =
        |e: minijinja::Error| Box::new(from_error(&e, &template.file, &bundle.templates.files));
    let compiled = bundle.env.get_template(&template.file).map_err(error)?;
    let captured = compiled.render_captured(context.clone()).map_err(error)?;
    let warnings = captured
        .state()
        .get_extension::<Warnings>()
        .map(|w| w.0.clone())
        .unwrap_or_default();
    Ok((captured.into_output(), warnings))
}

/// The mistake is in the text that the template made; it is shown in that.
fn invalid_yaml(template: &ChildTemplate, text: &str, found: &Problem) -> Box<Problem> {
    let problem = Problem::new(
        &format!("{} (rendered)", template.file),
        format!("does not render to YAML: {}", found.message),
    );
    let help = match &found.help {
        Some(help) => help,
        None => "the line is of the text that the template makes, not of the template",
    };
    Box::new(problem.at(text, found.line, found.column).help(help))
}

/// Checks a rendered object and adds what the engine owns.
fn complete(
    bundle: &Bundle,
    template: &ChildTemplate,
    test: &Value,
    mut object: Value,
) -> Result<Value, Box<Problem>> {
    let problem = |path: &str, message: String, help: &str| {
        let problem = Problem::new(&template.file, message).help(help);
        let field = Field { path, value: None };
        Box::new(place(problem, bundle, template, &field))
    };
    for (key, expected) in [
        ("apiVersion", &template.api_version),
        ("kind", &template.kind),
    ] {
        let found = text(&object, &format!("/{key}"));
        if found != expected {
            let message =
                format!("`{key}` renders to `{found}`, but the template begins with `{expected}`");
            let help = "a child's kind is known at load: a template makes one kind";
            return Err(problem(key, message, help));
        }
    }
    if text(&object, "/metadata/name").is_empty() {
        let help = "a child has a name that is made of its test's, so that no two tests share one";
        return Err(problem(
            "metadata",
            "`metadata.name` is missing".into(),
            help,
        ));
    }
    if let Some(shape) = fields::of_kind(&template.api_version, &template.kind)
        && let Some(wrong) = fields::first_wrong(shape, &object)
    {
        return Err(as_problem(&wrong, bundle, template));
    }
    let namespace = text(test, "/metadata/namespace");
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        let help = "write `metadata:` and below it `name:`";
        return Err(problem("metadata", "`metadata` is not a map".into(), help));
    };
    match metadata.get("namespace").and_then(Value::as_str) {
        Some(other) if other != namespace => {
            let message = format!(
                "`metadata.namespace` is `{other}`: a child lives in the namespace of its test"
            );
            return Err(problem(
                "metadata.namespace",
                message,
                "remove it; the engine sets it",
            ));
        }
        _ if !namespace.is_empty() => {
            metadata.insert("namespace".into(), namespace.into());
        }
        _ => {}
    }
    if metadata.contains_key("ownerReferences") {
        let message = "`metadata.ownerReferences` is set by the engine".to_string();
        let help = "remove it; every child is owned by its test";
        return Err(problem("metadata.ownerReferences", message, help));
    }
    if let Some(owner) = owner_reference(test) {
        metadata.insert("ownerReferences".into(), json!([owner]));
    }
    set(metadata, "labels", MANAGED_BY.0, MANAGED_BY.1);
    set(metadata, "labels", CHILD_LABEL, &template.stem);
    set(metadata, "annotations", BUNDLE_ANNOTATION, bundle.digest());
    Ok(object)
}

/// A field that the type of an object does not have, or that is of another type there.
fn as_problem(wrong: &Wrong, bundle: &Bundle, template: &ChildTemplate) -> Box<Problem> {
    let Wrong { path, what } = wrong;
    let kind = &template.kind;
    let (message, help, value) = match what {
        What::Unknown => (
            format!("{kind} has no field `{path}`"),
            "check the spelling and the indentation; the API server would drop the field",
            None,
        ),
        What::Type(shape, value) => (
            format!(
                "`{path}` of {kind} is {}, not {}",
                shown(value),
                shape.title()
            ),
            type_help(shape, value),
            Some(*value),
        ),
    };
    let problem = Problem::new(&template.file, message).help(help);
    let field = Field { path, value };
    Box::new(place(problem, bundle, template, &field))
}

/// What a value is, in words; a short one as it is written.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a map".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) if text.chars().count() > 40 => "a long string".into(),
        Value::String(_) => format!("the string `{value}`"),
        other => format!("`{other}`"),
    }
}

fn type_help(shape: &Shape, value: &Value) -> &'static str {
    match (shape, value) {
        (Shape::Text, Value::Number(_) | Value::Bool(_)) => {
            "write it in quotes, or make a string of an interpolation with `| string`"
        }
        (Shape::Integer(_), Value::Number(_)) => {
            "the field does not take so large a number, or a part of one"
        }
        (Shape::Integer(_), Value::String(_)) => {
            "write it without quotes, or make a number of an interpolation with `| int`"
        }
        (Shape::Quantity, _) => "amounts are written as `250m`, `1Gi` or `0.5`",
        (Shape::Boolean, Value::String(_)) => "write true or false without quotes",
        _ => "check the indentation; the API server would refuse the object",
    }
}

/// Two templates that make the same object would undo each other's work.
fn same_object(children: &[Child], bundle: &Bundle) -> Option<Box<Problem>> {
    let same = |a: &Child, b: &Child| {
        let groups = (group(a.api_version()), group(b.api_version()));
        groups.0 == groups.1 && a.kind() == b.kind() && a.name() == b.name()
    };
    let template = |child: &Child| bundle.children().iter().find(|t| t.stem == child.stem);
    children.iter().enumerate().find_map(|(n, child)| {
        let first = children[..n].iter().find(|other| same(other, child))?;
        let (kind, name) = (child.kind(), child.name());
        let (mut first, mut template) = (template(first)?, template(child)?);
        // Whoever adds a child is told of it, and not of the one that was there.
        if template.file.starts_with("templates/") {
            std::mem::swap(&mut first, &mut template);
        }
        let message = format!("makes the {kind} `{name}`, and so does {}", first.file);
        let help = "give one of them another name; each child has a template of its own";
        let problem = Problem::new(&template.file, message).help(help);
        let field = Field {
            path: "metadata.name",
            value: None,
        };
        Some(Box::new(place(problem, bundle, template, &field)))
    })
}

/// The controller reference to a test. A test that was never stored has no uid
/// and cannot own anything.
pub fn owner_reference(test: &Value) -> Option<Value> {
    let uid = test.pointer("/metadata/uid")?.as_str()?;
    Some(json!({
        "apiVersion": text(test, "/apiVersion"),
        "kind": text(test, "/kind"),
        "name": text(test, "/metadata/name"),
        "uid": uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }))
}

fn set(metadata: &mut Map<String, Value>, map: &str, key: &str, value: &str) {
    let entries = metadata.entry(map).or_insert_with(|| json!({}));
    if let Some(entries) = entries.as_object_mut() {
        entries.insert(key.into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_null_is_not_there() {
        let mut object = json!({"a": null, "b": [{"c": null, "d": 1}, null], "e": {"f": null}});
        drop_nulls(&mut object);
        assert_eq!(object, json!({"b": [{"d": 1}, null], "e": {}}));
    }
}
