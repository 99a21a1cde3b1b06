//! Pictures at another size: a triangle filter that widens as it shrinks, in linear light.
//!
//! For thumbnails. Averaging encoded sRGB values would darken fine detail, so values are made linear first.

use super::Picture;
use std::sync::LazyLock;

/// `picture` at `width` x `height`.
pub(super) fn resize(picture: &Picture, width: usize, height: usize) -> Picture {
    if (picture.width, picture.height) == (width, height) {
        return picture.clone();
    }
    let linear: Vec<f32> = picture.rgb.iter().map(|&v| LINEAR[usize::from(v)]).collect();
    let narrow = across(&linear, picture.width, picture.height, &taps(picture.width, width));
    let small = down(&narrow, width, &taps(picture.height, height));
    Picture { width, height, rgb: small.into_iter().map(encode).collect() }
}

/// Weights of one output sample over consecutive input samples, summing to one.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f32 / to as f32;
    let reach = scale.max(1.0);
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * scale;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize).min(from);
            let weight = |at: usize| (1.0 - (at as f32 + 0.5 - centre).abs() / reach).max(0.0);
            let mut weights: Vec<f32> = (first..last).map(weight).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            Taps { first, weights }
        })
        .collect()
}

fn across(linear: &[f32], width: usize, height: usize, taps: &[Taps]) -> Vec<f32> {
    let mut out = Vec::with_capacity(taps.len() * height * 3);
    for row in linear.chunks_exact(width * 3) {
        for tap in taps {
            let pixels = row[tap.first * 3..].as_chunks::<3>().0;
            let mut sum = [0.0; 3];
            for (pixel, weight) in pixels.iter().zip(&tap.weights) {
                (0..3).for_each(|c| sum[c] += pixel[c] * weight);
            }
            out.extend(sum);
        }
    }
    out
}

fn down(rows: &[f32], width: usize, taps: &[Taps]) -> Vec<f32> {
    let stride = width * 3;
    let mut out = vec![0.0; taps.len() * stride];
    for (tap, line) in taps.iter().zip(out.chunks_exact_mut(stride)) {
        for (row, weight) in rows[tap.first * stride..].chunks_exact(stride).zip(&tap.weights) {
            line.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * weight);
        }
    }
    out
}

/// IEC 61966-2-1.
static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let v = i as f32 / 255.0;
        if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    })
});

fn encode(linear: f32) -> u8 {
    // The table rises, so its inverse is a search: exact for every value that came from it.
    let above = LINEAR.partition_point(|&v| v < linear).min(255);
    let below = above.saturating_sub(1);
    let nearer_below = linear - LINEAR[below] < LINEAR[above] - linear;
    (if nearer_below { below } else { above }) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_the_way_to_linear_light_and_back() {
        assert!((0..=255u8).all(|v| encode(LINEAR[usize::from(v)]) == v));
    }

    #[test]
    fn a_flat_picture_stays_flat_at_any_size() {
        let flat = Picture { width: 13, height: 7, rgb: [200, 30, 90].repeat(91) };
        for (width, height) in [(40, 21), (5, 3), (1, 1), (13, 14)] {
            let out = resize(&flat, width, height);
            assert_eq!(out.rgb, [200, 30, 90].repeat(width * height), "{width}x{height}");
        }
    }

    #[test]
    fn a_checkerboard_shrinks_to_the_grey_of_half_the_light() {
        let rgb = (0..64 * 64).flat_map(|i| [if (i + i / 64) % 2 == 0 { 255 } else { 0 }; 3]).collect();
        let out = resize(&Picture { width: 64, height: 64, rgb }, 4, 4);
        assert!(out.rgb.iter().all(|&v| (186..=189).contains(&v)), "{:?}", &out.rgb[..3]);
    }
}
