//! The coordinator's mind: `Farm::apply(now, event) -> Step`.
//!
//! A deterministic value: no clock, no socket, no disk, no chance, no error. The same events give the same
//! commands, for ever; order comes from ids. A refused request is an update, an impossible state is an assertion.

pub mod access;
pub mod audit;
pub mod failure;
pub mod farm;
pub mod ids;
pub mod invitation;
mod job;
pub mod model_card;
pub mod mutant;
mod pace;
pub mod plan;
pub mod record;
pub mod show;
pub mod spec;
pub mod split;
pub mod step;
mod task;
pub mod time;
pub mod usage;
pub mod view;
pub mod worker;
