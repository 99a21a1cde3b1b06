//! See `src/tokenizer.rs`.
#![no_main]

use std::{path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;

/// It lies where `run` removes it afterwards: a fuzzer ends without cleaning up.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());

fuzz_target!(init: std::panic::set_hook(Box::new(told)), |input: &[u8]| {
    croft_fuzz::tokenizer::run(&FOLDER, input);
});

/// The library of tokenizers panics over some files, which the engine catches. A panic that nobody catches still ends the
/// process.
fn told(panic: &std::panic::PanicHookInfo<'_>) {
    if !panic.location().is_some_and(|at| at.file().contains("/registry/")) {
        eprintln!("{panic}");
    }
}
