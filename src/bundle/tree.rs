//! What a person wrote in a YAML file, each part with the place where it stands, so that the parts of several layers can
//! be joined and every mistake still names its own file.

use super::problem::{Place, Problem};
use super::yaml;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// Where something stands: the number of its file among those that were read, line and column from 1. Line 0 is
/// the whole file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct At {
    pub file: usize,
    pub line: usize,
    pub column: usize,
}

impl At {
    pub fn place(self) -> Place {
        let At { line, column, .. } = self;
        Place { line, column }
    }
}

/// A part of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: At,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Entries as they were written, each key with its place.
    Map(Vec<Entry>),
    List(Vec<Node>),
    /// A string, a number, a boolean or null.
    Scalar(Value),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub at: At,
    pub value: Node,
}

impl Node {
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|e| e.key == key);
        entry.map(|e| &e.value)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.content == Content::Scalar(Value::Null)
    }

    /// Without the places.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Map(entries) => {
                let entries = entries.iter();
                entries
                    .map(|e| (e.key.clone(), e.value.to_value()))
                    .collect()
            }
            Content::List(items) => items.iter().map(Node::to_value).collect(),
            Content::Scalar(value) => value.clone(),
        }
    }

    /// The place of what `path` names, such as `spec.volumes[0].name`, or of the nearest thing around it.
    pub fn place(&self, path: &str) -> Option<At> {
        let (mut node, mut place, mut rest) = (self, None, path);
        while !rest.is_empty() {
            let (name, after) = match rest.strip_prefix('[') {
                Some(inner) => inner.split_once(']').unwrap_or((inner, "")),
                None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
            };
            rest = after.strip_prefix('.').unwrap_or(after);
            let found = match &node.content {
                Content::Map(entries) => {
                    let entry = entries.iter().find(|e| e.key == name);
                    entry.map(|e| (e.at, &e.value))
                }
                Content::List(items) => {
                    let item = name.parse().ok().and_then(|n: usize| items.get(n));
                    item.map(|item| (item.at, item))
                }
                Content::Scalar(_) => None,
            };
            let Some((at, inner)) = found else { break };
            (node, place) = (inner, Some(at));
        }
        place
    }
}

/// The documents of a file, which is number `file` of those that are read.
pub fn parse_all(name: &str, source: &str, file: usize) -> Result<Vec<Node>, Box<Problem>> {
    let documents: Vec<Spanned<Node>> = yaml::all_from_str(name, source)?;
    Ok(documents.into_iter().map(|d| placed(d, file)).collect())
}

/// The one document of a file; `None` when there is nothing in it.
pub fn parse(name: &str, source: &str, file: usize) -> Result<Option<Node>, Box<Problem>> {
    let document: Option<Spanned<Node>> = yaml::from_str(name, source)?;
    let document = document.map(|d| placed(d, file));
    Ok(document.filter(|d| !d.is_null()))
}

/// The document with its own place, and the number of its file in all places.
fn placed(document: Spanned<Node>, file: usize) -> Node {
    let mut node = document.value;
    node.at = at(document.referenced);
    node.number(file);
    node
}

impl Node {
    fn number(&mut self, file: usize) {
        self.at.file = file;
        match &mut self.content {
            Content::Map(entries) => {
                for entry in entries {
                    entry.at.file = file;
                    entry.value.number(file);
                }
            }
            Content::List(items) => items.iter_mut().for_each(|item| item.number(file)),
            Content::Scalar(_) => {}
        }
    }
}

/// The parser knows no files: their number is set afterwards.
fn at(location: Location) -> At {
    At {
        file: 0,
        line: location.line() as usize,
        column: location.column() as usize,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

fn scalar<E>(value: impl Into<Value>) -> Result<Node, E> {
    Ok(Node {
        at: At::default(),
        content: Content::Scalar(value.into()),
    })
}

fn collection(content: Content) -> Node {
    Node {
        at: At::default(),
        content,
    }
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        scalar(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        scalar(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        scalar(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        scalar(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        scalar(value)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        scalar(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        scalar(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Node>>()? {
            items.push(placed(item, 0));
        }
        Ok(collection(Content::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = placed(map.next_value()?, 0);
            entries.push(Entry {
                key: key.value,
                at: at(key.referenced),
                value,
            });
        }
        Ok(collection(Content::Map(entries)))
    }
}
