//! Text of a test can only become data. Hostile strings stand in every place of a LocustTest that takes text, and
//! come back in the rendered children as the same strings in the same places, or are refused by the name of the
//! field. Nothing else about the children may change.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lotest::api::{schema::is_quantity, v2::LocustTest};
use lotest::bundle::{Bundle, yaml};
use lotest::engine::render::render;
use proptest::prelude::*;
use regex::Regex;
use serde_json::{Value, json};

use crate::hostile_text::{HOSTILE, hostile_text};
use crate::leaves::{ALIAS, Leaf, NAMED, Takes, build};
use crate::support::{base, load};

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| load(&[]).0);

static LEAVES: LazyLock<Vec<Leaf>> = LazyLock::new(|| {
    let mut leaves = Vec::new();
    build(&mut |leaf| {
        leaves.push(leaf);
        String::new()
    });
    leaves
});

/// Harmless, and different in every place, so that it can be found again.
fn marker(n: usize) -> String {
    match LEAVES[n].takes {
        Takes::Any | Takes::Key => format!("mark-{n}"),
        Takes::Quantity => format!("1000{n}"),
        Takes::Enum => match LEAVES[n].path.rsplit('.').next() {
            Some("imagePullPolicy") => "Never".to_owned(),
            Some("target") => "both".to_owned(),
            Some("protocol") => "http/protobuf".to_owned(),
            other => {
                panic!("{other:?} is a new enum: which of its values is rendered for both roles?")
            }
        },
    }
}

fn is_command(leaf: &Leaf) -> bool {
    ["spec.master.command", "spec.worker.command"].contains(&leaf.path.as_str())
}

/// Where two places of the same text would be two entries of one key.
fn is_key(leaf: &Leaf) -> bool {
    let ends = |end: &str| leaf.path.ends_with(end);
    ends("ountPath") || ends("variables[0].name") || ends("extraEnvVars{key}")
}

/// What is rendered when `texts[n]` stands in place `n`, or the fields that refuse theirs.
fn children(texts: &[String]) -> Result<Result<Vec<Value>, Vec<String>>, String> {
    let mut n = 0;
    let test = build(&mut |_| {
        n += 1;
        texts[n - 1].clone()
    });
    let test = match LocustTest::parse_strict(test) {
        Ok(test) => test,
        Err(errors) => return Ok(Err(errors.into_iter().map(|error| error.path).collect())),
    };
    let rendered = render(&BUNDLE, &test.to_value()).map_err(|problem| problem.to_string())?;
    let objects = rendered.children.into_iter().map(|child| child.object);
    Ok(Ok(objects.map(one_secret).collect()))
}

/// The name of a Secret's volume is made from the Secret's; here both are `secret`, once they are seen to agree.
fn one_secret(mut object: Value) -> Value {
    let Some(pod) = object.pointer_mut("/spec/template/spec") else {
        return object;
    };
    let is_secret = |entry: &&mut Value| {
        entry["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("secret-"))
    };
    let mut names = Vec::new();
    for pointer in ["/volumes", "/containers/0/volumeMounts"] {
        let entries = pod.pointer_mut(pointer).unwrap().as_array_mut().unwrap();
        let entry = entries.iter_mut().find(is_secret).unwrap();
        names.push(std::mem::replace(&mut entry["name"], "secret".into()));
    }
    assert_eq!(names[0], names[1]);
    let label = Regex::new("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$").unwrap();
    assert!(label.is_match(names[0].as_str().unwrap()), "{}", names[0]);
    object
}

static HARMLESS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let markers: Vec<String> = (0..LEAVES.len()).map(marker).collect();
    children(&markers).unwrap().expect("markers are valid")
});

/// The harmless children with each marker replaced by the text that should stand there.
fn expected(texts: &[String]) -> Vec<Value> {
    let mut replaced = BTreeMap::new();
    for (n, text) in texts
        .iter()
        .enumerate()
        .filter(|(n, _)| LEAVES[*n].takes != Takes::Enum)
    {
        let words = if is_command(&LEAVES[n]) {
            words(text)
        } else {
            vec![text.clone()]
        };
        replaced.insert(marker(n), words);
    }
    HARMLESS
        .iter()
        .map(|child| replace(child, &replaced))
        .collect()
}

fn replace(value: &Value, by: &BTreeMap<String, Vec<String>>) -> Value {
    let one = |text: &String| match by.get(text).map(Vec::as_slice) {
        Some([text]) => text.clone(),
        _ => text.clone(),
    };
    match value {
        Value::String(text) => one(text).into(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (one(key), replace(value, by)))
            .collect(),
        Value::Array(entries) => entries
            .iter()
            .flat_map(|entry| match entry.as_str().and_then(|text| by.get(text)) {
                Some(words) => words.iter().map(|word| json!(word)).collect(),
                None => vec![replace(entry, by)],
            })
            .collect(),
        other => other.clone(),
    }
}

/// The words of a command line: quotes group; if they do not balance, white space alone separates.
fn words(command: &str) -> Vec<String> {
    static LINE: LazyLock<[Regex; 4]> = LazyLock::new(|| {
        let word = r#"(?:[^\s"']|'[^']*'|"(?:[^"\\]|\\(?s:.))*")+"#;
        [
            Regex::new(&format!(r"^\s*(?:{word}(?:\s+|$))*$")).unwrap(),
            Regex::new(word).unwrap(),
            Regex::new(r#"'([^']*)'|"((?:[^"\\]|\\(?s:.))*)""#).unwrap(),
            Regex::new(r#"\\(["\\])"#).unwrap(),
        ]
    });
    let [line, word, quoted, escape] = &*LINE;
    if !line.is_match(command) {
        return command.split_whitespace().map(str::to_owned).collect();
    }
    let unescaped = |text: &str| escape.replace_all(text, "$1").into_owned();
    let unquoted = |word: &str| {
        let text = |found: &regex::Captures| match (found.get(1), found.get(2)) {
            (Some(single), _) => single.as_str().to_owned(),
            (_, Some(double)) => unescaped(double.as_str()),
            _ => String::new(),
        };
        quoted.replace_all(word, text).into_owned()
    };
    word.find_iter(command)
        .map(|found| unquoted(found.as_str()))
        .collect()
}

/// May the API refuse this text in this place?
fn may_be_refused(leaf: &Leaf, text: &str) -> bool {
    leaf.longest
        .is_some_and(|longest| text.chars().count() > longest)
        || leaf.takes == Takes::Quantity && !is_quantity(text)
        || leaf.path == "spec.observability.openTelemetry.endpoint" && text.trim().is_empty()
}

/// Puts each text in its place, and says which places refused theirs; or what else than data became of one.
fn only_data(mut texts: Vec<String>) -> Result<Vec<usize>, String> {
    let mut refused = Vec::new();
    loop {
        let paths = match children(&texts)? {
            Ok(children) => {
                let expected = expected(&texts);
                if children.len() != expected.len() {
                    return Err(format!("there are {} children", children.len()));
                }
                let changed = children
                    .iter()
                    .zip(&expected)
                    .find(|(child, expected)| child != expected);
                return match changed {
                    None => Ok(refused),
                    Some((child, expected)) => Err(format!("{child:#}\nis not\n{expected:#}")),
                };
            }
            Err(paths) => paths,
        };
        for path in paths {
            // Two mistakes about one text.
            let path = if path == ALIAS { NAMED } else { &path };
            let at = |n: &usize| LEAVES[*n].is_at(path) && may_be_refused(&LEAVES[*n], &texts[*n]);
            if let Some(n) = (0..texts.len()).find(at) {
                texts[n] = marker(n);
                refused.push(n);
            } else if !refused.iter().any(|n| LEAVES[*n].path == path) {
                return Err(format!("refused at {path}, for no reason"));
            }
        }
    }
}

#[track_caller]
fn assert_only_data(texts: Vec<String>) -> Vec<usize> {
    only_data(texts).unwrap_or_else(|what| panic!("{what}"))
}

/// Nobody adds a field that takes text and is never rendered, or one that these tests do not reach.
#[test]
fn every_text_of_the_schema_is_rendered() {
    let text = Value::from(HARMLESS.clone()).to_string();
    // An enum's value is no text of the user's.
    let places = LEAVES
        .iter()
        .enumerate()
        .filter(|(_, leaf)| leaf.takes != Takes::Enum);
    for (n, leaf) in places {
        let found = text.contains(&format!("\"{}\"", marker(n)));
        assert!(found, "{} is not in the children", leaf.path);
    }
    assert!(LEAVES.len() > 250, "only {} places", LEAVES.len());
}

/// What does not take any text; whoever adds to this says why here.
#[test]
fn only_these_take_less_than_any_text() {
    let paths = |takes| -> Vec<&str> {
        let leaves = LEAVES.iter().filter(|leaf| leaf.takes == takes);
        leaves.map(|leaf| leaf.path.as_str()).collect()
    };
    // Few words.
    assert_eq!(
        paths(Takes::Enum),
        [
            "spec.imagePullPolicy",
            "spec.observability.openTelemetry.protocol",
            "spec.volumeMounts[0].target",
        ]
    );
    // Amounts: the schema has their pattern.
    assert_eq!(
        paths(Takes::Quantity),
        [
            "spec.env.variables[0].valueFrom.resourceFieldRef.divisor",
            "spec.master.resources.limits{value}",
            "spec.master.resources.requests{value}",
            "spec.volumes[0].downwardAPI.items[0].resourceFieldRef.divisor",
            "spec.volumes[0].emptyDir.sizeLimit",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.limits{value}",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests{value}",
            "spec.volumes[0].projected.sources[0].downwardAPI.items[0].resourceFieldRef.divisor",
            "spec.worker.resources.limits{value}",
            "spec.worker.resources.requests{value}",
        ]
    );
    for leaf in LEAVES.iter().filter(|leaf| leaf.takes == Takes::Enum) {
        let n = LEAVES.iter().position(|l| l.path == leaf.path).unwrap();
        let mut texts: Vec<String> = (0..LEAVES.len()).map(marker).collect();
        texts[n] = "both\n".into();
        assert_eq!(children(&texts), Ok(Err(vec![leaf.path.clone()])));
    }
}

/// Each of them in each place, and in no two places that must differ.
#[test]
fn hostile_text_is_only_data() {
    let long = ["x".repeat(5000), "\n".repeat(5000), "🦗".repeat(300)];
    let hostile: Vec<&str> = HOSTILE
        .iter()
        .copied()
        .chain(long.iter().map(String::as_str))
        .collect();
    let mut keys = 0;
    let ranks: Vec<usize> = LEAVES
        .iter()
        .enumerate()
        .map(|(n, leaf)| {
            keys += usize::from(is_key(leaf));
            if is_key(leaf) { keys } else { n }
        })
        .collect();
    let mut refused = BTreeMap::new();
    for turn in 0..hostile.len() {
        let text = |(n, leaf): (usize, &Leaf)| match leaf.takes {
            Takes::Enum => marker(n),
            _ => hostile[(ranks[n] + turn) % hostile.len()].to_owned(),
        };
        for n in assert_only_data(LEAVES.iter().enumerate().map(text).collect()) {
            *refused.entry(LEAVES[n].path.as_str()).or_insert(0) += 1;
        }
    }
    // Refused was what is too long or not an amount, no more.
    assert_eq!(refused["spec.volumes[0].name"], 3);
    assert_eq!(refused.get("spec.image"), None);
}

/// A name is part of other names. The API server takes none of these, a file may have them.
#[test]
fn a_hostile_name_changes_no_structure() {
    let paths_of = |name: String| -> Option<Vec<String>> {
        let mut test = base();
        test["metadata"]["name"] = name.into();
        test["spec"]["testFiles"] = json!({"configMapRef": "files"});
        let test = LocustTest::parse_strict(test).ok()?.to_value();
        let rendered = render(&BUNDLE, &test).unwrap_or_else(|problem| panic!("{problem}"));
        let mut paths = Vec::new();
        for child in &rendered.children {
            pointers(&child.object, &child.stem, &mut paths);
        }
        Some(paths)
    };
    let harmless = paths_of("load".to_owned());
    for text in HOSTILE {
        let paths = paths_of(format!("a{text}"));
        assert!(paths == harmless, "{text:?}");
    }
}

fn pointers(value: &Value, path: &str, all: &mut Vec<String>) {
    all.push(path.to_owned());
    match value {
        Value::Object(entries) => entries
            .iter()
            .for_each(|(key, value)| pointers(value, &format!("{path}/{key}"), all)),
        Value::Array(entries) => entries
            .iter()
            .enumerate()
            .for_each(|(n, value)| pointers(value, &format!("{path}/{n}"), all)),
        _ => {}
    }
}

/// `lotest render` prints YAML for other programs.
#[test]
fn what_is_printed_reads_back() {
    for text in HOSTILE {
        let object = json!({ "value": text, (*text): [text] });
        let printed = serde_saphyr::to_string(&object).unwrap();
        let read: Value = yaml::from_str("printed", &printed).unwrap();
        assert_eq!(read, object, "{printed}");
    }
}

/// Every character that there is in the first plane, and samples of the others.
#[test]
fn every_character_is_only_data() {
    let planes = (0..=0xffff).chain((0x1_0000..=0x10_ffff).step_by(4097));
    let all: String = planes.filter_map(char::from_u32).collect();
    assert_only_data_in(
        &[
            "spec.image",
            "spec.master.extraArgs[0]",
            "spec.worker.labels{key}",
            "spec.worker.labels{value}",
        ],
        &all,
    );
}

/// A megabyte, where nothing bounds it: in a value, in a key, deep in a volume, in a command of many words.
#[test]
fn a_megabyte_is_only_data() {
    let text = "0123456789 \"{{\n\u{2028}🦗".repeat((1 << 20) / 19);
    assert!(text.len() >= 1 << 20);
    assert_only_data_in(
        &[
            "spec.master.extraArgs[0]",
            "spec.worker.annotations{key}",
            "spec.env.variables[0].value",
            "spec.volumes[0].hostPath.path",
            "spec.worker.command",
        ],
        &text,
    );
}

#[track_caller]
fn assert_only_data_in(paths: &[&str], text: &str) {
    let mut texts: Vec<String> = (0..LEAVES.len()).map(marker).collect();
    for path in paths {
        let n = LEAVES.iter().position(|leaf| leaf.path == *path);
        texts[n.unwrap_or_else(|| panic!("there is no {path}"))] = text.to_owned();
    }
    assert_eq!(assert_only_data(texts), [0usize; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_mix_of_it_is_only_data(mut texts in proptest::collection::vec(hostile_text(), LEAVES.len())) {
        for (n, text) in texts.iter_mut().enumerate() {
            match LEAVES[n].takes {
                Takes::Enum => *text = marker(n),
                _ if is_key(&LEAVES[n]) => text.push_str(&n.to_string()),
                _ => {}
            }
        }
        // A panic at each step of shrinking would be all that one reads.
        only_data(texts).map_err(TestCaseError::fail)?;
    }
}
