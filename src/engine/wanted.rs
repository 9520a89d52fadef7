//! What is taken in of an object that is watched: what something reads of it. Of a pod that is a small part, and to take
//! in the rest costs more than to ask all rules about it.

use super::path::{Part, Path};
use super::reads;
use super::rule::{Each, Rules, Signal};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// What of a value is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    All,
    /// Of some fields something; of each entry of a list, and of each other field, the same.
    Some(BTreeMap<String, Wanted>, Option<Box<Wanted>>),
}

/// In a place: each entry.
const EACH: &str = "*";

/// Which pods' fields the index reads itself.
const OF_PODS: &[&[&str]] = &[
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "uid"],
    &["metadata", "resourceVersion"],
    &["metadata", "creationTimestamp"],
    &["metadata", "ownerReferences"],
    &["status", "phase"],
];

/// Where the containers of a pod are described, and where it is said how they are.
const CONTAINERS: [(&str, &str); 2] = [
    ("containers", "containerStatuses"),
    ("initContainers", "initContainerStatuses"),
];

impl Wanted {
    const NOTHING: Wanted = Wanted::Some(BTreeMap::new(), None);

    /// Everything but managed fields, which are half of an object that was applied.
    pub fn of_objects() -> Wanted {
        let mut wanted = Wanted::All;
        wanted.leave_out(&["metadata", "managedFields"]);
        wanted
    }

    /// Of a child: its pod template only where a rule reads it.
    pub fn of_children(rules: &Rules) -> Wanted {
        let mut wanted = Wanted::of_objects();
        wanted.leave_out(&["spec", "template"]);
        let signals = rules.signals.iter().filter(|s| s.each == Each::Child);
        let paths = signals.flat_map(reads::of_signal);
        for path in paths.chain(reads::of_done(rules)) {
            wanted.add_path(&[path.root()], path);
        }
        wanted
    }

    /// Of a pod: what the rules about pods and their containers read.
    pub fn of_pods(rules: &Rules) -> Wanted {
        let mut wanted = Wanted::NOTHING;
        for at in OF_PODS {
            *wanted.below(at) = Wanted::All;
        }
        for (specs, statuses) in CONTAINERS {
            for field in ["name", "restartPolicy"] {
                *wanted.below(&["spec", specs, EACH, field]) = Wanted::All;
            }
            *wanted.below(&["status", statuses, EACH, "name"]) = Wanted::All;
        }
        for signal in &rules.signals {
            wanted.add_signal(signal);
        }
        wanted
    }

    /// Adds what a rule about pods or containers reads of a pod.
    fn add_signal(&mut self, signal: &Signal) {
        for path in reads::of_signal(signal) {
            match (signal.each, path.root()) {
                (Each::Child, _) | (_, "role" | "values") => {}
                (Each::Pod, root) => self.add_path(&[root], path),
                (Each::Container, "class" | "name") => {}
                (Each::Container, "pod") => self.add_path(&[], path),
                (Each::Container, "container") => {
                    for (specs, _) in CONTAINERS {
                        self.add_path(&["spec", specs, EACH], path);
                    }
                }
                (Each::Container, root) => {
                    for (_, statuses) in CONTAINERS {
                        self.add_path(&["status", statuses, EACH, root], path);
                    }
                }
            }
        }
    }

    /// Adds what a path reads whose root stands at `at`.
    fn add_path(&mut self, at: &[&str], path: &Path) {
        match path.complete_parts() {
            Some(parts) => self.below(at).add(parts),
            None => *self.below(at) = Wanted::All,
        }
    }

    fn add(&mut self, parts: &[Part]) {
        match parts.split_first() {
            None | Some((Part::Anything, _)) => *self = Wanted::All,
            Some((Part::Name(name), rest)) => self.field(name).add(rest),
            Some((Part::Entries(compared), rest)) => {
                for compared in compared {
                    *self.each().field(&compared.field) = Wanted::All;
                }
                self.each().add(rest);
                if let Wanted::Some(fields, _) = self {
                    fields.values_mut().for_each(|wanted| wanted.add(rest));
                }
            }
        }
    }

    fn below(&mut self, at: &[&str]) -> &mut Wanted {
        at.iter().fold(self, |wanted, name| match *name {
            EACH => wanted.each(),
            name => wanted.field(name),
        })
    }

    /// What of this field is wanted, to be changed. Of what is wanted whole nothing more can be.
    fn field(&mut self, name: &str) -> &mut Wanted {
        match self {
            Wanted::All => self,
            Wanted::Some(fields, each) => {
                let default = || each.as_deref().cloned().unwrap_or(Wanted::NOTHING);
                fields.entry(name.to_string()).or_insert_with(default)
            }
        }
    }

    fn each(&mut self) -> &mut Wanted {
        match self {
            Wanted::All => self,
            Wanted::Some(_, each) => each.get_or_insert(Box::new(Wanted::NOTHING)),
        }
    }

    fn leave_out(&mut self, at: &[&str]) {
        let mut wanted = self;
        for name in at {
            if *wanted == Wanted::All {
                *wanted = Wanted::Some(BTreeMap::new(), Some(Box::new(Wanted::All)));
            }
            wanted = wanted.field(name);
        }
        *wanted = Wanted::NOTHING;
    }

    fn get(&self, name: &str) -> Option<&Wanted> {
        match self {
            Wanted::All => Some(self),
            Wanted::Some(fields, each) => {
                let wanted = fields.get(name).or(each.as_deref())?;
                (*wanted != Wanted::NOTHING).then_some(wanted)
            }
        }
    }

    /// What one of the two wants.
    pub fn or(&self, other: &Wanted) -> Wanted {
        let (Wanted::Some(ours, our_each), Wanted::Some(theirs, their_each)) = (self, other) else {
            return Wanted::All;
        };
        let both = |one: Option<&Wanted>, other: Option<&Wanted>| match (one, other) {
            (Some(one), Some(other)) => one.or(other),
            (one, other) => one.or(other).cloned().unwrap_or(Wanted::NOTHING),
        };
        let names = ours.keys().chain(theirs.keys());
        let fields = names.map(|name| (name.clone(), both(self.get(name), other.get(name))));
        let each = our_each.is_some() || their_each.is_some();
        let each = each.then(|| both(our_each.as_deref(), their_each.as_deref()));
        Wanted::Some(fields.collect(), each.map(Box::new))
    }
}

/// Nothing where nothing can be selected: below a value that has no fields.
impl<'de> DeserializeSeed<'de> for &Wanted {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self {
            Wanted::All => Value::deserialize(deserializer).map(Some),
            Wanted::Some(..) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for &Wanted {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(found) = map.next_key_seed(Field(self))? {
            let Some((name, wanted)) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if let Some(value) = map.next_value_seed(wanted)? {
                fields.insert(name, value);
            }
        }
        Ok(Some(fields.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let Wanted::Some(_, Some(each)) = self else {
            while entries.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(&**each)? {
            // Paths count entries.
            list.push(entry.unwrap_or_default());
        }
        Ok(Some(list.into()))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The name of a field: itself and what of it is wanted, if anything is.
struct Field<'w>(&'w Wanted);

impl<'de, 'w> DeserializeSeed<'de> for Field<'w> {
    type Value = Option<(String, &'w Wanted)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 'w> Visitor<'de> for Field<'w> {
    type Value = Option<(String, &'w Wanted)>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(name).map(|wanted| (name.to_string(), wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Bundle, Files, Layer};
    use serde_json::json;

    fn bundle(signals: &str) -> Bundle {
        let files = [("rules/signals.yaml".to_string(), signals.to_string())];
        let top = Layer {
            name: "top".to_string(),
            files: Files::from(files),
        };
        let (bundle, _) = Bundle::load(&[Layer::built_in(), top], &BTreeMap::new()).unwrap();
        bundle
    }

    fn taken(wanted: &Wanted, object: &Value) -> Value {
        let text = object.to_string();
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        wanted.deserialize(&mut deserializer).unwrap().unwrap()
    }

    #[test]
    fn objects_are_taken_in_without_managed_fields() {
        let mut object = json!({
            "kind": "Job",
            "metadata": {"name": "load", "managedFields": [{"manager": "lotest"}], "labels": {"managedFields": "a"}},
            "spec": {"managedFields": 1, "none": null, "list": [1, -1, 0.5, true, {"a": {}}]},
        });
        let found = taken(&Wanted::of_objects(), &object);
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
        assert_eq!(found, object);
    }

    #[test]
    fn what_no_rule_reads_of_a_pod_is_left_out() {
        let wanted = Wanted::of_pods(&bundle("").rules);
        let pod = json!({
            "metadata": {"name": "p", "uid": "u", "annotations": {"a": "b"}, "ownerReferences": [{"uid": "o"}]},
            "spec": {"volumes": [{"name": "v"}], "containers": [{"name": "c", "env": [{"name": "A"}]}]},
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": "10.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}],
                "containerStatuses": [{"name": "c", "volumeMounts": [{"name": "v"}], "state": {"waiting": {"reason": "R"}}}],
            },
        });
        let found = taken(&wanted, &pod);
        assert_eq!(
            found["metadata"],
            json!({"name": "p", "uid": "u", "ownerReferences": [{"uid": "o"}]})
        );
        assert_eq!(found["spec"], json!({"containers": [{"name": "c"}]}));
        let status = &found["status"];
        assert_eq!(status["conditions"][0]["type"], "Ready");
        assert_eq!(
            status["containerStatuses"],
            json!([{"name": "c", "state": {"waiting": {"reason": "R"}}}])
        );
        assert!(status.get("podIPs").is_none(), "{status}");
    }

    #[test]
    fn what_a_layer_reads_is_taken_in() {
        let rules = "
- id: of-a-pod
  on: {each: pod}
  when: {path: \"$.spec.volumes[?@.name == 'v'].emptyDir\", exists: true}
  reason: OfAPod
  severity: info
  priority: 1
  message: \"{{ status.hostIP }}\"
- id: of-a-container
  on: {each: container}
  when: {path: $.container.env, exists: true}
  reason: OfAContainer
  severity: info
  priority: 2
  message: \"{{ imageID }} {{ pod.spec.nodeName }}\"
- id: of-a-child
  on: {each: child}
  when: {path: $.spec.template.spec.nodeName, exists: true}
  reason: OfAChild
  severity: info
  priority: 3
  message: here
";
        let bundle = bundle(rules);
        let pod = json!({
            "spec": {
                "nodeName": "n",
                "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}, "hostPath": {}}],
                "initContainers": [{"env": [{"name": "A"}], "stdin": true}],
            },
            "status": {"hostIP": "10.0.0.1", "containerStatuses": [{"imageID": "i", "resources": {}}]},
        });
        assert_eq!(
            taken(&Wanted::of_pods(&bundle.rules), &pod),
            json!({
                "spec": {
                    "nodeName": "n",
                    "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
                    "initContainers": [{"env": [{"name": "A"}]}],
                },
                "status": {"hostIP": "10.0.0.1", "containerStatuses": [{"imageID": "i"}]},
            })
        );
        let job = json!({
            "metadata": {"annotations": {"a": "b"}},
            "spec": {"parallelism": 1, "template": {"metadata": {}, "spec": {"nodeName": "n", "volumes": []}}},
        });
        let mut kept = job.clone();
        kept["spec"]["template"] = json!({"spec": {"nodeName": "n"}});
        assert_eq!(taken(&Wanted::of_children(&bundle.rules), &job), kept);
    }

    #[test]
    fn below_a_path_that_does_not_say_what_it_reads_all_is_taken_in() {
        let rule = "
- id: of-a-pod
  on: {each: pod}
  when: {path: \"$.spec.tolerations[?length(@.key) > 1]\", exists: true}
  reason: OfAPod
  severity: info
  priority: 1
  message: here
";
        let wanted = Wanted::of_pods(&bundle(rule).rules);
        let pod = json!({"spec": {"tolerations": [{"key": "a"}], "volumes": []}});
        assert_eq!(taken(&wanted, &pod), pod);
    }

    #[test]
    fn both_is_what_either_wants() {
        let one = Wanted::of_pods(&bundle("").rules);
        let mut other = Wanted::NOTHING;
        *other.below(&["spec", "nodeName"]) = Wanted::All;
        let both = one.or(&other);
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "volumes": []}});
        assert_eq!(
            taken(&both, &pod),
            json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}})
        );
        assert_eq!(both, other.or(&one));
        let all = Wanted::of_objects();
        assert_eq!(taken(&all.or(&one), &pod), pod);
    }
}
