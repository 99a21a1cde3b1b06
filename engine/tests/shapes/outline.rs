//! The six outlines as signed distances, and how much of a pixel they cover. y grows downwards.

/// Width in pixels of the smooth edge.
const EDGE: f32 = 2.4;

/// Signed distance at `(x, y)` from an outline of nominal radius `r`, in pixels; negative inside.
pub(crate) type Distance = fn(x: f32, y: f32, r: f32) -> f32;

pub(crate) const SHAPES: [(&str, Distance); 6] = [
    ("circle", |x, y, r| x.hypot(y) - r),
    ("square", |x, y, r| x.abs().max(y.abs()) - 0.88 * r),
    ("triangle", triangle),
    ("star", star),
    ("ring", |x, y, r| (x.hypot(y) - 0.78 * r).abs() - 0.27 * r),
    ("heart", heart),
];

fn triangle(x: f32, y: f32, r: f32) -> f32 {
    let c = 1.16 * r;
    (0.866_025_4 * x.abs() - 0.5 * y - 0.5 * c).max(y - 0.5 * c)
}

/// Folds the plane into half a point of the star; what is left is one edge.
fn star(x: f32, y: f32, r: f32) -> f32 {
    let tip = 1.20 * r;
    let (mut ax, mut ay) = (x.abs(), -y);
    for (nx, ny) in [(0.809_017, -0.587_785_3), (-0.809_017, -0.587_785_3)] {
        let over = (nx * ax + ny * ay).max(0.0) * 2.0;
        ax -= over * nx;
        ay -= over * ny;
    }
    let valley = 0.48 * tip;
    let (ex, ey) = (valley * 0.587_785_3, valley * 0.809_017 - tip);
    (ax.abs() * -ey + (ay - tip) * ex) / ex.hypot(ey)
}

/// A square on its corner and a disc on each upper side.
fn heart(x: f32, y: f32, r: f32) -> f32 {
    let half = 0.68 * r;
    let cy = y - 0.22 * r;
    let (u, v) =
        ((x.abs() + cy) * std::f32::consts::FRAC_1_SQRT_2, (x.abs() - cy) * std::f32::consts::FRAC_1_SQRT_2);
    (u.abs().max(v.abs()) - half).min(u.hypot(v - half) - half)
}

/// An outline drawn at a place.
#[derive(Clone, Copy)]
pub(crate) struct Drawn {
    pub(crate) distance: Distance,
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) r: f32,
}

impl Drawn {
    /// Share of the pixel in `column` and `row` that it covers, 0 to 1.
    pub(crate) fn coverage(&self, column: usize, row: usize) -> f32 {
        let (x, y) = (column as f32 + 0.5 - self.x, row as f32 + 0.5 - self.y);
        let a = (0.5 - (self.distance)(x, y, self.r) / EDGE).clamp(0.0, 1.0);
        a * a * (3.0 - 2.0 * a)
    }
}

/// Area, and height of the centre of gravity, of an outline of radius 1.
pub(crate) fn proportions(distance: Distance) -> (f32, f32) {
    const R: f32 = 40.0;
    const SIZE: usize = 160;
    let drawn = Drawn { distance, x: 80.0, y: 80.0, r: R };
    let (mut area, mut moment) = (0.0, 0.0);
    for row in 0..SIZE {
        for column in 0..SIZE {
            let a = drawn.coverage(column, row);
            area += a;
            moment += a * (row as f32 + 0.5 - 80.0);
        }
    }
    (area / (R * R), moment / area / R)
}
