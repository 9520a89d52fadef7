//! What lotest decides, without a client, a file or a clock: [`bundle`] loads
//! templates and rules, and [`engine`] runs them on tests of the type in [`api`].

pub mod api;
pub mod bundle;
pub mod engine;
