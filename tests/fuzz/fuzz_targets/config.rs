//! See `src/config.rs`.
#![no_main]

use std::{path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;

/// It lies where `run` removes it afterwards: a fuzzer ends without cleaning up.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());

fuzz_target!(|input: &[u8]| croft_fuzz::config::run(&FOLDER, input));
