//! RGB to the planes that H.264 takes: 4:2:0, 8 bits, BT.709, limited range.
//!
//! Done here because the H.264 wrapper's own converter is BT.601 and truncates, and the stream is tagged BT.709.

use super::Frame;
use openh264::formats::YUVSource;

/// Luma weights of BT.709; green takes the rest.
const KR: f32 = 0.2126;
const KB: f32 = 0.0722;

/// One picture's planes. Both sides are even: an odd one is widened by repeating its last row or column.
#[derive(Debug)]
pub(super) struct Planes {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
    /// Colour differences at full size, kept between frames.
    blue: Vec<f32>,
    red: Vec<f32>,
}

impl Planes {
    /// For frames of this size.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width.next_multiple_of(2), height.next_multiple_of(2));
        let (all, quarter) = (width * height, width * height / 4);
        Self {
            width,
            height,
            y: vec![0; all],
            u: vec![0; quarter],
            v: vec![0; quarter],
            blue: vec![0.0; all],
            red: vec![0.0; all],
        }
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Takes a frame of the size given at the start.
    pub(super) fn fill(&mut self, frame: Frame<'_>) {
        debug_assert_eq!(
            (frame.width().next_multiple_of(2), frame.height().next_multiple_of(2)),
            (self.width, self.height)
        );
        for row in 0..self.height {
            let source = &frame.rgb()[row.min(frame.height() - 1) * frame.width() * 3..][..frame.width() * 3];
            let at = row * self.width;
            for column in 0..self.width {
                let pixel = &source[column.min(frame.width() - 1) * 3..][..3];
                let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|v| v.clamp(0.0, 1.0));
                let luma = KR * r + (1.0 - KR - KB) * g + KB * b;
                self.y[at + column] = (16.0 + 219.0 * luma).round() as u8;
                self.blue[at + column] = (b - luma) / (2.0 * (1.0 - KB));
                self.red[at + column] = (r - luma) / (2.0 * (1.0 - KR));
            }
        }
        halve(&self.blue, self.width, &mut self.u);
        halve(&self.red, self.width, &mut self.v);
    }
}

/// A quarter of the chroma samples. H.264 places them on the left column of each pair and between its rows, so
/// the weights across are 1 2 1 around that column.
fn halve(full: &[f32], width: usize, quarter: &mut [u8]) {
    for (pair, out) in full.chunks_exact(2 * width).zip(quarter.chunks_exact_mut(width / 2)) {
        let (upper, lower) = pair.split_at(width);
        for (i, sample) in out.iter_mut().enumerate() {
            let (left, right) = ((2 * i).saturating_sub(1), 2 * i + 1);
            let at = |column: usize| upper[column] + lower[column];
            let mean = (at(left) + 2.0 * at(2 * i) + at(right)) / 8.0;
            *sample = (128.0 + 224.0 * mean).round() as u8;
        }
    }
}

impl YUVSource for Planes {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.y
    }

    fn u(&self) -> &[u8] {
        &self.u
    }

    fn v(&self) -> &[u8] {
        &self.v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(rgb: [f32; 3]) -> (u8, u8, u8) {
        let samples: Vec<f32> = rgb.repeat(15);
        let mut planes = Planes::new(5, 3);
        planes.fill(Frame::new(5, 3, &samples).unwrap());
        assert!(planes.y.iter().all(|&y| y == planes.y[0]), "a flat frame has flat edges");
        (planes.y[0], planes.u[0], planes.v[0])
    }

    /// ITU-R BT.709-6, table 3: 8-bit bars.
    #[test]
    fn bars_have_the_levels_of_bt709() {
        assert_eq!(flat([0.0; 3]), (16, 128, 128));
        assert_eq!(flat([1.0; 3]), (235, 128, 128));
        assert_eq!(flat([1.0, 0.0, 0.0]), (63, 102, 240));
        assert_eq!(flat([0.0, 1.0, 0.0]), (173, 42, 26));
        assert_eq!(flat([0.0, 0.0, 1.0]), (32, 240, 118));
    }

    #[test]
    fn an_odd_size_grows_by_its_own_edge() {
        assert_eq!(Planes::new(5, 3).size(), (6, 4));
    }
}
