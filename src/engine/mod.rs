//! The engine: renders a bundle's templates, matches its rules, and concludes.
//! Every function here is pure: no client, no file, no clock.

pub mod clause;
pub mod drift;
pub mod explain;
pub mod fields;
pub mod index;
pub mod matcher;
pub mod path;
pub mod render;
pub mod rule;
pub mod text;
pub mod verdict;
