//! How an operator takes part in the election of a leader.

use super::Failure;
use crate::bundle::durations;
use crate::controller::lease::{Settings, Terms, identity};
use clap::ArgAction;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Several replicas")]
#[group(skip)]
pub struct Flags {
    /// Write only while this replica holds the Lease locust-k8s-operator.locust.io; of several replicas, one does
    #[arg(long, value_name = "BOOL", default_value_t = false, default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    leader_elect: bool,

    /// The namespace of the Lease. Default: that of the operator (POD_NAMESPACE, or that of the kubeconfig)
    #[arg(long, value_name = "NAMESPACE")]
    leader_election_namespace: Option<String>,

    /// How long the others wait for a leader that is not heard of
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_election_lease_duration: Duration,

    /// A leader that cannot renew the Lease for so long stops writing
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_election_renew_deadline: Duration,

    /// How often the leader renews the Lease
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_election_retry_period: Duration,
}

impl Flags {
    /// `None` where there is no election.
    pub fn settings(
        self,
        settings: &BTreeMap<String, String>,
    ) -> Result<Option<Settings>, Failure> {
        if !self.leader_elect {
            return Ok(None);
        }
        let terms = Terms {
            lease: self.leader_election_lease_duration,
            deadline: self.leader_election_renew_deadline,
            retry: self.leader_election_retry_period,
        };
        if let Some(mistake) = terms.mistake() {
            let Terms {
                lease,
                deadline,
                retry,
            } = terms;
            return Err(Failure::Other(format!(
                "--leader-election-lease-duration {lease:?}, --leader-election-renew-deadline {deadline:?} and --leader-election-retry-period {retry:?} do not go together: {mistake}"
            )));
        }
        let set = |name: &str| settings.get(name).filter(|v| !v.is_empty()).cloned();
        let pod = set("POD_NAME").or_else(|| set("HOSTNAME"));
        Ok(Some(Settings {
            namespace: self
                .leader_election_namespace
                .or_else(|| set("POD_NAMESPACE")),
            identity: identity(pod.as_deref().unwrap_or("lotest")),
            terms,
        }))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = durations::parse(text).and_then(|d| Duration::try_from(d).ok());
    duration.ok_or_else(|| durations::HELP.to_string())
}
