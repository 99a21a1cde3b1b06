//! PNG in: what this program has written, for contact sheets and for `verify`.
//!
//! Not a general reader: other colour types are refused by name rather than converted by guess.

use super::{Error, Picture, SIDE_MAX};
use png::{BitDepth, ColorType, Decoder, Limits};
use std::io::Cursor;

/// Bytes the decoder may take: the largest picture at 16 bits, and some text.
const DECODED_BYTES_MAX: usize = 1 << 30;

/// A decoded PNG.
#[derive(Clone, Debug)]
pub struct Still {
    pub width: usize,
    pub height: usize,
    /// 8 or 16.
    pub bits: u32,
    /// `(height, width, 3)`; 16-bit samples are big-endian pairs, as the file has them.
    samples: Vec<u8>,
    /// The `parameters` text, if the file has one.
    pub parameters: Option<String>,
}

impl Still {
    /// `(height, width, 3)`, 0 to 1.
    pub fn values(&self) -> Vec<f32> {
        match self.bits {
            16 => self
                .samples
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&b| f32::from(u16::from_be_bytes(b)) / 65_535.0)
                .collect(),
            _ => self.samples.iter().map(|&b| f32::from(b) / 255.0).collect(),
        }
    }

    /// As 8 bits a channel, to look at.
    pub fn to_picture(&self) -> Picture {
        let rgb = match self.bits {
            16 => self.values().into_iter().map(super::to_u8).collect(),
            _ => self.samples.clone(),
        };
        Picture { width: self.width, height: self.height, rgb }
    }
}

/// Reads one PNG of RGB with 8 or 16 bits a channel.
pub fn png(bytes: &[u8]) -> Result<Still, Error> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: DECODED_BYTES_MAX });
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info()?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    if width > SIDE_MAX || height > SIDE_MAX {
        return Err(Error::Size { width, height });
    }
    let bits = match (reader.info().color_type, reader.info().bit_depth) {
        (ColorType::Rgb, BitDepth::Eight) => 8,
        (ColorType::Rgb, BitDepth::Sixteen) => 16,
        (color, depth) => return Err(Error::PngKind { found: format!("{color:?} of {} bits", depth as u8) }),
    };
    let mut samples = vec![0; width * height * 3 * (bits as usize / 8)];
    reader.next_frame(&mut samples)?;
    reader.finish()?;
    let info = reader.info();
    let latin =
        info.uncompressed_latin1_text.iter().find(|c| c.keyword == "parameters").map(|c| c.text.clone());
    let utf8 = || info.utf8_text.iter().find(|c| c.keyword == "parameters").and_then(|c| c.get_text().ok());
    let parameters = latin.or_else(utf8);
    Ok(Still { width, height, bits, samples, parameters })
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, parameters::tests::sample, png};
    use super::*;

    #[test]
    fn a_truncated_png_is_an_error() {
        let rgb = vec![0.25; 64 * 64 * 3];
        let bytes = png::encode(Frame::new(64, 64, &rgb).unwrap(), 8, &sample()).unwrap();
        for cut in [0, 20, bytes.len() / 2, bytes.len() - 20] {
            assert!(super::png(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn another_colour_type_is_named() {
        let mut bytes = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut bytes, 2, 2);
        encoder.set_color(ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[0; 4]).unwrap();
        match super::png(&bytes) {
            Err(Error::PngKind { found }) => assert_eq!(found, "Grayscale of 8 bits"),
            other => panic!("{other:?}"),
        }
    }
}
