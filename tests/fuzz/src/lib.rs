//! What each fuzz target does with its bytes, apart from the fuzzer: the ordinary tests give the same functions the
//! committed seeds. A function panics when something does not hold that must; that it reads or refuses is its callee's.

pub mod config;
pub mod grpc;
pub mod identity;
pub mod messages;
pub mod rank;
pub mod records;
pub mod safetensors;
pub mod spec;
pub mod template;
pub mod tokenizer;

use std::path::Path;

/// Runs a target on one input. `folder` is an empty one of the target's own, the same at every call.
pub type Run = fn(folder: &Path, input: &[u8]);

/// All targets by their names.
pub const TARGETS: &[(&str, Run)] = &[
    ("spec", |_, input| spec::run(input)),
    ("template", |_, input| template::run(input)),
    ("safetensors", safetensors::run),
    ("tokenizer", tokenizer::run),
    ("config", config::run),
    ("grpc", |_, input| grpc::run(input)),
    ("rank", |_, input| rank::run(input)),
    ("records", |_, input| records::run(input)),
    ("identity", |_, input| identity::run(input)),
];
