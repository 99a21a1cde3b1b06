//! A model of a middle size, made by the test: a tiny one of the golden tensors with wider and more layers.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

const BLOCKS: usize = 8;
const TEXT_BLOCKS: usize = 4;
const HEADS: usize = 8;

/// A length of the tiny model as one of this: widths, heads, hidden forms; what is of the text or the pixels stays.
fn wider(length: u64) -> u64 {
    match length {
        4 => HEADS as u64,
        32 => 512,
        37 => 1_280,
        128 => 2_048,
        192 => 3_072,
        same => same,
    }
}

/// Writes the model into `folder`, in diffusers' layout.
pub(crate) fn make(folder: &Path) {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numerics/golden/ltx095/pipe");
    for name in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ] {
        let to = folder.join(name);
        fs::create_dir_all(to.parent().expect("below the folder")).expect("made");
        fs::copy(tiny.join(name), to).expect("copied");
    }
    let sizes =
        json!({"d_ff": 1_280, "d_kv": 64, "d_model": 512, "num_heads": HEADS, "num_layers": TEXT_BLOCKS});
    part(&tiny, folder, "text_encoder", "model", "encoder.block.", TEXT_BLOCKS, &sizes);
    let sizes = json!({
        "attention_head_dim": 64, "num_attention_heads": HEADS, "num_layers": BLOCKS, "caption_channels": 512,
        "cross_attention_dim": 512,
    });
    part(&tiny, folder, "transformer", "diffusion_pytorch_model", "transformer_blocks.", BLOCKS, &sizes);
}

/// One part: its configuration with other sizes, and weights from a fixed seed.
fn part(tiny: &Path, folder: &Path, part: &str, stem: &str, prefix: &str, blocks: usize, sizes: &Value) {
    fs::create_dir_all(folder.join(part)).expect("made");
    let text = fs::read_to_string(tiny.join(part).join("config.json")).expect("a configuration");
    let mut config: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    config.extend(sizes.as_object().expect("an object").clone());
    fs::write(folder.join(part).join("config.json"), Value::Object(config).to_string()).expect("written");

    let stored = fs::read(tiny.join(part).join(format!("{stem}.safetensors"))).expect("weights");
    let (_, header) = safetensors::SafeTensors::read_metadata(&stored).expect("a header");
    let mut shapes: Vec<(String, Vec<u64>)> = Vec::new();
    for (name, tensor) in header.tensors() {
        let shape: Vec<u64> = tensor.shape.iter().map(|length| wider(*length as u64)).collect();
        match name.strip_prefix(prefix).and_then(|rest| rest.split_once('.')) {
            None => shapes.push((name, shape)),
            Some(("0", rest)) => {
                // The table of distances is the first block's alone.
                let blocks = if rest.contains("relative_attention_bias") { 1 } else { blocks };
                shapes.extend((0..blocks).map(|block| (format!("{prefix}{block}.{rest}"), shape.clone())));
            }
            Some(_) => {}
        }
    }
    shapes.sort();
    let (mut header, mut bytes) = (Map::new(), Vec::new());
    let mut seed = 7_u32;
    for (name, shape) in shapes {
        let from = bytes.len();
        for _ in 0..shape.iter().product::<u64>() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
            // bf16: the upper half of an f32.
            bytes.extend_from_slice(&(0.04 * value).to_le_bytes()[2..]);
        }
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [from, bytes.len()]}));
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes);
    fs::write(folder.join(part).join(format!("{stem}.safetensors")), file).expect("written");
}
