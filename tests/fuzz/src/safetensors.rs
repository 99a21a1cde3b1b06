//! Weights as a rank opens them, mapped from a file: refused, or each tensor of the header can be taken and nothing else.
//!
//! The first byte says what the rest is: one file, the index of two good ones, or a checkpoint.

use std::{fs, path::Path};

use croft_engine::{checkpoint::Checkpoint, error::Error, files::Files, weights::Source};
use serde_json::Value;

/// Larger tensors are taken and not read.
const NUMBERS_READ: usize = 1 << 16;

pub fn run(folder: &Path, input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 | 1 => file(folder, bytes),
        2 => index(folder, bytes),
        _ => checkpoint(bytes),
    }
}

fn file(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("model.safetensors"), bytes).expect("a file");
    let Ok(mut source) = Source::open(&Files::Folder(folder.to_owned()), "model") else { return };
    assert_eq!(source.bytes(), bytes.len() as u64);
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a file that was opened has a header");
    let header: Value =
        serde_json::from_slice(&rest[..u64::from_le_bytes(*length) as usize]).expect("which is JSON");
    let header = header.as_object().expect("an object");
    let (mut all, mut numbers) = (true, 0u64);
    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let shape = entry["shape"].as_array().expect("of a tensor");
        let shape: Vec<usize> = shape.iter().map(|side| side.as_u64().expect("a side") as usize).collect();
        let count: usize = shape.iter().product();
        assert!(source.has(name));
        match source.take(name, &shape) {
            Ok(tensor) => {
                assert_eq!(tensor.shape(), shape);
                numbers += count as u64;
                if count <= NUMBERS_READ {
                    assert_eq!(tensor.into_vec().len(), count);
                }
            }
            Err(Error::WrongDtype { .. }) => all = false,
            Err(error) => panic!("{error}"),
        }
        let longer = [&shape[..], &[2]].concat();
        assert!(matches!(source.take(name, &longer), Err(Error::WrongShape { .. })));
    }
    assert_eq!(source.parameters(), numbers);
    assert_eq!(source.finish().is_ok(), all);
}

fn index(folder: &Path, bytes: &[u8]) {
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("a file");
    for shard in ["a", "b"] {
        let header = format!(r#"{{"{shard}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
        write(&format!("{shard}.safetensors"), &file);
    }
    write("sharded.safetensors.index.json", bytes);
    let Ok(mut source) = Source::open(&Files::Folder(folder.to_owned()), "sharded") else { return };
    for name in ["a", "b"].into_iter().filter(|name| source.has(name)).collect::<Vec<_>>() {
        source.take(name, &[1]).expect("it is there");
    }
    source.finish().expect("the two have nothing else");
}

fn checkpoint(bytes: &[u8]) {
    if let Ok(read) = Checkpoint::from_bytes(bytes, "ab") {
        let written = read.to_bytes();
        let again = Checkpoint::from_bytes(&written, "ab").expect("what was written is read");
        let bits = |checkpoint: &Checkpoint| -> Vec<u32> {
            checkpoint.halfway.latents.iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!((again.attempt, again.halfway.step), (read.attempt, read.halfway.step));
        assert_eq!(bits(&again), bits(&read));
    }
}
