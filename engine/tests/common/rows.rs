//! What is measured on a device, left for `deploy/cuda/check`, which makes one table of it (deploy/cuda/README.md).

use std::{fs::OpenOptions, io::Write};

/// Appends a row to the file that `CROFT_CHECK_OUT` names, if it names one. The bound is `<= 0.02` or the like, or empty.
pub(crate) fn row(section: &str, name: &str, shape: &str, value: f64, unit: &str, bound: &str) {
    let Some(path) = std::env::var_os("CROFT_CHECK_OUT") else { return };
    let bound = (!bound.is_empty()).then_some(bound);
    let row = serde_json::json!({
        "section": section, "name": name, "shape": shape, "value": value, "unit": unit, "bound": bound,
    });
    // One write, so that rows of two processes do not mix.
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a place for rows");
    file.write_all(format!("{row}\n").as_bytes()).expect("room for a row");
}
