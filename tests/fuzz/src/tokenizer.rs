//! A model's tokenizer: refused, or it makes of every prompt as many numbers as it is asked for.
//!
//! The first byte says whether the rest is `tokenizer.json` or `spiece.model`.

use std::{fs, path::Path};

use croft_engine::{files::Files, pipelines::tokens};

const PROMPTS: [&str; 4] = [
    "",
    "a red circle moving right",
    "  \u{feff}</s> <pad>Ünïcødé 漢字 \u{1f3ac}\r\n\t\0",
    "aaaaaaaaaaaaaaaa",
];
const LENGTHS: [usize; 3] = [1, 8, 128];

pub fn run(folder: &Path, input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let tokenizer = folder.join("tokenizer");
    fs::create_dir_all(&tokenizer).expect("a folder");
    let [json, pieces] = ["tokenizer.json", "spiece.model"].map(|name| tokenizer.join(name));
    let (file, other) = if kind % 4 == 0 { (pieces, json) } else { (json, pieces) };
    // It may not be there yet.
    let _ = fs::remove_file(other);
    fs::write(file, bytes).expect("a file");
    for prompt in PROMPTS {
        for length in LENGTHS {
            if let Ok(numbers) = tokens(&Files::Folder(folder.to_owned()), prompt, length) {
                assert_eq!(numbers.len(), length, "of {prompt:?}");
            }
        }
    }
}
