//! Decoding in tiles that overlap, blended where they do, so that a decoder's working memory is that of one tile.
//!
//! The tiles, and the order in which their edges are mixed, are those of diffusers' `tiled_decode`. Tiles are cut from rows
//! and columns; each has all frames. What a decoder does with a tile is not known here.

use crate::error::Error;

/// Tiles of a picture, in pixels: height, then width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// A picture that is not larger is decoded whole.
    pub tile: [usize; 2],
    /// From one tile to the next; they overlap by the rest.
    pub stride: [usize; 2],
}

/// Where a line of pixels belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) frame: usize,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// Numbers of a pixel.
const RGB: usize = 3;

impl Tiling {
    /// diffusers' for video autoencoders.
    pub const VIDEO: Self = Self { tile: [512; 2], stride: [448; 2] };

    /// One tile for all.
    pub(crate) const NONE: Self = Self { tile: [usize::MAX; 2], stride: [usize::MAX; 2] };

    /// Whether its tiles begin and end with latents that become `pixels` rows and columns each.
    pub(crate) fn fits(&self, pixels: usize) -> bool {
        self.tile.iter().chain(&self.stride).all(|side| side.is_multiple_of(pixels))
    }

    /// Decodes `latents (frames, rows, columns, channels)` of `size`, each `pixels` rows and columns large, and hands out all
    /// lines of pixels, `(columns, 3)`. `decode` gives the pixels `(frames, height, width, 3)` of latents and their size.
    ///
    /// # Errors
    /// Those of `decode`.
    pub(crate) fn decode(
        &self,
        latents: &[f32],
        size: [usize; 3],
        pixels: usize,
        mut decode: impl FnMut(&[f32], [usize; 3]) -> Result<Vec<f32>, Error>,
        mut put: impl FnMut(Place, &[f32]),
    ) -> Result<(), Error> {
        let [frames, rows, columns] = size;
        let in_latents = |pixels_of: [usize; 2]| pixels_of.map(|side| (side / pixels).max(1));
        let tile = in_latents(self.tile);
        if rows <= tile[0] && columns <= tile[1] {
            let whole = Tile { values: decode(latents, size)?, size: [rows * pixels, columns * pixels] };
            whole.put([usize::MAX; 2], [0, 0], &mut put);
            return Ok(());
        }
        let stride = in_latents(self.stride);
        let blend = [0, 1].map(|axis| self.tile[axis] - self.stride[axis]);
        let mut above: Vec<Tile> = Vec::new();
        for top in (0..rows).step_by(stride[0]) {
            let (mut lower, mut before): (Vec<Tile>, Option<Tile>) = (Vec::new(), None);
            for (number, left) in (0..columns).step_by(stride[1]).enumerate() {
                let [height, width] = [tile[0].min(rows - top), tile[1].min(columns - left)];
                let part = cut(latents, size, [top, left], [height, width]);
                let values = decode(&part, [frames, height, width])?;
                let mut made = Tile { values, size: [height * pixels, width * pixels] };
                // Upwards first: what lies above was mixed with its own neighbours before.
                if let Some(above) = above.get(number) {
                    made.blend_below(above);
                }
                if let Some(before) = &before {
                    made.blend_after(before);
                }
                made.put(self.stride, [top * pixels, left * pixels], &mut put);
                lower.push(made.end(0, blend[0]));
                before = Some(made.end(1, blend[1]));
            }
            above = lower;
        }
        Ok(())
    }
}

/// The latents of one tile.
fn cut(latents: &[f32], size: [usize; 3], [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let [frames, rows, columns] = size;
    let channels = latents.len() / (frames * rows * columns);
    let mut part = Vec::with_capacity(frames * height * width * channels);
    for frame in 0..frames {
        for row in top..top + height {
            let at = ((frame * rows + row) * columns + left) * channels;
            part.extend_from_slice(&latents[at..at + width * channels]);
        }
    }
    part
}

/// Pixels `(frames, height, width, 3)` of a tile, or of its end.
struct Tile {
    values: Vec<f32>,
    /// Height and width.
    size: [usize; 2],
}

impl Tile {
    fn frames(&self) -> usize {
        self.values.len() / (RGB * self.size[0] * self.size[1])
    }

    /// `len` pixels of a row, from `column`.
    fn line(&self, frame: usize, row: usize, column: usize, len: usize) -> &[f32] {
        let at = RGB * ((frame * self.size[0] + row) * self.size[1] + column);
        &self.values[at..at + RGB * len]
    }

    fn line_mut(&mut self, frame: usize, row: usize, column: usize, len: usize) -> &mut [f32] {
        let at = RGB * ((frame * self.size[0] + row) * self.size[1] + column);
        &mut self.values[at..at + RGB * len]
    }

    /// Its last rows (axis 0) or columns (axis 1), all that a neighbour is mixed with.
    fn end(&self, axis: usize, most: usize) -> Self {
        let mut size = self.size;
        size[axis] = most.min(size[axis]);
        let [top, left] = [self.size[0] - size[0], self.size[1] - size[1]];
        let mut values = Vec::with_capacity(self.frames() * RGB * size[0] * size[1]);
        for frame in 0..self.frames() {
            for row in 0..size[0] {
                values.extend_from_slice(self.line(frame, top + row, left, size[1]));
            }
        }
        Self { values, size }
    }

    /// Its first rows come from the last rows of the tile above, ever less of them.
    fn blend_below(&mut self, above: &Self) {
        let extent = above.size[0].min(self.size[0]);
        for frame in 0..self.frames() {
            for row in 0..extent {
                let width = self.size[1];
                let old = above.line(frame, above.size[0] - extent + row, 0, width);
                mix(old, self.line_mut(frame, row, 0, width), shares(row, extent));
            }
        }
    }

    /// Its first columns come from the last columns of the tile before, ever less of them.
    fn blend_after(&mut self, before: &Self) {
        let extent = before.size[1].min(self.size[1]);
        for frame in 0..self.frames() {
            for row in 0..self.size[0] {
                let old = before.line(frame, row, before.size[1] - extent, extent);
                let new = self.line_mut(frame, row, 0, extent);
                for (column, (old, new)) in old.chunks_exact(RGB).zip(new.chunks_exact_mut(RGB)).enumerate() {
                    mix(old, new, shares(column, extent));
                }
            }
        }
    }

    /// Hands out its first rows and columns, as far as the next tile begins.
    fn put(&self, stride: [usize; 2], [top, left]: [usize; 2], put: &mut impl FnMut(Place, &[f32])) {
        let [height, width] = [0, 1].map(|axis| stride[axis].min(self.size[axis]));
        for frame in 0..self.frames() {
            for row in 0..height {
                put(Place { frame, row: top + row, column: left }, self.line(frame, row, 0, width));
            }
        }
    }
}

/// How much of the neighbour and of itself a pixel `at` from the edge has.
fn shares(at: usize, extent: usize) -> [f32; 2] {
    let own = at as f64 / extent as f64;
    [(1.0 - own) as f32, own as f32]
}

fn mix(old: &[f32], new: &mut [f32], [olds, news]: [f32; 2]) {
    new.iter_mut().zip(old).for_each(|(new, old)| *new = old * olds + *new * news);
}
