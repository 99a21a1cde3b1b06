//! Previews as others see them: ffprobe reads the tags, ffmpeg decodes the colours.
#![cfg(feature = "preview")]

use croft_engine::codecs::{Frame, mp4};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// A moving gradient with a saturated block: smooth parts, edges and motion.
fn clip(width: usize, height: usize, frames: usize) -> Vec<Vec<f32>> {
    let pixel = |t: usize, x: usize, y: usize| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        let inside = (u - 0.2 - 0.4 * t as f32 / frames as f32).abs() < 0.15 && (v - 0.5).abs() < 0.25;
        if inside { [0.85, 0.12, 0.1] } else { [0.3 + 0.4 * u, 0.5 + 0.3 * v, 0.7 - 0.3 * u] }
    };
    let frame = |t| (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(t, x, y))).collect();
    (0..frames).map(frame).collect()
}

fn encode(clip: &[Vec<f32>], width: usize, height: usize, fps: f64) -> Vec<u8> {
    mp4::encode(clip.iter().map(|rgb| Frame::new(width, height, rgb).expect("whole frames")), fps)
        .expect("a clip of an ordinary size")
}

fn saved(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().join("clip.mp4");
    std::fs::write(&path, bytes).expect("the clip fits the disk");
    (folder, path)
}

fn tool(name: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(name).args(arguments).output().unwrap_or_else(|error| {
        panic!("{name} is needed to judge previews ({error}); tests/run installs it with the package ffmpeg")
    });
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{name} complains: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn probe(path: &str) -> BTreeMap<String, String> {
    let entries = "stream=codec_name,profile,pix_fmt,width,height,nb_read_frames,avg_frame_rate,duration,\
                   color_range,color_space,color_transfer,color_primaries,chroma_location";
    let text = tool(
        "ffprobe",
        &["-v", "warning", "-count_frames", "-show_entries", entries, "-of", "default=nw=1", path],
    );
    let text = String::from_utf8(text).expect("ffprobe writes UTF-8");
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

#[test]
fn ffprobe_reads_the_clip_and_its_colours() {
    let clip = clip(160, 96, 49);
    let (_folder, path) = saved(&encode(&clip, 160, 96, 24.0));
    let found = probe(path.to_str().unwrap());
    let expected = [
        ("codec_name", "h264"),
        ("pix_fmt", "yuv420p"),
        ("width", "160"),
        ("height", "96"),
        ("nb_read_frames", "49"),
        ("avg_frame_rate", "24/1"),
        ("color_range", "tv"),
        ("color_space", "bt709"),
        ("color_transfer", "bt709"),
        ("color_primaries", "bt709"),
    ];
    for (key, value) in expected {
        assert_eq!(found.get(key).map(String::as_str), Some(value), "{key} of {found:?}");
    }
}

#[test]
fn a_player_that_believes_the_tags_sees_the_frames() {
    let (width, height) = (160, 96);
    let clip = clip(width, height, 9);
    let (_folder, path) = saved(&encode(&clip, width, height, 25.0));
    let filter = "scale=in_color_matrix=bt709:flags=accurate_rnd+full_chroma_int";
    let raw = tool(
        "ffmpeg",
        &[
            "-v",
            "warning",
            "-i",
            path.to_str().unwrap(),
            "-vf",
            filter,
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-",
        ],
    );
    assert_eq!(raw.len(), width * height * 3 * clip.len());
    let errors =
        clip.iter().flatten().zip(&raw).map(|(&want, &got)| f64::from(want) * 255.0 - f64::from(got));
    let mean_square = errors.map(|e| e * e).sum::<f64>() / raw.len() as f64;
    let psnr = 10.0 * (255.0 * 255.0 / mean_square).log10();
    // Of this clip's hard edges, sharing chroma among four pixels alone leaves 33.2 dB (x264 without loss).
    assert!(psnr > 31.5, "the decoded clip differs: {psnr:.1} dB");
    // Away from edges, where chroma is shared, colours must be right and not merely close: a wrong matrix is off by 10.
    let at = |x: usize, y: usize| (y * width + x) * 3;
    for (x, y) in [(32, 48), (150, 10), (120, 90)] {
        for c in 0..3 {
            let (want, got) = (clip[0][at(x, y) + c] * 255.0, f32::from(raw[at(x, y) + c]));
            assert!((want - got).abs() < 3.0, "channel {c} at {x},{y}: {want} came back as {got}");
        }
    }
}

#[test]
fn the_same_frames_give_the_same_bytes() {
    let clip = clip(128, 64, 12);
    let (first, second) = (encode(&clip, 128, 64, 24.0), encode(&clip, 128, 64, 24.0));
    assert!(first == second);
}

#[test]
fn the_index_comes_before_the_pictures() {
    let bytes = encode(&clip(64, 64, 3), 64, 64, 24.0);
    let find = |name: &[u8]| bytes.windows(4).position(|w| w == name).expect("an mp4 has this box");
    assert!(find(b"moov") < find(b"mdat"));
}

#[test]
fn odd_sizes_and_uneven_rates_are_played() {
    let (_folder, path) = saved(&encode(&clip(97, 65, 30), 97, 65, 23.976));
    let found = probe(path.to_str().unwrap());
    assert_eq!((found["width"].as_str(), found["height"].as_str()), ("98", "66"));
    assert_eq!(found["nb_read_frames"], "30");
}

#[test]
fn one_frame_is_a_clip_too() {
    let (_folder, path) = saved(&encode(&clip(64, 64, 1), 64, 64, 8.0));
    assert_eq!(probe(path.to_str().unwrap())["nb_read_frames"], "1");
}

#[test]
fn sizes_that_no_level_allows_are_refused() {
    let huge = vec![0.0; 4000 * 16 * 3];
    let error = mp4::encode([Frame::new(4000, 16, &huge).unwrap()], 24.0).unwrap_err();
    assert!(error.to_string().contains("4000x16"), "{error}");
    let tiny = vec![0.0; 8 * 8 * 3];
    assert!(mp4::encode([Frame::new(8, 8, &tiny).unwrap()], 24.0).is_err());
    assert!(mp4::encode([], 24.0).is_err());
}
