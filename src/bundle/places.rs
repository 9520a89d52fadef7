//! Where in a YAML file a field is, for mistakes that are found in the data and not by the parser.

use super::problem::Problem;
use super::yaml;
use crate::api::FieldError;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;
use std::fmt;

/// The mistakes in one document of a file (the first is 0), each with the line that it is in.
pub fn problems(
    file: &str,
    source: &str,
    document: usize,
    mistakes: &[FieldError],
) -> Vec<Problem> {
    let documents: Vec<Node> = yaml::all_from_str(file, source).unwrap_or_default();
    let problem = |mistake: &FieldError| {
        let problem = Problem::new(file, mistake.to_string());
        match documents.get(document).and_then(|d| d.place(&mistake.path)) {
            Some(at) => problem.at(source, at.line() as usize, at.column() as usize),
            None => problem,
        }
    };
    mistakes.iter().map(problem).collect()
}

/// What of a document is needed to find a field in it.
#[derive(Debug)]
enum Node {
    /// Each entry with the place of its key.
    Map(BTreeMap<String, (Location, Node)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl Node {
    /// The place of what `path` names, such as `spec.volumes[0].name`, or of the nearest thing around it.
    fn place(&self, path: &str) -> Option<Location> {
        let (mut node, mut place, mut rest) = (self, None, path);
        while !rest.is_empty() {
            let (name, after) = match rest.strip_prefix('[') {
                Some(inner) => inner.split_once(']').unwrap_or((inner, "")),
                None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
            };
            rest = after.strip_prefix('.').unwrap_or(after);
            let found = match node {
                Node::Map(entries) => entries.get(name).map(|(at, node)| (*at, node)),
                Node::List(items) => name.parse().ok().and_then(|n: usize| {
                    let item = items.get(n)?;
                    Some((item.referenced, &item.value))
                }),
                Node::Scalar => None,
            };
            let Some((at, inner)) = found else { break };
            (node, place) = (inner, Some(at));
        }
        place
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! scalars {
    ($($visit:ident: $type:ty),+) => {
        $(fn $visit<E>(self, _: $type) -> Result<Node, E> {
            Ok(Node::Scalar)
        })+
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.insert(key.value, (key.referenced, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_placed_at_its_field_or_around_it() {
        let source = "a: 1\n---\nspec:\n  volumes:\n  - {name: x}\n  - name: y\n    at: null\n  labels: {a.b/c: true}\n";
        for (path, line, column) in [
            ("spec.volumes[0].name", 5, 6),
            ("spec.volumes[1].name", 6, 5),
            ("spec.volumes[1].missing", 6, 5),
            ("spec.labels[a.b/c]", 8, 12),
            ("spec.missing.deep", 3, 1),
            ("missing", 0, 0),
        ] {
            let found = problems("x.yaml", source, 1, &[FieldError::new(path, "wrong")]);
            assert_eq!((found[0].line, found[0].column), (line, column), "{path}");
        }
    }
}
