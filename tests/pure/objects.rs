//! Random objects of a schema of the CRD: everything that it accepts, and the odd things first.

use serde_json::{Map, Number, Value, json};

/// The same objects for the same seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const WORDS: &[&str] = &[
    "",
    "a",
    "web",
    "Equal",
    "In",
    "é",
    "中文",
    "🦗",
    "\"",
    "\\",
    "\n",
    "\u{0}",
    "\u{2028}",
    "null",
    "0",
    "{{ a }}",
    "locust.io/v2-spec",
    "--host \"a b\"",
];
const KEYS: &[&str] = &[
    "a",
    "b",
    "example.com/Role",
    "",
    "é",
    "0",
    "metadata",
    "spec",
];

pub struct Schema {
    kind: Kind,
    /// The number of its leaf.
    leaf: usize,
}

enum Kind {
    Text {
        min: usize,
        max: usize,
    },
    One(Vec<Value>),
    Time,
    Quantity,
    Integer {
        min: i64,
        max: i64,
    },
    Boolean,
    List(Box<Schema>),
    Map(Box<Schema>),
    Object {
        fields: Vec<(String, bool, Schema)>,
        leaves: std::ops::Range<usize>,
    },
    Any,
}

/// Objects of one schema, and which of its leaves they have hit.
pub struct Objects {
    root: Schema,
    pub leaves: Vec<String>,
    pub hits: Vec<usize>,
    pub random: Random,
}

impl Objects {
    pub fn of(schema: &Value, seed: u64) -> Objects {
        let mut leaves = Vec::new();
        let root = read(schema, String::new(), &mut leaves);
        let hits = vec![0; leaves.len()];
        Objects {
            root,
            leaves,
            hits,
            random: Random(seed),
        }
    }

    /// The next one. Each leaf has its turn; what is beside the way to it is there or not.
    pub fn next(&mut self, n: usize) -> Value {
        let target = n % self.leaves.len();
        make(&self.root, target, 0, &mut self.random, &mut self.hits)
    }
}

fn read(schema: &Value, path: String, leaves: &mut Vec<String>) -> Schema {
    let number = |key: &str| schema[key].as_f64().map(|n| n as i64);
    let leaf = leaves.len();
    let kind = if schema.get("x-kubernetes-int-or-string").is_some() {
        Kind::Quantity
    } else if let Some(values) = schema["enum"].as_array() {
        Kind::One(values.clone())
    } else {
        match schema["type"].as_str() {
            Some("string") if schema["format"] == "date-time" => Kind::Time,
            Some("string") => Kind::Text {
                min: number("minLength").unwrap_or(0) as usize,
                max: number("maxLength").unwrap_or(4000) as usize,
            },
            Some("integer") => Kind::Integer {
                min: number("minimum").unwrap_or(i64::MIN),
                max: number("maximum").unwrap_or(i64::MAX),
            },
            Some("boolean") => Kind::Boolean,
            Some("array") => Kind::List(Box::new(read(
                &schema["items"],
                format!("{path}[]"),
                leaves,
            ))),
            Some("object") if schema["additionalProperties"].is_object() => {
                Kind::Map(Box::new(read(
                    &schema["additionalProperties"],
                    format!("{path}{{}}"),
                    leaves,
                )))
            }
            Some("object") if schema["properties"].is_object() => {
                let required = |name: &String| {
                    schema["required"]
                        .as_array()
                        .is_some_and(|r| r.contains(&json!(name)))
                };
                let fields = schema["properties"].as_object().unwrap().iter();
                let fields = fields.map(|(name, inner)| {
                    (
                        name.clone(),
                        required(name),
                        read(inner, format!("{path}.{name}"), leaves),
                    )
                });
                let fields = fields.collect();
                Kind::Object {
                    fields,
                    leaves: leaf..leaves.len(),
                }
            }
            _ => Kind::Any,
        }
    };
    if leaves.len() == leaf {
        leaves.push(path);
    }
    Schema { kind, leaf }
}

fn make(
    schema: &Schema,
    target: usize,
    depth: usize,
    random: &mut Random,
    hits: &mut [usize],
) -> Value {
    let value = match &schema.kind {
        Kind::List(items) => {
            let count = if has(items, target) {
                1 + random.below(2)
            } else {
                random.below(3)
            };
            return (0..count)
                .map(|_| make(items, target, depth + 1, random, hits))
                .collect();
        }
        Kind::Map(values) => {
            let count = if has(values, target) {
                1 + random.below(2)
            } else {
                random.below(3)
            };
            let mut map = Map::new();
            for _ in 0..count {
                let key = random.pick(KEYS).to_string();
                map.insert(key, make(values, target, depth + 1, random, hits));
            }
            return map.into();
        }
        Kind::Object { fields, .. } => {
            let mut object = Map::new();
            for (name, required, inner) in fields {
                if *required || has(inner, target) || random.one_in(if depth < 3 { 4 } else { 16 })
                {
                    object.insert(name.clone(), make(inner, target, depth + 1, random, hits));
                }
            }
            return object.into();
        }
        Kind::Text { min, max } => text(*min, *max, random).into(),
        Kind::One(values) => random.pick(values).clone(),
        Kind::Time => "2026-01-01T12:00:00Z".into(),
        Kind::Quantity if random.one_in(2) => json!(random.below(3)),
        Kind::Quantity => (*random.pick(&["0", "500m", "1Gi", "1e3"])).into(),
        Kind::Integer { min, max } => {
            let near = [*min, *max, 0, 1, 60];
            let value = *random.pick(&near);
            Value::Number(Number::from(value.clamp(*min, *max)))
        }
        Kind::Boolean => random.one_in(2).into(),
        Kind::Any => random
            .pick(&[json!({}), json!({ "a": [1, { "b": null }] })])
            .clone(),
    };
    hits[schema.leaf] += 1;
    value
}

fn has(schema: &Schema, target: usize) -> bool {
    match &schema.kind {
        Kind::List(inner) | Kind::Map(inner) => has(inner, target),
        Kind::Object { leaves, .. } => leaves.contains(&target),
        _ => schema.leaf == target,
    }
}

fn text(min: usize, max: usize, random: &mut Random) -> String {
    let mut text = random.pick(WORDS).to_string();
    while text.chars().count() < min {
        text.push('x');
    }
    text.chars().take(max).collect()
}
