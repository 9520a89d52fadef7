//! lotest: a rule engine that happens to run Locust on Kubernetes.

pub mod api;
