//! Types read from a [`Node`] with serde. A field of type [`Placed`] remembers where it stands, and a mistake says so too.

use super::layer::Sources;
use super::problem::{Problem, suggestion};
use super::tree::{At, Content, Entry, Node};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A value that remembers where it stands.
#[derive(Debug, Clone)]
pub struct Placed<T = String> {
    pub value: T,
    pub at: At,
}

/// Why a node is not what it should be.
#[derive(Debug)]
pub struct Mistake {
    pub message: String,
    pub help: Option<String>,
    /// Of the innermost node that is concerned.
    pub at: Option<At>,
}

pub fn from_node<'n, T: Deserialize<'n>>(node: &'n Node) -> Result<T, Mistake> {
    T::deserialize(node)
}

impl Mistake {
    fn new(message: String, help: Option<String>) -> Mistake {
        let at = None;
        Mistake { message, help, at }
    }

    pub fn problem(self, sources: &Sources) -> Problem {
        let problem = sources.problem(self.at.unwrap_or_default(), self.message);
        match self.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }

    fn at(mut self, at: At) -> Mistake {
        self.at.get_or_insert(at);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Mistake::new(message.to_string(), None)
    }

    fn invalid_type(_: Unexpected, expected: &dyn Expected) -> Self {
        Mistake::new(
            format!("expected {}", in_words(&expected.to_string())),
            None,
        )
    }

    fn invalid_value(_: Unexpected, expected: &dyn Expected) -> Self {
        Mistake::new(
            format!("expected {}", in_words(&expected.to_string())),
            None,
        )
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("there is no field `{field}` here");
        Mistake::new(
            message,
            Some(suggestion(
                field,
                expected.iter().copied(),
                "fields here are",
            )),
        )
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("`{variant}` is not allowed here");
        Mistake::new(
            message,
            Some(suggestion(
                variant,
                expected.iter().copied(),
                "write one of",
            )),
        )
    }

    fn missing_field(field: &'static str) -> Self {
        Mistake::new(format!("the field `{field}` is missing here"), None)
    }
}

/// What serde expects, for people who do not know it.
fn in_words(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "f32" | "f64" => "a number",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        other if other.starts_with("struct ") => "a map",
        other => other,
    }
}

impl<'n> IntoDeserializer<'n, Mistake> for &'n Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A key, as what reads the name of a field.
#[derive(Clone, Copy)]
struct Key<'n>(&'n Entry);

impl<'n> IntoDeserializer<'n, Mistake> for Key<'n> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'n> Deserializer<'n> for Key<'n> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let read = visitor.visit_borrowed_str(&self.0.key);
        read.map_err(|e: Mistake| e.at(self.0.at))
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let read = visitor.visit_enum(self.0.key.as_str().into_deserializer());
        read.map_err(|e: Mistake| e.at(self.0.at))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'n>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'n> Deserializer<'n> for &'n Node {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let read = match &self.content {
            Content::Map(entries) => {
                let entries = entries.iter().map(|e| (Key(e), &e.value));
                visitor.visit_map(MapDeserializer::new(entries))
            }
            Content::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Content::Scalar(Value::String(text)) => visitor.visit_borrowed_str(text),
            Content::Scalar(Value::Bool(value)) => visitor.visit_bool(*value),
            Content::Scalar(Value::Number(n)) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => visitor.visit_u64(n),
                (None, Some(n)) => visitor.visit_i64(n),
                (None, None) => visitor.visit_f64(n.as_f64().unwrap_or_default()),
            },
            Content::Scalar(_) => visitor.visit_unit(),
        };
        read.map_err(|e| e.at(self.at))
    }

    /// What is written without quotes, such as `for: 120`, may look like a number.
    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.content {
            Content::Scalar(Value::Number(n)) => visitor.visit_string(n.to_string()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.is_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let read = match self.as_str() {
            Some(text) => visitor.visit_enum(text.into_deserializer()),
            None => {
                let help = match &self.content {
                    Content::Scalar(Value::Bool(value)) => Some(format!(
                        "write `\"{}\"`, in quotes: without, YAML reads true or false",
                        if *value { "True" } else { "False" }
                    )),
                    _ => None,
                };
                Err(Mistake::new("expected a word".to_string(), help))
            }
        };
        read.map_err(|e: Mistake| e.at(self.at))
    }

    fn deserialize_tuple_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match name {
            PLACED => visitor.visit_seq(PlacedParts {
                node: self,
                next: 0,
            }),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'n>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct seq tuple
        map struct identifier ignored_any
    }
}

/// What [`Placed`] asks a node for: its place and itself.
const PLACED: &str = "$placed";

struct PlacedParts<'n> {
    node: &'n Node,
    next: usize,
}

impl<'n> SeqAccess<'n> for PlacedParts<'n> {
    type Error = Mistake;

    fn next_element_seed<S: DeserializeSeed<'n>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mistake> {
        let at = self.node.at;
        self.next += 1;
        match [at.file, at.line, at.column].get(self.next - 1) {
            Some(number) => seed.deserialize(number.into_deserializer()),
            None => seed.deserialize(self.node),
        }
        .map(Some)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(PLACED, 4, PlacedVisitor(PhantomData))
    }
}

struct PlacedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PlacedVisitor<T> {
    type Value = Placed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node of a tree")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Placed<T>, A::Error> {
        let none = || de::Error::custom("a place is read from trees alone");
        let mut number = || parts.next_element::<usize>()?.ok_or_else(none);
        let (file, line, column) = (number()?, number()?, number()?);
        let value = parts.next_element()?.ok_or_else(none)?;
        let at = At { file, line, column };
        Ok(Placed { value, at })
    }
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
