//! A model's folder of which one configuration is another: it gets a card or is refused, and a request by the card's
//! defaults is refused as one, or can be rendered.
//!
//! The first byte says which file the rest is.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use croft_engine::{card::card, error::Class, request::Request};

const FILES: [&str; 6] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "transformer/config.json",
    "vae/config.json",
    "croft.json",
];
const WHOLE: &str = "numerics/golden/ltx/pipe";

pub fn run(folder: &Path, input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let whole = whole();
    if !folder.join(FILES[0]).exists() {
        copy(&whole, folder);
    }
    let name = FILES[usize::from(*kind) % FILES.len()];
    fs::write(folder.join(name), bytes).expect("a file");
    if let Ok(card) = card(folder.to_str().expect("a path of text")) {
        // The family's defaults need not be for a model of other sizes; then it says what is.
        match Request::from_params(&card, "", "", 1, &BTreeMap::new()) {
            Ok(request) => request.check(&card).expect("it was checked"),
            Err(error) => assert!(error.class() == Class::Request && !error.remedy().is_empty(), "{error}"),
        }
    }
    match fs::read(whole.join(name)) {
        Ok(bytes) => fs::write(folder.join(name), bytes).expect("a file"),
        Err(_) => fs::remove_file(folder.join(name)).expect("it was written"),
    }
}

/// The package is the fuzzer's own or the product, which has these files for its tests.
fn whole() -> PathBuf {
    let places = ["..", "tests"].map(|place| Path::new(env!("CARGO_MANIFEST_DIR")).join(place).join(WHOLE));
    places.into_iter().find(|place| place.is_dir()).expect("the golden model")
}

fn copy(from: &Path, into: &Path) {
    fs::create_dir_all(into).expect("a folder");
    for entry in fs::read_dir(from).expect("the golden model") {
        let entry = entry.expect("an entry");
        let into = into.join(entry.file_name());
        match entry.path() {
            path if path.is_dir() => copy(&path, &into),
            path => fs::write(into, fs::read(path).expect("a file")).expect("its copy"),
        }
    }
}
