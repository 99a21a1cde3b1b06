//! Seeded random weights in the diffusers layout, with the names and shapes of published models.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde_json::{Value, json};

/// Bytes of a file; a part that has more is written as several, as published ones are.
const FILE_MAX: usize = 5 << 30;
/// Numbers that one thread writes at a time.
const PIECE: usize = 4 << 20;

/// Where the lists of names and shapes are.
fn golden() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numerics/golden");
    std::env::var_os("CROFT_GOLDEN").map_or(here, PathBuf::from)
}

/// Writes part `part` of the model, whose published layout is `name`, and gives its numbers.
pub(super) fn part(out: &Path, part: &str, stem: &str, name: &str, seed: u64) -> u64 {
    let list =
        File::open(golden().join("real").join(format!("{name}.json.gz"))).expect("the published layout");
    let mut text = String::new();
    flate2::read::GzDecoder::new(list).read_to_string(&mut text).expect("a layout");
    let published: Value = serde_json::from_str(&text).expect("a layout");
    let folder = out.join(part);
    fs::create_dir_all(&folder).expect("room for a model");
    fs::write(folder.join("config.json"), published["config"].to_string()).expect("room for a model");
    let tensors: BTreeMap<String, Vec<usize>> =
        serde_json::from_value(published["tensors"].clone()).expect("names and shapes");
    let mut files: Vec<Vec<(String, Vec<usize>)>> = vec![Vec::new()];
    let mut bytes = 0;
    for (name, shape) in tensors {
        let size = 2 * shape.iter().product::<usize>();
        if bytes + size > FILE_MAX && bytes > 0 {
            files.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        files.last_mut().expect("there is one").push((name, shape));
    }
    let (count, mut numbers, mut map) = (files.len(), 0, serde_json::Map::new());
    for (i, tensors) in files.into_iter().enumerate() {
        let file = match count {
            1 => format!("{stem}.safetensors"),
            _ => format!("{stem}-{:05}-of-{count:05}.safetensors", i + 1),
        };
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), json!(file))));
        numbers += write(&folder.join(&file), &tensors, seed + i as u64);
    }
    if count > 1 {
        let index = json!({ "metadata": { "total_size": 2 * numbers }, "weight_map": map });
        fs::write(folder.join(format!("{stem}.safetensors.index.json")), index.to_string()).expect("room");
    }
    numbers as u64
}

/// What belongs to a model beside its parts: those of the reference model.
pub(super) fn beside(out: &Path) {
    let of = golden().join("ltx/pipe");
    for name in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
    ] {
        let to = out.join(name);
        fs::create_dir_all(to.parent().expect("a folder")).expect("room for a model");
        fs::copy(of.join(name), to).expect("the reference model");
    }
}

fn write(path: &Path, tensors: &[(String, Vec<usize>)], seed: u64) -> usize {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let size = 2 * shape.iter().product::<usize>();
        header.insert(
            name.clone(),
            json!({ "dtype": "BF16", "shape": shape, "data_offsets": [at, at + size] }),
        );
        at += size;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let file = File::create(path).expect("room for a model");
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).expect("room");
    file.write_all_at(&header, 8).expect("room");
    let (start, numbers) = (8 + header.len(), at / 2);
    (0..numbers.div_ceil(PIECE)).into_par_iter().for_each(|piece| {
        let first = piece * PIECE;
        let values = random(seed << 32 | piece as u64, PIECE.min(numbers - first));
        file.write_all_at(&values, (start + 2 * first) as u64).expect("room for a model");
    });
    numbers
}

/// bf16 of random sign and mantissa, and of sizes from 2^-8 to 2^-5.
fn random(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(2 * count + 8);
    while bytes.len() < 2 * count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Four numbers: the exponent is 119 and what two bits add.
        let word = state & 0x81ff_81ff_81ff_81ff | 0x3b80_3b80_3b80_3b80;
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(2 * count);
    bytes
}
