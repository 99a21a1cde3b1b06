//! Says what a clip shows, from its pixels alone; the same rules as `assets/train/judge.py`.
//!
//! Background: the median colours of the top and bottom rows. Colour: the median of the pixels farthest from the
//! background. Motion: how area and centre change from the first two frames to the last two. Shape: the outline
//! that, drawn with the same area and centre, differs least.

use croft_engine::pipelines::Clip;

use super::outline::{Drawn, SHAPES, proportions};
use super::{BACKGROUNDS, COLOURS, Sight};

/// Rows and columns that count as the edge of the picture.
const BORDER: usize = 3;
/// The object is farther from the background than `FAR` of this quantile.
const FAR_SHARE: f64 = 0.985;
const FAR: f32 = 0.75;
/// Coverage under this is no object.
const FAINT: f32 = 0.25;
/// Pixels of travel under which nothing moved.
const STILL: f32 = 8.0;
/// Share of the main axis; more on the other axis is no clear direction.
const ASLANT: f32 = 0.6;
/// Ratio of areas.
const GROWN: f32 = 1.8;
const SIZES: [f32; 3] = [0.92, 1.0, 1.08];
const UNCLEAR: &str = "unclear";

/// What is seen, and by what share of the object's area the best outline is still off.
pub(crate) fn judge(clip: &Clip) -> (Sight, f32) {
    let picture = Picture { clip, width: clip.width as usize, height: clip.height as usize };
    let (colour, masks) = picture.object();
    let (shape, error) = shape(&masks);
    let sight = Sight {
        colour: nearest(&colour, &COLOURS),
        background: nearest(&picture.edges(), &BACKGROUNDS),
        motion: motion(&masks),
        shape,
    };
    (sight, error)
}

struct Picture<'a> {
    clip: &'a Clip,
    width: usize,
    height: usize,
}

impl Picture<'_> {
    fn pixel(&self, frame: usize, row: usize, column: usize) -> [f32; 3] {
        let at = (row * self.width + column) * 3;
        let frame = &self.clip.frames[frame];
        [frame[at], frame[at + 1], frame[at + 2]]
    }

    fn median(&self, rows: impl Iterator<Item = usize> + Clone, columns: &[usize]) -> [f32; 3] {
        let mut values: [Vec<f32>; 3] = Default::default();
        for frame in 0..self.clip.frames.len() {
            for row in rows.clone() {
                for &column in columns {
                    for (channel, value) in self.pixel(frame, row, column).into_iter().enumerate() {
                        values[channel].push(value);
                    }
                }
            }
        }
        values.map(middle)
    }

    /// Colours of the top edge and of the bottom edge.
    fn edges(&self) -> [f32; 6] {
        let columns: Vec<usize> = (0..self.width).collect();
        let top = self.median(0..BORDER, &columns);
        let bottom = self.median(self.height - BORDER..self.height, &columns);
        [top[0], top[1], top[2], bottom[0], bottom[1], bottom[2]]
    }

    /// Colour of the object, and its coverage frame by frame.
    fn object(&self) -> ([f32; 3], Vec<Mask>) {
        let sides: Vec<usize> = (0..BORDER).chain(self.width - BORDER..self.width).collect();
        let behind: Vec<[f32; 3]> = (0..self.height).map(|row| self.median(row..=row, &sides)).collect();
        let places = || {
            (0..self.clip.frames.len())
                .flat_map(move |t| (0..self.height).map(move |row| (t, row)))
                .flat_map(move |(t, row)| (0..self.width).map(move |column| (t, row, column)))
        };
        let away = |(t, row, column)| norm(minus(self.pixel(t, row, column), behind[row]));
        let mut sorted: Vec<f32> = places().map(away).collect();
        sorted.sort_by(f32::total_cmp);
        let far = FAR * sorted[(FAR_SHARE * (sorted.len() - 1) as f64) as usize];
        let mut inside: [Vec<f32>; 3] = Default::default();
        for (t, row, column) in places().filter(|&place| away(place) > far) {
            for (channel, value) in self.pixel(t, row, column).into_iter().enumerate() {
                inside[channel].push(value);
            }
        }
        let colour = inside.map(middle);
        let coverage = |t, row: usize, column| {
            let direction = minus(colour, behind[row]);
            let along = dot(minus(self.pixel(t, row, column), behind[row]), direction);
            let a = (along / dot(direction, direction).max(1e-6)).min(1.0);
            if a < FAINT { 0.0 } else { a }
        };
        let mask = |t| {
            let rows = (0..self.height).flat_map(|row| (0..self.width).map(move |column| (row, column)));
            Mask { width: self.width, coverage: rows.map(|(row, column)| coverage(t, row, column)).collect() }
        };
        (colour, (0..self.clip.frames.len()).map(mask).collect())
    }
}

/// How much of each pixel the object covers in one frame.
struct Mask {
    width: usize,
    coverage: Vec<f32>,
}

/// Area in pixels, and centre of gravity.
#[derive(Clone, Copy, Default)]
struct Place {
    area: f32,
    x: f32,
    y: f32,
}

impl Mask {
    fn place(&self) -> Place {
        let mut sum = Place::default();
        for (at, a) in self.coverage.iter().enumerate() {
            sum.area += a;
            sum.x += a * ((at % self.width) as f32 + 0.5);
            sum.y += a * ((at / self.width) as f32 + 0.5);
        }
        if sum.area < 1.0 {
            return Place::default();
        }
        Place { area: sum.area, x: sum.x / sum.area, y: sum.y / sum.area }
    }

    fn distance(&self, drawn: Drawn) -> f32 {
        let off = |(at, a): (usize, &f32)| (drawn.coverage(at % self.width, at / self.width) - a).abs();
        self.coverage.iter().enumerate().map(off).sum()
    }
}

fn motion(masks: &[Mask]) -> &'static str {
    let mean = |a: &Mask, b: &Mask| {
        let (a, b) = (a.place(), b.place());
        Place { area: (a.area + b.area) / 2.0, x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 }
    };
    let last = masks.len() - 1;
    let (first, last) = (mean(&masks[0], &masks[1]), mean(&masks[last - 1], &masks[last]));
    let (dx, dy) = (last.x - first.x, last.y - first.y);
    let (main, other) = (dx.abs().max(dy.abs()), dx.abs().min(dy.abs()));
    let ratio = last.area / first.area.max(1.0);
    let sized = match ratio {
        r if r > GROWN => Some("growing"),
        r if r < 1.0 / GROWN => Some("shrinking"),
        _ => None,
    };
    match () {
        () if main < STILL => sized.unwrap_or("still"),
        () if sized.is_some() || other > ASLANT * main => UNCLEAR,
        () if dx.abs() > dy.abs() => ["left", "right"][usize::from(dx > 0.0)],
        () => ["up", "down"][usize::from(dy > 0.0)],
    }
}

fn shape(masks: &[Mask]) -> (&'static str, f32) {
    let frames: Vec<(&Mask, Place)> = masks.iter().step_by(4).map(|mask| (mask, mask.place())).collect();
    if frames.iter().any(|(_, place)| place.area < 1.0) {
        return (UNCLEAR, f32::INFINITY);
    }
    let total: f32 = frames.iter().map(|(_, place)| place.area).sum();
    let off = |&(name, distance)| {
        let (unit, drop) = proportions(distance);
        let nearest = |(mask, place): &(&Mask, Place)| {
            let r = (place.area / unit).sqrt();
            let draw = |size| Drawn { distance, x: place.x, y: place.y - drop * r * size, r: r * size };
            SIZES.iter().map(|&size| mask.distance(draw(size))).fold(f32::INFINITY, f32::min)
        };
        (name, frames.iter().map(nearest).sum::<f32>() / total)
    };
    SHAPES.iter().map(off).min_by(|a, b| a.1.total_cmp(&b.1)).expect("six shapes")
}

fn nearest<const N: usize>(value: &[f32; N], table: &[(&'static str, [f32; N])]) -> &'static str {
    let distance = |other: &[f32; N]| value.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    table.iter().min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1))).expect("a filled table").0
}

/// The median; 0 of nothing.
fn middle(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

fn minus(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn norm(a: [f32; 3]) -> f32 {
    dot(a, a).sqrt()
}
