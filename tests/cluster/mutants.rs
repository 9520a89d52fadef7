//! LocustTests with one thing wrong, or at the edge of what is right: made from the schema, so that no field is left out.

use lotest::api::schema;
use serde_json::{Map, Value, json};

/// A place in a test: `spec.volumes[].name`, `spec.master.labels{}`.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: String,
    steps: Vec<Step>,
    schema: &'static Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// An entry of its own, after those that a list has.
    Item,
    /// An entry of a map.
    Key,
}

/// A test, and what was done to it.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The places that differ; none for a test taken from an example as a whole.
    pub places: Vec<Place>,
    pub what: String,
    pub test: Value,
}

/// Every place in the spec, objects and lists too.
pub fn places() -> Vec<Place> {
    let mut all = Vec::new();
    let schema = &schema::locust_test()["properties"]["spec"];
    let spec = Step::Field("spec".into());
    collect(schema, "spec".into(), &[spec], &mut all);
    all
}

fn collect(schema: &'static Value, path: String, steps: &[Step], all: &mut Vec<Place>) {
    let with = |step| [steps, &[step]].concat();
    all.push(Place {
        path: path.clone(),
        steps: steps.to_vec(),
        schema,
    });
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let steps = with(Step::Field(name.clone()));
        collect(inner, format!("{path}.{name}"), &steps, all);
    }
    for (keyword, mark, step) in [
        ("items", "[]", Step::Item),
        ("additionalProperties", "{}", Step::Key),
    ] {
        if let Some(inner) = schema.get(keyword) {
            collect(inner, format!("{path}{mark}"), &with(step), all);
        }
    }
}

/// Mutants of the smallest test and of `full`, one with everything in it: first one for each place, then the next for
/// each, and so on; when there are no more, two at once, until there are `count`.
pub fn mutants(smallest: &Value, full: &Value, count: usize) -> Vec<Mutant> {
    let places = places();
    let mut queues: Vec<Vec<Mutant>> = places.iter().map(|p| of_place(p, smallest)).collect();
    queues.push(of_name(smallest));
    let mut of_full = Vec::new();
    of_nodes(full, &mut Vec::new(), full, &mut of_full);
    // As many queues as keep their share of a small sample at a tenth.
    let share = of_full.len().div_ceil(places.len() / 10);
    queues.extend(of_full.chunks(share).map(<[Mutant]>::to_vec));

    let mut all = Vec::new();
    let deepest = queues.iter().map(Vec::len).max().unwrap_or_default();
    for n in 0..deepest {
        all.extend(queues.iter().filter_map(|queue| queue.get(n).cloned()));
    }
    let single = all.len();
    let mut random = Random(0x10_7E57);
    while all.len() < count {
        let first = all[random.below(single)].clone();
        let place = &places[random.below(places.len())];
        let values = values(place);
        let (what, value) = values[random.below(values.len())].clone();
        all.push(mutate(&first, place, &what, value));
    }
    all.truncate(count);
    all
}

/// xorshift64*: quick, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % n
    }
}

fn of_place(place: &Place, smallest: &Value) -> Vec<Mutant> {
    let base = Mutant {
        places: Vec::new(),
        what: String::new(),
        test: smallest.clone(),
    };
    let mut all: Vec<Mutant> = values(place)
        .into_iter()
        .map(|(what, value)| mutate(&base, place, &what, value))
        .collect();
    // A small sample has the first of each place, and not the same for all.
    let n = place.path.len() % all.len();
    all.rotate_left(n);
    all
}

fn mutate(base: &Mutant, place: &Place, what: &str, value: Option<Value>) -> Mutant {
    let mut mutant = base.clone();
    let schema = json!({"type": "object", "properties": {"spec": schema::locust_test()["properties"]["spec"]}});
    put(&schema, &mut mutant.test, &place.steps, value);
    company(&mut mutant.test, place);
    mutant.what = format!("{} {} {what}", base.what, place.path)
        .trim()
        .to_owned();
    mutant.places.push(place.clone());
    mutant
}

/// Puts a value where the steps lead, with what must stand beside it; none removes what is there.
fn put(schema: &Value, at: &mut Value, steps: &[Step], value: Option<Value>) {
    let Some((step, rest)) = steps.split_first() else {
        *at = value.unwrap_or(Value::Null);
        return;
    };
    let (inner, entry) = match step {
        Step::Field(name) => {
            let object = object(at);
            fill(schema, object);
            if rest.is_empty() && value.is_none() {
                object.remove(name);
                return;
            }
            let entry = object.entry(name).or_insert(Value::Null);
            (&schema["properties"][name], entry)
        }
        Step::Item => {
            if !at.is_array() {
                *at = json!([]);
            }
            let list = at.as_array_mut().unwrap();
            if rest.is_empty() && value.is_none() {
                return;
            }
            list.push(Value::Null);
            (&schema["items"], list.last_mut().unwrap())
        }
        Step::Key => {
            let entry = object(at).entry("key").or_insert(Value::Null);
            (&schema["additionalProperties"], entry)
        }
    };
    put(inner, entry, rest, value);
}

fn object(at: &mut Value) -> &mut Map<String, Value> {
    if !at.is_object() {
        *at = json!({});
    }
    at.as_object_mut().unwrap()
}

fn fill(schema: &Value, object: &mut Map<String, Value>) {
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        let inner = &schema["properties"][name];
        object.entry(name).or_insert_with(|| sample(inner, name));
    }
}

/// A value that is as right as can be known from the schema and the field's name.
fn sample(schema: &Value, name: &str) -> Value {
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return "1".into();
    }
    match schema["type"].as_str() {
        Some("string") => match (schema["enum"].get(0), name) {
            (Some(first), _) => first.clone(),
            (_, "name") => "some".into(),
            (_, "mountPath") => "/some".into(),
            (_, "operator") => "Exists".into(),
            (_, "type") => "RuntimeDefault".into(),
            (_, "fieldPath") => "metadata.name".into(),
            (_, "resource") => "limits.cpu".into(),
            (_, "command") => "--locustfile /lotest/src/test.py".into(),
            (_, "iqn") => "iqn.2026-01.io.locust:files".into(),
            _ => "some".into(),
        },
        Some("integer") => schema["minimum"]
            .as_f64()
            .map_or(1, |min| min as i64)
            .into(),
        Some("boolean") => true.into(),
        Some("array") => json!([sample(&schema["items"], "")]),
        Some("object") => {
            let mut object = Map::new();
            fill(schema, &mut object);
            object.into()
        }
        _ => Value::Null,
    }
}

/// What else a test needs for the place to have an effect.
fn company(test: &mut Value, place: &Place) {
    let is = |start: &str| place.path.starts_with(start);
    let spec = &mut test["spec"];
    if is("spec.volumes[].") || is("spec.volumeMounts[].") {
        let (from, to) = match is("spec.volumes[].") {
            true => ("volumes", "volumeMounts"),
            false => ("volumeMounts", "volumes"),
        };
        let name = spec[from].as_array().and_then(|l| l.last()?.get("name"));
        if let Some(name) = name.filter(|n| n.is_string()).cloned() {
            let entry = match to {
                "volumes" => json!({"name": name, "emptyDir": {}}),
                _ => json!({"name": name, "mountPath": "/mutant"}),
            };
            match spec.get_mut(to).and_then(Value::as_array_mut) {
                Some(list) => list.push(entry),
                None => spec[to] = json!([entry]),
            }
        }
    }
    if is("spec.testFiles.src") || is("spec.testFiles.lib") {
        for (field, name) in [("configMapRef", "files"), ("libConfigMapRef", "libs")] {
            if spec["testFiles"].get(field).is_none()
                && place.path != format!("spec.testFiles.{field}")
            {
                spec["testFiles"][field] = name.into();
            }
        }
    }
    if let Some(field) = place.path.strip_prefix("spec.observability.openTelemetry.") {
        let telemetry = &mut spec["observability"]["openTelemetry"];
        for (name, value) in [("enabled", json!(true)), ("endpoint", json!("otel:4317"))] {
            if field != name {
                telemetry[name] = value;
            }
        }
    }
}

/// What is tried in a place; none for nothing.
fn values(place: &Place) -> Vec<(String, Option<Value>)> {
    let schema = place.schema;
    let mut all: Vec<Value> = vec![
        Value::Null,
        json!(true),
        json!(1),
        json!(1.5),
        json!("some"),
        json!([]),
        json!({}),
        json!({"unknown": 1}),
        sample(schema, place.path.rsplit('.').next().unwrap_or_default()),
    ];
    match schema["type"].as_str() {
        Some("string") => all.extend(texts(schema)),
        Some("integer") => all.extend(numbers(schema)),
        Some("array") => {
            let item = sample(&schema["items"], "");
            let many = schema["maxItems"].as_u64().unwrap_or(64) as usize;
            for count in [1, 2, many, many + 1, 1000] {
                all.push(vec![item.clone(); count].into());
            }
            all.extend([json!([null]), json!([[]]), json!(["", "a b", "a=b"])]);
        }
        Some("object") if schema.get("additionalProperties").is_some() => {
            let value = sample(&schema["additionalProperties"], "");
            let mut keys: Vec<String> = KEYS.iter().map(|k| (*k).to_owned()).collect();
            keys.extend([63, 64, 254, 5_000].map(|n| "k".repeat(n)));
            all.extend(keys.into_iter().map(|key| json!({key: value})));
            let many = (0..2_000).map(|n| (format!("k{n}"), value.clone()));
            all.push(many.collect::<Map<_, _>>().into());
        }
        Some(_) => all.push(json!(false)),
        None => all.extend(
            QUANTITIES
                .iter()
                .map(|text| json!(text))
                .chain(numbers(schema)),
        ),
    }
    let values = all.into_iter().map(|value| {
        let mut what: String = value.to_string();
        if what.chars().count() > 80 {
            what = format!(
                "{}… ({} bytes)",
                what.chars().take(60).collect::<String>(),
                what.len()
            );
        }
        (what, Some(value))
    });
    values.chain([("removed".to_owned(), None)]).collect()
}

const KEYS: [&str; 10] = [
    "",
    "a b",
    "a/b/c",
    "/a",
    "a/",
    "A_B.c",
    "app",
    "1",
    "\u{202e}\n",
    "kubernetes.io/arch",
];

const QUANTITIES: [&str; 13] = [
    "0",
    "-1",
    "+1",
    "1e3",
    "1.5Gi",
    "500m",
    "0.0000000000001",
    "1e1000",
    "99999999999999999999Ei",
    "1 core",
    "",
    "1k",
    "000000000000000000000000000000000000000000000000000000000001",
];

const TEXTS: [&str; 36] = [
    "",
    " ",
    "Not_A_Name",
    "not-a-name-",
    "-a",
    "a.b",
    "a=b",
    "a b",
    "1st",
    "a:b",
    "/a:b",
    "/",
    "//",
    "/a",
    "/a/",
    "a/b",
    "../a",
    "/a/../b",
    "..",
    ".",
    "secret-a",
    "locust-lib",
    "load-master",
    "$(HOME)",
    "{{ test }}",
    "{% if %}",
    "'",
    "\"\\",
    "# no\n- comment",
    "\u{0}",
    "\u{feff}\u{2028}\u{85}",
    "\u{202e}é😀",
    "true",
    "null",
    "~",
    "1e3",
];

/// What is right in one place or another.
const WORDS: [&str; 14] = [
    "Exists",
    "In",
    "Always",
    "NoSchedule",
    "NoExecute",
    "RuntimeDefault",
    "Localhost",
    "Unconfined",
    "Memory",
    "HugePages-1Gi",
    "Directory",
    "ReadWriteOnce",
    "Block",
    "metadata.labels['a']",
];

fn texts(schema: &Value) -> Vec<Value> {
    let mut all: Vec<Value> = TEXTS.iter().chain(&WORDS).map(|t| json!(t)).collect();
    all.extend(schema["enum"].as_array().into_iter().flatten().cloned());
    let most = schema["maxLength"].as_u64().map(|max| max as usize);
    let lengths = [56, 63, 64, 253, 254, 1025, 100_000].into_iter();
    let lengths = lengths.chain(most.into_iter().flat_map(|max| [max, max + 1]));
    all.extend(lengths.map(|n| Value::from("a".repeat(n))));
    all
}

fn numbers(schema: &Value) -> Vec<Value> {
    let mut all = vec![
        json!(0),
        json!(-1),
        json!(2),
        json!(65_536),
        json!(i32::MAX),
        json!(i64::from(i32::MAX) + 1),
        json!(i32::MIN),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!("1"),
    ];
    for bound in ["minimum", "maximum"] {
        if let Some(bound) = schema[bound].as_f64() {
            let bound = bound as i64;
            all.extend([bound - 1, bound, bound + 1].map(Value::from));
        }
    }
    all
}

/// Names of the test itself, which is no place of the spec, and what else stands in its metadata.
fn of_name(smallest: &Value) -> Vec<Mutant> {
    let names = TEXTS.iter().map(|text| (*text).to_owned());
    let names = names.chain([56, 57, 253, 254].map(|n| "a".repeat(n)));
    let mut all: Vec<Mutant> = Vec::new();
    let mut push = |what: String, metadata: Value| {
        let mut test = smallest.clone();
        test["metadata"] = metadata;
        all.push(Mutant {
            places: Vec::new(),
            what,
            test,
        });
    };
    for name in names {
        push(format!("metadata.name {name:?}"), json!({"name": name}));
    }
    for key in KEYS {
        for map in ["labels", "annotations"] {
            let metadata = json!({"name": "load", map: {key: "a b"}});
            push(format!("metadata.{map} {key:?}"), metadata);
        }
    }
    all
}

/// `full` with each of its nodes in turn removed, of another type, and empty.
fn of_nodes(node: &Value, path: &mut Vec<String>, full: &Value, all: &mut Vec<Mutant>) {
    if path.first().is_some_and(|first| first == "spec") {
        let other = match node {
            Value::String(_) => [json!(1), json!("")],
            Value::Number(_) => [json!("some"), json!(-1)],
            Value::Bool(is) => [json!("true"), json!(!is)],
            Value::Array(_) => [json!({}), json!([])],
            _ => [json!([]), json!({})],
        };
        for value in other.into_iter().map(Some).chain([None]) {
            let mut test = full.clone();
            let what = format!("full {} {value:?}", path.join("."));
            set(&mut test, path, value);
            all.push(Mutant {
                places: Vec::new(),
                what,
                test,
            });
        }
    }
    let inner: Vec<(String, &Value)> = match node {
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, v)| (n.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (step, value) in inner {
        path.push(step);
        of_nodes(value, path, full, all);
        path.pop();
    }
}

fn set(test: &mut Value, path: &[String], value: Option<Value>) {
    let (last, parents) = path.split_last().unwrap();
    let mut at = test;
    for step in parents {
        at = match at {
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            at => &mut at[step],
        };
    }
    match (at, value) {
        (Value::Array(items), Some(value)) => items[last.parse::<usize>().unwrap()] = value,
        (Value::Array(items), None) => drop(items.remove(last.parse().unwrap())),
        (at, Some(value)) => at[last] = value,
        (at, None) => drop(at.as_object_mut().unwrap().remove(last)),
    }
}

impl Place {
    /// Whether there is something here in `test`.
    pub fn is_set(&self, test: &Value) -> bool {
        fn found(at: &Value, steps: &[Step]) -> bool {
            let Some((step, rest)) = steps.split_first() else {
                return !at.is_null();
            };
            match (step, at) {
                (Step::Field(name), _) => at.get(name).is_some_and(|at| found(at, rest)),
                (Step::Item, Value::Array(items)) => items.iter().any(|at| found(at, rest)),
                (Step::Key, Value::Object(map)) => map.values().any(|at| found(at, rest)),
                _ => false,
            }
        }
        found(test, &self.steps)
    }
}
