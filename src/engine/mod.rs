//! The engine: renders a bundle's templates, matches its rules, and concludes.
//! Every function here is pure: no client, no file, no clock.

pub mod action;
pub mod admission;
pub mod admit;
pub mod children;
pub mod clause;
pub mod diff;
pub mod drift;
pub mod explain;
pub mod facts;
pub mod fields;
pub mod golden;
pub mod index;
mod inherit;
pub mod lookup;
pub mod matcher;
pub mod notice;
pub mod packed;
pub mod patch;
pub mod path;
pub mod pattern;
mod place;
pub mod rbac;
pub mod read_back;
pub mod reads;
pub mod record;
pub mod render;
pub mod replay;
pub mod rule;
pub mod run;
pub mod signals;
pub mod state;
pub mod text;
pub mod timeline;
pub mod unused;
pub mod verdict;
pub mod wanted;
