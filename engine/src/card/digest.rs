//! One name for all the bytes of a model.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files::Files;

/// SHA-256 over lines of `digest  name`, in the order of names: what `sha256sum FILES | sha256sum` prints. The files
/// are hashed side by side.
pub(super) fn digest(files: &Files, mut names: Vec<String>) -> Result<String, Error> {
    names.sort_unstable();
    names.dedup();
    let lines: Vec<String> = names
        .par_iter()
        .map(|name| {
            let mut hash = Sha256::new();
            files.stream(name, |bytes| hash.update(bytes))?;
            Ok(format!("{}  {name}\n", hex(&hash.finalize())))
        })
        .collect::<Result<_, Error>>()?;
    Ok(hex(&Sha256::digest(lines.concat())))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all that is written to it");
        text
    })
}
