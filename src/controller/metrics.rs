//! Metrics, under the names that dashboards for controllers already use.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

const CONTROLLER: &str = "locusttest";

/// What comes of a look at a test. There from the start, so that a rate has something to rise from.
const RESULTS: [&str; 4] = ["success", "error", "requeue", "requeue_after"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Looked {
    controller: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    controller: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queued {
    controller: &'static str,
    name: &'static str,
}

const QUEUE: Queued = Queued {
    controller: CONTROLLER,
    name: CONTROLLER,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Digest {
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reloaded {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lease {
    name: &'static str,
}

/// All metrics of the operator. No label comes from a test.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    looks: Family<Looked, Counter>,
    errors: Family<Named, Counter>,
    seconds: Family<Named, Histogram, fn() -> Histogram>,
    depth: Family<Queued, Gauge>,
    adds: Family<Queued, Counter>,
    bundle: Family<Digest, Gauge>,
    reloads: Family<Reloaded, Counter>,
    stale: Gauge,
    certificate: Gauge,
    leads: Family<Lease, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let controller = CONTROLLER;
        let looks: Family<Looked, Counter> = Family::default();
        for result in RESULTS {
            looks
                .get_or_create(&Looked { controller, result })
                .inc_by(0);
        }
        let errors: Family<Named, Counter> = Family::default();
        errors.get_or_create(&Named { controller }).inc_by(0);
        let seconds: Family<Named, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| {
                Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0])
            });
        let depth: Family<Queued, Gauge> = Family::default();
        let adds: Family<Queued, Counter> = Family::default();
        registry.register(
            "controller_runtime_reconcile",
            "Looks at a test, by result",
            looks.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Looks at a test that are tried again",
            errors.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Seconds that the reads and writes of one look took",
            seconds.clone(),
        );
        registry.register(
            "workqueue_depth",
            "Tests that are due for a look, now or at a time",
            depth.clone(),
        );
        registry.register(
            "workqueue_adds",
            "How often a test became due for a look",
            adds.clone(),
        );
        let bundle = Family::default();
        let reloads: Family<Reloaded, Counter> = Family::default();
        for result in ["success", "failure"] {
            reloads.get_or_create(&Reloaded { result }).inc_by(0);
        }
        let stale = Gauge::default();
        registry.register("lotest_bundle_info", "The bundle that runs", bundle.clone());
        registry.register(
            "lotest_bundle_reloads",
            "Layers that were taken or refused because they changed, by result",
            reloads.clone(),
        );
        registry.register(
            "lotest_bundle_stale",
            "1 while the layers are refused and an earlier bundle runs, or fewer layers",
            stale.clone(),
        );
        let certificate = Gauge::default();
        registry.register(
            "lotest_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate of the webhooks expires, in seconds since 1970; 0 while there is none",
            certificate.clone(),
        );
        let leads = Family::default();
        registry.register(
            "leader_election_master_status",
            "1 while this replica leads, 0 while it stands by; absent without an election",
            leads.clone(),
        );
        Metrics {
            registry,
            looks,
            errors,
            seconds,
            depth,
            adds,
            bundle,
            reloads,
            stale,
            certificate,
            leads,
        }
    }
}

impl Metrics {
    /// Counts one look at a test; `result` is one of [`RESULTS`].
    pub fn reconciled(&self, result: &'static str, took: Duration) {
        let controller = CONTROLLER;
        self.looks
            .get_or_create(&Looked { controller, result })
            .inc();
        let named = Named { controller };
        self.seconds
            .get_or_create(&named)
            .observe(took.as_secs_f64());
        if result == "error" {
            self.errors.get_or_create(&named).inc();
        }
    }

    /// How many tests are due, and how many became so since this was last said.
    pub fn queue(&self, tests: usize, added: u64) {
        let tests = i64::try_from(tests).unwrap_or(i64::MAX);
        self.depth.get_or_create(&QUEUE).set(tests);
        self.adds.get_or_create(&QUEUE).inc_by(added);
    }

    /// Names the bundle that runs.
    pub fn runs(&self, digest: &str) {
        let digest = digest.to_string();
        self.bundle.clear();
        self.bundle.get_or_create(&Digest { digest }).set(1);
    }

    /// Counts layers that were taken, with `success`, or refused, with `failure`.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.get_or_create(&Reloaded { result }).inc();
    }

    pub fn stale(&self, stale: bool) {
        self.stale.set(stale.into());
    }

    /// When the certificate of the webhooks expires, in seconds since 1970.
    pub fn certificate_expires(&self, second: i64) {
        self.certificate.set(second);
    }

    pub fn leads(&self, leads: bool) {
        let lease = Lease {
            name: super::lease::NAME,
        };
        self.leads.get_or_create(&lease).set(leads.into());
    }

    /// The metrics in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
