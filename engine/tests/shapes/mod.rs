//! The world of `builtin://shapes` as its scorer sees it. Nothing here knows how a clip was made.

pub(crate) mod judge;
pub(crate) mod outline;

/// Names and colours (red, green, blue from 0 to 1), as in `assets/train/data.py`.
pub(crate) const COLOURS: [(&str, [f32; 3]); 8] = [
    ("red", [0.90, 0.12, 0.10]),
    ("orange", [1.00, 0.50, 0.05]),
    ("yellow", [0.97, 0.85, 0.10]),
    ("green", [0.12, 0.72, 0.22]),
    ("cyan", [0.10, 0.75, 0.85]),
    ("blue", [0.15, 0.30, 0.95]),
    ("purple", [0.58, 0.15, 0.80]),
    ("pink", [1.00, 0.45, 0.70]),
];

/// Names, and the colours of the top edge and of the bottom edge.
pub(crate) const BACKGROUNDS: [(&str, [f32; 6]); 6] = [
    ("black", [0.03, 0.03, 0.03, 0.03, 0.03, 0.03]),
    ("gray", [0.50, 0.50, 0.50, 0.50, 0.50, 0.50]),
    ("white", [0.97, 0.97, 0.97, 0.97, 0.97, 0.97]),
    ("navy", [0.06, 0.09, 0.26, 0.06, 0.09, 0.26]),
    ("sky", [0.62, 0.80, 0.97, 0.95, 0.98, 1.00]),
    ("dusk", [0.10, 0.07, 0.25, 0.50, 0.22, 0.38]),
];

pub(crate) const MOTIONS: [&str; 7] = ["left", "right", "up", "down", "still", "growing", "shrinking"];

/// What a clip shows, or what a caption asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) colour: &'static str,
    pub(crate) background: &'static str,
    pub(crate) motion: &'static str,
    pub(crate) shape: &'static str,
}

impl Sight {
    /// What `caption` asks for.
    pub(crate) fn asked_by(caption: &str) -> Self {
        Self {
            colour: word_of(caption, COLOURS.iter().map(|c| c.0)),
            background: word_of(caption, BACKGROUNDS.iter().map(|b| b.0)),
            motion: word_of(caption, MOTIONS.iter().copied()),
            shape: word_of(caption, outline::SHAPES.iter().map(|s| s.0)),
        }
    }
}

fn word_of(caption: &str, mut names: impl Iterator<Item = &'static str>) -> &'static str {
    names.find(|name| caption.split_whitespace().any(|word| word == *name)).expect("a known word")
}
