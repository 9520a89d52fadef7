//! lotest runs distributed Locust load tests on Kubernetes. What it does is
//! data: [`bundle`] loads templates and rules, [`engine`] runs them.

pub mod bundle;
pub mod cli;
pub mod engine;
