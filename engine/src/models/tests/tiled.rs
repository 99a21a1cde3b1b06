//! Decoding in tiles against diffusers: tiny autoencoders after `enable_tiling` with tiles so small that a clip has many,
//! some of them shorter than they overlap.

use std::cell::Cell;

use super::golden;
use crate::files::Files;
use crate::models::autoencoders::Tiling;
use crate::models::autoencoders::ltx::Decoder;
use crate::weights::Source;

struct Case {
    name: &'static str,
    size: [usize; 3],
    pixels: usize,
    /// Of the noise level that the decoder is told.
    timestep: Option<f32>,
    tiling: Tiling,
}

const CASES: [Case; 2] = [
    Case {
        name: "ltx",
        size: [3, 7, 6],
        pixels: 4,
        timestep: None,
        tiling: Tiling { tile: [16, 12], stride: [8, 8] },
    },
    Case {
        name: "ltx095",
        size: [1, 4, 5],
        pixels: 32,
        timestep: Some(0.05),
        tiling: Tiling { tile: [96, 128], stride: [64, 64] },
    },
];

fn values(tensor: &str) -> Vec<f32> {
    let bytes = std::fs::read(golden("tiled/decode.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor(tensor).unwrap().data().as_chunks::<4>().0;
    data.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn decoder(name: &str) -> Decoder {
    let files = Files::Folder(golden(name).join("pipe"));
    let mut source = Source::open(&files, "vae/diffusion_pytorch_model").unwrap();
    Decoder::new(&files.json("vae/config.json").unwrap(), &mut source).unwrap()
}

/// The pixels `(frames, height, width, 3)`, the tiles that were decoded, and the latents of the largest.
fn decoded(case: &Case, tiling: Tiling) -> (Vec<f32>, usize, usize) {
    let (decoder, latents) = (decoder(case.name), values(&format!("{}.latents", case.name)));
    let width = case.size[2] * case.pixels;
    let height = case.size[1] * case.pixels;
    let (tiles, largest) = (Cell::new(0), Cell::new(0));
    let mut pixels = Vec::new();
    let decode = |part: &[f32], size: [usize; 3]| {
        tiles.set(tiles.get() + 1);
        largest.set(largest.get().max(size[1] * size[2]));
        decoder.decode(part, size, case.timestep)
    };
    let put = |at: crate::models::autoencoders::tiling::Place, line: &[f32]| {
        let from = 3 * ((at.frame * height + at.row) * width + at.column);
        pixels.resize(pixels.len().max(from + line.len()), f32::NAN);
        assert!(pixels[from..from + line.len()].iter().all(|v| v.is_nan()), "each pixel is given once");
        pixels[from..from + line.len()].copy_from_slice(line);
    };
    tiling.decode(&latents, case.size, case.pixels, decode, put).unwrap();
    (pixels, tiles.get(), largest.get())
}

#[test]
fn tiles_are_cut_and_blended_as_by_diffusers() {
    for case in CASES {
        let theirs = values(&format!("{}.tiled", case.name));
        let (ours, tiles, _) = decoded(&case, case.tiling);
        assert_eq!(ours.len(), theirs.len());
        let largest = theirs.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let off = ours.iter().zip(&theirs).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        println!("{}: {tiles} tiles, {off:.1e}", case.name);
        assert!(off <= 1e-5, "{}: {off}", case.name);
    }
}

#[test]
fn a_clip_no_larger_than_a_tile_is_decoded_whole() {
    for case in CASES {
        let (whole, one, all) = decoded(&case, Tiling::NONE);
        assert_eq!((one, all), (1, case.size[1] * case.size[2]));
        let (same, one, _) = decoded(&case, Tiling::VIDEO);
        assert_eq!((one, &same), (1, &whole));
        // Larger in one direction only.
        let high =
            Tiling { tile: [usize::MAX, case.tiling.tile[1]], stride: [usize::MAX, case.tiling.stride[1]] };
        let (_, tiles, _) = decoded(&case, high);
        assert_eq!(tiles, case.size[2].div_ceil(case.tiling.stride[1] / case.pixels));
    }
}

#[test]
fn no_more_than_a_tile_is_decoded_at_once() {
    for case in CASES {
        let (_, tiles, largest) = decoded(&case, case.tiling);
        assert!(tiles > 4);
        let [height, width] = case.tiling.tile.map(|side| side / case.pixels);
        assert_eq!(largest, height * width);
    }
}

#[test]
fn tiles_that_would_cut_through_latents_are_not_offered() {
    assert!([4, 8, 32, 64].into_iter().all(|pixels| Tiling::VIDEO.fits(pixels)));
    assert!(!Tiling::VIDEO.fits(24) && !Tiling::VIDEO.fits(128));
}
