//! Objects as the API server sends them. kube's `DynamicObject` is read twice over and keeps what nobody reads; of what is
//! watched only that is taken in which something reads ([`Wanted`]).

use crate::bundle::Bundle;
use crate::engine::wanted::Wanted;
use arc_swap::ArcSwap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// An object, or what is wanted of it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its version alone, for watches.
    metadata: ObjectMeta,
    fields: Map<String, Value>,
    /// The number of what was wanted of it.
    pub wanted: u64,
}

/// What is taken in of everything that is watched.
#[derive(Debug)]
pub struct Taken {
    /// Another one for every change.
    pub number: u64,
    children: Wanted,
    pods: Wanted,
}

impl Taken {
    /// What the rules of a bundle read.
    pub fn of(bundle: &Bundle) -> Taken {
        Taken {
            number: 1,
            children: Wanted::of_children(&bundle.rules),
            pods: Wanted::of_pods(&bundle.rules),
        }
    }

    /// What the rules of another one read too.
    pub fn and(&self, bundle: &Bundle) -> Taken {
        let other = Taken::of(bundle);
        self.next(self.children.or(&other.children), self.pods.or(&other.pods))
    }

    /// What the rules of this bundle read alone.
    pub fn only(&self, bundle: &Bundle) -> Taken {
        let Taken { children, pods, .. } = Taken::of(bundle);
        self.next(children, pods)
    }

    fn next(&self, children: Wanted, pods: Wanted) -> Taken {
        let is_same = children == self.children && pods == self.pods;
        Taken {
            number: self.number + u64::from(!is_same),
            children,
            pods,
        }
    }
}

/// What an object that is watched is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Test,
    Child,
    Pod,
}

tokio::task_local! {
    /// For whoever watches: what the objects are, and what is taken in of them by the time that they come.
    pub static WATCHING: (Kind, Arc<ArcSwap<Taken>>);
}

static WHOLE: LazyLock<Wanted> = LazyLock::new(Wanted::of_objects);

impl Object {
    /// The object as JSON. Items of a list carry no kind of their own.
    pub fn into_value(self, resource: &ApiResource) -> Value {
        let mut fields = self.fields;
        fields.insert("apiVersion".into(), resource.api_version.clone().into());
        fields.insert("kind".into(), resource.kind.clone().into());
        fields.into()
    }

    fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
        wanted: &Wanted,
        number: u64,
    ) -> Result<Object, D::Error> {
        let Some(Value::Object(fields)) = wanted.deserialize(deserializer)? else {
            return Err(D::Error::custom("expected an object"));
        };
        let version = fields
            .get("metadata")
            .and_then(|m| m.get("resourceVersion"));
        let metadata = ObjectMeta {
            resource_version: version.and_then(Value::as_str).map(str::to_string),
            ..ObjectMeta::default()
        };
        Ok(Object {
            metadata,
            fields,
            wanted: number,
        })
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        let watching = WATCHING.try_with(|(kind, taken)| (*kind, taken.load_full()));
        match &watching {
            Ok((Kind::Child, taken)) => Object::read(deserializer, &taken.children, taken.number),
            Ok((Kind::Pod, taken)) => Object::read(deserializer, &taken.pods, taken.number),
            Ok((Kind::Test, _)) | Err(_) => Object::read(deserializer, &WHOLE, u64::MAX),
        }
    }
}

impl Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        of.api_version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Layer;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn bundle() -> Bundle {
        let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
        bundle
    }

    #[test]
    fn what_nobody_watches_is_whole() {
        let sent = json!({
            "kind": "Job",
            "metadata": {"name": "load", "resourceVersion": "7", "managedFields": [{"manager": "lotest"}]},
            "spec": {"template": {}},
        });
        let object: Object = serde_json::from_str(&sent.to_string()).unwrap();
        assert_eq!(object.meta().resource_version.as_deref(), Some("7"));
        let resource = crate::controller::watch::tests();
        assert_eq!(
            object.into_value(&resource),
            json!({
                "apiVersion": "locust.io/v2",
                "kind": "LocustTest",
                "metadata": {"name": "load", "resourceVersion": "7"},
                "spec": {"template": {}},
            })
        );
        assert!(serde_json::from_str::<Object>("[]").is_err());
    }

    #[test]
    fn of_what_is_watched_only_that_is_taken_in_which_is_wanted_when_it_comes() {
        let taken = Arc::new(ArcSwap::from_pointee(Taken::of(&bundle())));
        let pod = r#"{"metadata": {"name": "p"}, "spec": {"hostname": "h"}}"#;
        let read = |kind| {
            let watching = (kind, Arc::clone(&taken));
            let object: Object =
                WATCHING.sync_scope(watching, || serde_json::from_str(pod).unwrap());
            (object.wanted, object.fields.get("spec").cloned())
        };
        assert_eq!(read(Kind::Pod), (1, Some(json!({}))));
        assert_eq!(read(Kind::Child), (1, Some(json!({"hostname": "h"}))));
        assert_eq!(read(Kind::Test).0, u64::MAX);
        let same = taken.load().and(&bundle());
        assert_eq!(same.number, 1);
        let whole = Taken {
            pods: Wanted::of_objects(),
            ..same.only(&bundle())
        };
        taken.store(Arc::new(whole));
        assert_eq!(read(Kind::Pod), (1, Some(json!({"hostname": "h"}))));
        assert_eq!(taken.load().only(&bundle()).number, 2);
    }
}
