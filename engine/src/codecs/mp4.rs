//! The preview: an H.264 clip in MP4 that every browser and review tool plays, tagged BT.709.
//!
//! For looking at, not a master: 8 bits, 4:2:0. Constant quality, one encoder thread, no clock: the same frames
//! give the same bytes. The index comes before the pictures, so that a player starts before the file has arrived.

use super::{Error, Frame, yuv::Planes};
use muxide::api::{Muxer, MuxerBuilder, VideoCodec};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange,
    RateControlMode, VuiConfig,
};

/// The quantiser, 0 to 51: at 18 the eye finds no loss in a clip at its own size.
const QUANTISER: u8 = 18;

/// More than any preview needs, so that the rate never asks for another quantiser.
const BITS_PER_SECOND: u32 = 100_000_000;

/// H.264 counts in macroblocks of 16; below one the encoder has nothing to do.
const SIDE_MIN: usize = 16;

/// The longer and the shorter side that level 5.2 allows, pixels.
const SIDES_MAX: (usize, usize) = (3840, 2160);

/// A whole clip: frames of one size at `fps` frames a second. An odd side is widened by one repeated row or column.
pub fn encode<'a>(frames: impl IntoIterator<Item = Frame<'a>>, fps: f64) -> Result<Vec<u8>, Error> {
    let mut frames = frames.into_iter();
    let first = frames.next().ok_or(Error::NoFrames)?;
    let mut bytes = Vec::new();
    let mut preview = Preview::start(&mut bytes, first.width(), first.height(), fps)?;
    preview.push(first)?;
    for frame in frames {
        preview.push(frame)?;
    }
    preview.finish()?;
    Ok(bytes)
}

struct Preview<'a> {
    encoder: Encoder,
    muxer: Muxer<&'a mut Vec<u8>>,
    planes: Planes,
    size: (usize, usize),
    fps: f64,
    frames: u32,
    annex_b: Vec<u8>,
}

impl<'a> Preview<'a> {
    fn start(bytes: &'a mut Vec<u8>, width: usize, height: usize, fps: f64) -> Result<Self, Error> {
        if !(1.0..=240.0).contains(&fps) {
            return Err(Error::FrameRate { fps });
        }
        let planes = Planes::new(width, height);
        let (even_width, even_height) = planes.size();
        let (long, short) = (even_width.max(even_height), even_width.min(even_height));
        if short < SIDE_MIN || long > SIDES_MAX.0 || short > SIDES_MAX.1 {
            return Err(Error::PreviewSize { width, height });
        }
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config(fps)).map_err(failed)?;
        let muxer = MuxerBuilder::new(bytes)
            .video(VideoCodec::H264, even_width as u32, even_height as u32, fps)
            .with_fast_start(true)
            .build()
            .map_err(failed)?;
        Ok(Self { encoder, muxer, planes, size: (width, height), fps, frames: 0, annex_b: Vec::new() })
    }

    fn push(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        if (frame.width(), frame.height()) != self.size {
            return Err(Error::Size { width: frame.width(), height: frame.height() });
        }
        self.planes.fill(frame);
        let coded = self.encoder.encode(&self.planes).map_err(failed)?;
        let keyframe = matches!(coded.frame_type(), FrameType::IDR | FrameType::I);
        self.annex_b.clear();
        coded.write_vec(&mut self.annex_b);
        let seconds = f64::from(self.frames) / self.fps;
        self.muxer.write_video(seconds, &self.annex_b, keyframe).map_err(failed)?;
        self.frames += 1;
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        self.muxer.finish().map_err(failed)
    }
}

fn config(fps: f64) -> EncoderConfig {
    EncoderConfig::new()
        // Without rate control the quantiser could not be set at all; held to one value, it follows no rate.
        .rate_control_mode(RateControlMode::Quality)
        .bitrate(BitRate::from_bps(BITS_PER_SECOND))
        .qp(QpRange::new(QUANTISER, QUANTISER))
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        // A keyframe a second: people scrub through previews.
        .intra_frame_period(IntraFramePeriod::from_num_frames(fps.ceil() as u32))
        .complexity(Complexity::High)
        .vui(VuiConfig::bt709())
        .num_threads(1)
        // These look at the content, and a preview must not skip, smear or reorder what it shows.
        .skip_frames(false)
        .scene_change_detect(false)
        .adaptive_quantization(false)
        .background_detection(false)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Preview { detail: error.to_string() }
}
