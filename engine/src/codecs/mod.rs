//! Pictures and clips to bytes and back: PNG, preview MP4, contact sheets.
//!
//! Everything here is a pure function of its input: the same frames give the same bytes on every machine and
//! with any number of threads, so that published files may be compared by digest. Nothing here touches a disk.

pub mod contact_sheet;
pub mod decode;
mod lettering;
#[cfg(feature = "preview")]
pub mod mp4;
pub mod parameters;
pub mod png;
mod resample;
#[cfg(feature = "preview")]
mod yuv;

/// The longest side of a picture that a codec takes, pixels. Past it a request is a mistake, not a picture.
pub const SIDE_MAX: usize = 16_384;

/// Why pictures could not become bytes, or bytes pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A side of zero, or longer than [`SIDE_MAX`].
    #[error("a picture of {width}x{height} cannot be encoded; each side must be 1 to {SIDE_MAX} pixels")]
    Size { width: usize, height: usize },
    /// The samples do not fill the picture.
    #[error("{samples} samples are not a picture of {width}x{height} with 3 channels")]
    Samples { width: usize, height: usize, samples: usize },
    /// PNGs are written with 8 or 16 bits a channel.
    #[error("a png of {bits} bits a channel cannot be written; use 8 or 16")]
    Bits { bits: u32 },
    #[error("the png could not be written")]
    PngWrite(#[from] ::png::EncodingError),
    /// Truncated, corrupt or too large.
    #[error("the png could not be read")]
    PngRead(#[from] ::png::DecodingError),
    /// A well-formed PNG of another kind than this program writes.
    #[error("the png holds {found}; only rgb of 8 or 16 bits is read")]
    PngKind { found: String },
    /// H.264 has levels, and this encoder's end here.
    #[error(
        "a preview of {width}x{height} cannot be made; it must fit 16x16 to 3840x2160: leave the preview out"
    )]
    PreviewSize { width: usize, height: usize },
    #[error("{fps} frames a second cannot be played; use 1 to 240")]
    FrameRate { fps: f64 },
    #[error("a clip without frames cannot be encoded")]
    NoFrames,
    /// The encoder or the muxer refused, in its own words.
    #[error("the preview could not be encoded: {detail}")]
    Preview { detail: String },
    /// A sheet that would not fit its bound of pixels at any readable size.
    #[error("a contact sheet of {cells} cells is too large; {cells_max} fit: make several")]
    SheetSize { cells: usize, cells_max: usize },
}

/// One frame as the engine makes it: `(height, width, 3)` interleaved, 0 to 1 in sRGB. A view, cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    width: usize,
    height: usize,
    rgb: &'a [f32],
}

impl<'a> Frame<'a> {
    /// Takes `width * height * 3` samples, row by row from the top left.
    pub fn new(width: usize, height: usize, rgb: &'a [f32]) -> Result<Self, Error> {
        if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
            return Err(Error::Size { width, height });
        }
        if rgb.len() != width * height * 3 {
            return Err(Error::Samples { width, height, samples: rgb.len() });
        }
        Ok(Self { width, height, rgb })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// `(height, width, 3)`.
    pub fn rgb(&self) -> &'a [f32] {
        self.rgb
    }

    /// Rounded to 8 bits as diffusers does for its pictures.
    pub fn to_picture(&self) -> Picture {
        Picture { width: self.width, height: self.height, rgb: self.rgb.iter().map(|&v| to_u8(v)).collect() }
    }
}

/// 8 bits a channel, `(height, width, 3)` interleaved, sRGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// diffusers: `(images * 255).round().astype("uint8")`, and NumPy rounds halves to even.
fn to_u8(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

fn to_u16(value: f32) -> u16 {
    (value.clamp(0.0, 1.0) * 65_535.0).round_ties_even() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_as_numpy_does() {
        assert_eq!(to_u8(0.5), 128); // 127.5
        assert_eq!(to_u8(2.5 / 255.0), 2);
        assert_eq!((to_u8(-0.1), to_u8(1.7)), (0, 255));
        assert_eq!((to_u16(0.0), to_u16(1.0)), (0, 65_535));
    }

    #[test]
    fn a_frame_of_the_wrong_size_is_refused() {
        assert!(matches!(Frame::new(2, 2, &[0.0; 11]), Err(Error::Samples { samples: 11, .. })));
        assert!(matches!(Frame::new(0, 2, &[]), Err(Error::Size { .. })));
    }
}
