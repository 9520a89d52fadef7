//! `lotest rbac`: the Roles that a bundle needs.

use super::output::Format;
use super::{Failure, input, output};
use crate::engine::rbac::{self, Rule};
use serde_json::{Value, json};

/// Print the Roles that the operator needs for a bundle
///
/// A ClusterRole and its binding; with --namespace a Role and a binding in each of these namespaces, and one in the
/// operator's own, where it sends events about its layers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest rbac | kubectl apply -f -
  lotest rbac --layer team                 with what the children of a layer need
  lotest rbac -n team-a -n team-b          for `lotest operator -n team-a -n team-b`
  lotest rbac | kubectl auth reconcile -f -")]
pub struct Arguments {
    #[command(flatten)]
    layers: input::Layers,

    /// For the tests of this namespace only; repeat it for several. Default: the whole cluster
    #[arg(short, long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,

    /// Who the operator is
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "lotest-system/lotest", value_parser = account)]
    service_account: (String, String),

    /// What the roles and bindings are called
    #[arg(long, value_name = "NAME", default_value = "lotest")]
    name: String,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

fn account(written: &str) -> Result<(String, String), String> {
    match written.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_string(), name.to_string()))
        }
        _ => Err("write a namespace, a slash and a name".to_string()),
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let rules = rbac::rules_for(&arguments.layers.bundle()?);
    let mut objects = Vec::new();
    match arguments.namespaces.as_slice() {
        [] => objects.extend(arguments.pair("ClusterRole", None, &rules)),
        some => {
            for namespace in some {
                objects.extend(arguments.pair("Role", Some(namespace), &rules));
            }
            let own = &arguments.service_account.0;
            if !some.contains(own) {
                objects.extend(arguments.pair("Role", Some(own), &rbac::rules_at_home()));
            }
        }
    }
    output::print(&arguments.output.print(&objects)?)
}

impl Arguments {
    /// A role and its binding.
    fn pair(&self, kind: &str, namespace: Option<&String>, rules: &[Rule]) -> [Value; 2] {
        const GROUP: &str = "rbac.authorization.k8s.io";
        let mut metadata = json!({"name": self.name});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.clone().into();
        }
        let (account_namespace, account) = &self.service_account;
        [
            json!({
                "apiVersion": format!("{GROUP}/v1"),
                "kind": kind,
                "metadata": metadata,
                "rules": rules,
            }),
            json!({
                "apiVersion": format!("{GROUP}/v1"),
                "kind": format!("{kind}Binding"),
                "metadata": metadata,
                "roleRef": {"apiGroup": GROUP, "kind": kind, "name": self.name},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": account_namespace}],
            }),
        ]
    }
}
