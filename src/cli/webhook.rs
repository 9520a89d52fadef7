//! The flags of `lotest operator` that are about its webhooks.

use crate::webhook::certificates::{CERTIFICATE, KEY};
use crate::webhook::{Settings, Source};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Webhooks (conversion between v1 and v2, and warnings)")]
#[group(skip)]
pub struct Flags {
    /// Where they are served, with TLS; 0 is off. They are off as well where nobody could reach them: without
    /// POD_NAMESPACE in the environment and without --webhook-host
    #[arg(long, value_name = "HOST:PORT", default_value = ":9443")]
    webhook_bind_address: String,

    /// The Service that leads here
    #[arg(long, value_name = "NAME", default_value = "lotest-webhook")]
    webhook_service: String,

    /// Another name or address that the API server reaches them by; repeat it for several
    #[arg(long = "webhook-host", value_name = "HOST")]
    webhook_hosts: Vec<String>,

    /// The Secret that their certificates are kept in. Default: the name of the Service and -certs
    #[arg(long, value_name = "NAME")]
    webhook_secret: Option<String>,

    /// The ValidatingWebhookConfiguration that leads here; 0 is none
    #[arg(long, value_name = "NAME", default_value = "lotest-validating")]
    webhook_configuration: String,

    /// A directory with certificates that somebody else makes and renews, such as cert-manager. With a ca.crt in it the
    /// API server is told to trust that
    #[arg(long, value_name = "DIR", conflicts_with = "webhook_secret")]
    webhook_cert_path: Option<PathBuf>,

    /// The certificate in that directory
    #[arg(long, value_name = "FILE", default_value = CERTIFICATE)]
    webhook_cert_name: String,

    /// Its key
    #[arg(long, value_name = "FILE", default_value = KEY)]
    webhook_cert_key: String,
}

impl Flags {
    /// What they say together with the operator's environment; nothing when there are to be no webhooks.
    pub fn settings(self, environment: &BTreeMap<String, String>) -> Option<Settings> {
        let namespace = environment.get("POD_NAMESPACE").filter(|n| !n.is_empty());
        let reachable = namespace.is_some() || !self.webhook_hosts.is_empty();
        if self.webhook_bind_address == "0" || !reachable {
            return None;
        }
        let source = match self.webhook_cert_path {
            Some(directory) => Source::Files {
                directory,
                certificate: self.webhook_cert_name,
                key: self.webhook_cert_key,
            },
            None => {
                let name = self.webhook_secret;
                Source::Secret(name.unwrap_or_else(|| format!("{}-certs", self.webhook_service)))
            }
        };
        Some(Settings {
            address: self.webhook_bind_address,
            namespace: namespace.map_or("default", String::as_str).to_string(),
            service: self.webhook_service,
            hosts: self.webhook_hosts,
            source,
            configuration: Some(self.webhook_configuration).filter(|c| c != "0"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn settings(arguments: &[&str], namespace: &str) -> Option<Settings> {
        let command = Flags::augment_args(Command::new("operator").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).unwrap();
        let flags = Flags::from_arg_matches(&matches).unwrap();
        flags.settings(&BTreeMap::from([(
            "POD_NAMESPACE".to_string(),
            namespace.to_string(),
        )]))
    }

    #[test]
    fn they_are_served_where_somebody_can_reach_them() {
        assert_eq!(settings(&[], ""), None);
        assert_eq!(settings(&["--webhook-bind-address", "0"], "ns"), None);
        let outside = settings(&["--webhook-host", "10.0.0.1"], "").unwrap();
        assert_eq!(outside.namespace, "default");
        let inside = settings(&["--webhook-service", "a-webhook"], "ns").unwrap();
        assert_eq!(inside.namespace, "ns");
        assert_eq!(inside.source, Source::Secret("a-webhook-certs".into()));
        assert_eq!(inside.address, ":9443");
    }

    #[test]
    fn certificates_of_a_directory_have_names() {
        let arguments = [
            "--webhook-cert-path",
            "/certs",
            "--webhook-cert-name",
            "a.crt",
        ];
        let source = Source::Files {
            directory: "/certs".into(),
            certificate: "a.crt".into(),
            key: "tls.key".into(),
        };
        assert_eq!(settings(&arguments, "ns").unwrap().source, source);
    }
}
