//! PNG out: 8 or 16 bits a channel, tagged sRGB, with the generation's parameters as text.
//!
//! Written quickly rather than small: a farm writes thousands of frames, and masters are recompressed anyway.

use super::{Error, Frame, Picture, parameters::Parameters, to_u8, to_u16};
use png::{BitDepth, ColorType, Compression, Encoder, Filter, SrgbRenderingIntent};

/// The keyword under which the field's tools look for a picture's recipe.
const KEYWORD: &str = "parameters";

/// One frame as a PNG of `bits` (8 or 16) a channel.
pub fn encode(frame: Frame<'_>, bits: u32, parameters: &Parameters) -> Result<Vec<u8>, Error> {
    let text = parameters.to_string();
    match bits {
        8 => {
            let rgb: Vec<u8> = frame.rgb().iter().map(|&v| to_u8(v)).collect();
            write(frame.width(), frame.height(), BitDepth::Eight, &rgb, Some(&text))
        }
        16 => {
            let rgb: Vec<u8> = frame.rgb().iter().flat_map(|&v| to_u16(v).to_be_bytes()).collect();
            write(frame.width(), frame.height(), BitDepth::Sixteen, &rgb, Some(&text))
        }
        bits => Err(Error::Bits { bits }),
    }
}

/// A finished picture, such as a contact sheet, as a PNG without parameters.
pub fn encode_picture(picture: &Picture) -> Result<Vec<u8>, Error> {
    write(picture.width, picture.height, BitDepth::Eight, &picture.rgb, None)
}

fn write(
    width: usize,
    height: usize,
    depth: BitDepth,
    samples: &[u8],
    text: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let side = |n: usize| u32::try_from(n).map_err(|_| Error::Size { width, height });
    let mut bytes = Vec::with_capacity(samples.len() / 2 + 1024);
    let mut encoder = Encoder::new(&mut bytes, side(width)?, side(height)?);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(depth);
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(match depth {
        // The high bytes carry the picture and the low ones little but noise: a fixed filter does as well as a search.
        BitDepth::Sixteen => Filter::Sub,
        _ => Filter::Adaptive,
    });
    encoder.set_source_srgb(SrgbRenderingIntent::Perceptual);
    if let Some(text) = text {
        // Latin-1 goes where every reader looks; only what does not fit it needs the newer chunk.
        match text.chars().all(|c| u32::from(c) < 256) {
            true => encoder.add_text_chunk(KEYWORD.into(), text.into())?,
            false => encoder.add_itxt_chunk(KEYWORD.into(), text.into())?,
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::{decode, parameters::tests::sample};
    use super::*;

    fn ramp(width: usize, height: usize) -> Vec<f32> {
        (0..width * height * 3).map(|i| (i % 977) as f32 / 976.0).collect()
    }

    #[test]
    fn eight_bits_come_back_as_they_went() {
        let rgb = ramp(33, 17);
        let frame = Frame::new(33, 17, &rgb).unwrap();
        let still = decode::png(&encode(frame, 8, &sample()).unwrap()).unwrap();
        assert_eq!(still.to_picture(), frame.to_picture());
        assert_eq!(still.parameters.as_deref(), Some(sample().to_string().as_str()));
    }

    #[test]
    fn sixteen_bits_come_back_within_half_a_step() {
        let rgb = ramp(31, 9);
        let still = decode::png(&encode(Frame::new(31, 9, &rgb).unwrap(), 16, &sample()).unwrap()).unwrap();
        for (value, read) in rgb.iter().zip(still.values()) {
            assert!((value - read).abs() <= 0.5 / 65_535.0 + 1e-7, "{value} came back as {read}");
        }
    }

    #[test]
    fn text_beyond_latin_1_survives() {
        let mut parameters = sample();
        parameters.prompt = "雪の中の赤い傘 — \"ein Schirm\"\nzweite Zeile".into();
        let rgb = ramp(4, 4);
        let bytes = encode(Frame::new(4, 4, &rgb).unwrap(), 8, &parameters).unwrap();
        assert_eq!(decode::png(&bytes).unwrap().parameters, Some(parameters.to_string()));
    }

    #[test]
    fn the_same_frame_gives_the_same_bytes() {
        let rgb = ramp(64, 48);
        let frame = Frame::new(64, 48, &rgb).unwrap();
        for bits in [8, 16] {
            assert_eq!(encode(frame, bits, &sample()).unwrap(), encode(frame, bits, &sample()).unwrap());
        }
    }

    #[test]
    fn other_depths_are_refused() {
        let rgb = ramp(2, 2);
        assert!(matches!(
            encode(Frame::new(2, 2, &rgb).unwrap(), 10, &sample()),
            Err(Error::Bits { bits: 10 })
        ));
    }
}
