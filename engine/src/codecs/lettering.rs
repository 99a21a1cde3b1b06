//! Words on pictures: one monospaced face, two sizes, smooth edges.

use super::Picture;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};

/// How a line is set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    Title,
    Label,
    Detail,
}

impl Style {
    fn face(self) -> (FontWeight, RasterHeight, [u8; 3]) {
        match self {
            Self::Title => (FontWeight::Bold, RasterHeight::Size24, [236; 3]),
            Self::Label => (FontWeight::Bold, RasterHeight::Size16, [222; 3]),
            Self::Detail => (FontWeight::Regular, RasterHeight::Size16, [150; 3]),
        }
    }

    /// Height of a line, pixels.
    pub(super) fn height(self) -> usize {
        self.face().1.val()
    }

    /// Width of `text`, pixels.
    pub(super) fn width(self, text: &str) -> usize {
        let (weight, height, _) = self.face();
        text.chars().count() * get_raster_width(weight, height)
    }
}

/// Writes `text` with its top left corner at `(x, y)`; what does not fit into `width` ends in two dots.
pub(super) fn write(on: &mut Picture, (x, y): (usize, usize), width: usize, style: Style, text: &str) {
    let (weight, height, ink) = style.face();
    let advance = get_raster_width(weight, height);
    let room = width / advance;
    let long = text.chars().count() > room;
    let kept = if long { room.saturating_sub(2) } else { room };
    let dots = if long { ".." } else { "" };
    for (i, letter) in text.chars().take(kept).chain(dots.chars()).take(room).enumerate() {
        let glyph = get_raster(letter, weight, height).or_else(|| get_raster('?', weight, height));
        if let Some(glyph) = glyph {
            stamp(on, (x + i * advance, y), &glyph, ink);
        }
    }
}

fn stamp(on: &mut Picture, (x, y): (usize, usize), glyph: &RasterizedChar, ink: [u8; 3]) {
    let width = glyph.width().min(on.width.saturating_sub(x));
    if width == 0 {
        return;
    }
    for (row, cover) in glyph.rows().enumerate().take(on.height.saturating_sub(y)) {
        let at = ((y + row) * on.width + x) * 3;
        let (pixels, _) = on.rgb[at..at + width * 3].as_chunks_mut::<3>();
        for (pixel, &cover) in pixels.iter_mut().zip(cover) {
            for (under, ink) in pixel.iter_mut().zip(ink) {
                let blend = u32::from(*under) * (255 - u32::from(cover)) + u32::from(ink) * u32::from(cover);
                *under = (blend / 255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(width: usize, height: usize) -> Picture {
        Picture { width, height, rgb: vec![0; width * height * 3] }
    }

    #[test]
    fn a_long_line_stays_in_its_width() {
        let mut picture = blank(200, 20);
        write(&mut picture, (10, 2), 60, Style::Label, "a line that is far too long for its place");
        let inked = |x: usize| (0..20).any(|y| picture.rgb[(y * 200 + x) * 3] > 0);
        assert!((10..70).any(inked));
        assert!(!(70..200).any(inked), "nothing is written past the width");
    }

    #[test]
    fn letters_at_the_edge_are_cut_and_unknown_ones_are_shown_as_such() {
        let mut picture = blank(12, 10);
        write(&mut picture, (6, 4), 100, Style::Detail, "雪A");
        assert!(picture.rgb.iter().any(|&v| v > 0));
    }
}
