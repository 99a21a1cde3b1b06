//! Which noise levels a render passes through, and how it steps from one to the next. It runs no model.

mod flow_match_euler;

pub use flow_match_euler::{FlowMatchEuler, Levels};
