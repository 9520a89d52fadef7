//! lotest runs distributed Locust load tests on Kubernetes. What it does is
//! data: [`bundle`] loads templates and rules, [`engine`] runs them on tests of
//! the type in [`api`], and [`controller`] keeps a cluster as they say.

pub mod cli;
pub mod controller;
pub mod layer_files;
pub mod webhook;

pub use lotest_core::{api, bundle, engine};
