//! One clip from flags alone, against the frames that diffusers made from the same weights, prompt and seed.

use std::path::Path;

use croft_engine::codecs::decode;
use safetensors::SafeTensors;

use crate::house::{croft, ends};

/// Of 255: one for rounding to 8 bits, half for arithmetic in another order.
const FAR_MAX: f32 = 1.5;

#[test]
fn the_frames_are_those_of_diffusers() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numerics/golden/ltx");
    let out = tempfile::tempdir().expect("scratch");
    ends(
        croft(&["render", "--prompt", "a red circle moving right", "--negative-prompt", "blurry"])
            .args(["--seed", "42", "--steps", "3", "--guidance", "3", "--size", "32x32", "--num-frames", "9"])
            .args(["--set", "params.max_sequence_length=32", "--set", "layers.0.output=clip"])
            .arg("--model")
            .arg(golden.join("pipe"))
            .arg("-o")
            .arg(out.path()),
        0,
    );
    let bytes = std::fs::read(golden.join("golden.safetensors")).expect("goldens");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let frames = tensors.tensor("vae.decoder.00.out").expect("the decoded frames");
    assert_eq!(frames.shape(), [1, 3, 9, 32, 32]);
    // From -1..1 to 0..255, as diffusers' video processor does.
    let expected: Vec<f32> = frames
        .data()
        .chunks_exact(4)
        .map(|b| (f32::from_le_bytes([b[0], b[1], b[2], b[3]]) / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0)
        .collect();
    let mut farthest = 0f32;
    for frame in 0..9 {
        let png = std::fs::read(out.path().join(format!("clip/{:04}.png", frame + 1))).expect("a frame");
        let picture = decode::png(&png).expect("a png").to_picture();
        for (at, value) in picture.rgb.iter().enumerate() {
            let (pixel, channel) = (at / 3, at % 3);
            let wanted = expected[(channel * 9 + frame) * 32 * 32 + pixel];
            farthest = farthest.max((wanted - f32::from(*value)).abs());
        }
    }
    println!("farthest pixel: {farthest} of 255");
    assert!(farthest <= FAR_MAX, "a pixel is {farthest} of 255 off");
}
