//! What a clip needs on a device, before it runs: bytes for the weights and for working memory in each phase.
//!
//! The estimate follows what the engine does and is an upper bound; tests hold it to what ranks measure of themselves. It
//! knows nothing of devices that are there: `deal` and `choose` do.

use super::{Mode, Shape, Shot};

/// Numbers of the stream and of what is made of it that are held at once: two of the stream, queries, keys, values.
const STREAMS: u64 = 5;
/// More of the same while ranks sum: what goes out, what comes in, and the sum.
const SUMMED: u64 = 3;
/// While a branch goes from rank to rank: what the next branch begins with, and the message.
const PASSED: u64 = 2;
/// Of the decoder's last stage: what goes in, its padded form, what comes out.
const STAGES: u64 = 3;
/// The clip itself, three colours each: as the decoder leaves it, in order, and as it is handed on.
const FRAMES: u64 = 9;
/// The border that a convolution reads beyond a frame, in pixels of the clip, both sides.
const BORDER: u64 = 8;
/// Of the text encoder: the stream, its normed form, queries, keys, values, what they give, the sum; and two hidden forms of
/// two and a half times the width.
const TEXT_STREAMS: u64 = 12;
/// Of one head of a text encoder; T5's.
const TEXT_HEAD: u64 = 64;
/// Of pictures, and of sines and cosines, whatever the weights are.
const F32_BYTES: u64 = 4;
/// Blocks that are there at once while blocks stream: the one that computes, and the next.
const STREAMED_BLOCKS: u64 = 2;

/// What a device is, as far as memory depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Numbers are f32.
    Cpu,
    /// Any other: numbers are bf16.
    Gpu,
}

impl Kind {
    pub const FASTEST_FIRST: [Self; 2] = [Self::Gpu, Self::Cpu];

    /// Of the kind that a worker says of a device.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        if kind == "cpu" { Self::Cpu } else { Self::Gpu }
    }

    /// Of a number of the weights and of what is made of them.
    #[must_use]
    pub fn number_bytes(self) -> u64 {
        match self {
            Self::Cpu => F32_BYTES,
            Self::Gpu => 2,
        }
    }

    /// The process and its libraries, on the device; of a GPU the driver's part and cuBLASLt's.
    #[must_use]
    pub fn reserve_bytes(self) -> u64 {
        match self {
            Self::Cpu => 48 << 20,
            Self::Gpu => (512 + 64) << 20,
        }
    }

    /// Rows of the feed-forward layer's hidden form that are held at once; it is four times as wide as the stream.
    #[must_use]
    fn feed_rows(self) -> u64 {
        match self {
            Self::Cpu => 1_536,
            Self::Gpu => 6_144,
        }
    }

    /// Floating-point operations a second that a device delivers where nobody says.
    #[must_use]
    pub fn flops(self) -> f64 {
        match self {
            Self::Cpu => 0.1e12,
            Self::Gpu => 100e12,
        }
    }

    /// Bytes a second at which weights come to a device: over PCIe, or out of the page cache and packed anew.
    #[must_use]
    pub fn upload_bytes_per_s(self) -> f64 {
        match self {
            Self::Cpu => 2e9,
            Self::Gpu => 25e9,
        }
    }
}

/// How long the parts of a model stay in memory. Each is leaner, and not faster, than the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Residency {
    /// All of them, from clip to clip.
    #[default]
    Resident,
    /// One after the other: text encoder, transformer, decoder.
    Sequential,
    /// The same, and of text encoder and transformer two blocks at a time.
    Streamed,
}

impl Residency {
    pub const ALL: [Self; 3] = [Self::Resident, Self::Sequential, Self::Streamed];

    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Sequential => "sequential",
            Self::Streamed => "streamed",
        }
    }
}

/// One rank of those that share a clip.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub mode: Mode,
    pub rank: usize,
    /// By rank, in any unit; one for a model that is not split.
    pub shares: &'a [u32],
    /// Clips that go through the ranks at once: each has working memory of its own.
    pub clips: u32,
}

impl Part<'static> {
    /// The one rank of a model that is not split.
    pub const WHOLE: Self = Self { mode: Mode::Tensor, rank: 0, shares: &[1], clips: 1 };
}

impl Part<'_> {
    /// This rank's share of `units`, as the engine deals them: shares follow each other and leave nothing out.
    #[must_use]
    pub fn share(&self, units: u64) -> u64 {
        let total: u64 = self.shares.iter().copied().map(u64::from).sum();
        let upto = |rank: usize| {
            let before: u64 = self.shares[..rank].iter().copied().map(u64::from).sum();
            units * before / total.max(1)
        };
        upto(self.rank + 1) - upto(self.rank)
    }

    fn ranks(&self) -> u64 {
        self.shares.len() as u64
    }

    fn splits(&self, mode: Mode) -> bool {
        self.ranks() > 1 && self.mode == mode
    }
}

/// Bytes of one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phase {
    pub weights: u64,
    pub working: u64,
}

/// Bytes on one device, phase by phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub encode: Phase,
    pub denoise: Phase,
    pub decode: Phase,
    pub reserve: u64,
}

impl Phase {
    fn total(self) -> u64 {
        self.weights + self.working
    }
}

impl Need {
    /// The most that is held at once.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.phases().into_iter().map(|(_, phase)| phase.total()).max().unwrap_or(0) + self.reserve
    }

    /// In their order, with the name of each.
    #[must_use]
    pub fn phases(&self) -> [(&'static str, Phase); 3] {
        [("encode", self.encode), ("denoise", self.denoise), ("decode", self.decode)]
    }

    /// `7.2 GiB: encode 4.4 (weights) + 0.1, …` in words.
    #[must_use]
    pub fn words(&self) -> String {
        let phase = |(name, phase): (&str, Phase)| {
            format!("{name} {} + {}", super::bytes(phase.weights), super::bytes(phase.working))
        };
        let phases = self.phases().into_iter().filter(|(_, phase)| phase.total() > 0).map(phase);
        let phases = phases.collect::<Vec<_>>().join(", ");
        format!(
            "{} (weights + work: {phases}; reserve {})",
            super::bytes(self.total()),
            super::bytes(self.reserve)
        )
    }
}

/// Numbers that one rank holds, by the part of the model.
struct Numbers {
    text: u64,
    blocks: u64,
    rest: u64,
    decoder: u64,
}

impl Shape {
    /// Tokens of a clip.
    #[must_use]
    pub fn tokens(&self, shot: &Shot) -> u64 {
        let frames = shot.frames.div_ceil(self.frames_per_latent.max(1));
        let side = |pixels: u32| u64::from(pixels.div_ceil(self.pixels_per_latent.max(1)));
        u64::from(frames) * side(shot.height) * side(shot.width)
    }

    /// What one rank needs.
    #[must_use]
    pub fn need(&self, shot: &Shot, part: &Part<'_>, residency: Residency, kind: Kind) -> Need {
        let bytes = kind.number_bytes();
        let held = self.held(part);
        let streamed = |numbers: u64, blocks: u64| match blocks {
            0 => numbers,
            _ => numbers * STREAMED_BLOCKS.min(blocks) / blocks,
        };
        let weights = match residency {
            Residency::Resident => [held.text + held.blocks + held.rest + held.decoder; 3],
            Residency::Sequential => [held.text, held.blocks + held.rest, held.decoder],
            Residency::Streamed => {
                let text = streamed(held.text, u64::from(self.text_layers));
                [text, streamed(held.blocks, self.layers_of(part)) + held.rest, held.decoder]
            }
        };
        let clips = u64::from(part.clips.max(1));
        let decoding = if part.rank == 0 { self.decoding(shot, bytes) } else { 0 };
        let working = [self.encoding(shot, bytes), self.denoising(shot, part, kind), decoding];
        let phase = |at: usize| Phase { weights: weights[at] * bytes, working: working[at] * clips };
        Need { encode: phase(0), denoise: phase(1), decode: phase(2), reserve: kind.reserve_bytes() }
    }

    /// Of a rank's part of the blocks, bytes that are moved to the device when they stream through it once.
    pub(super) fn streamed_bytes(&self, part: &Part<'_>, kind: Kind) -> u64 {
        self.held(part).blocks * kind.number_bytes()
    }

    /// Whether each rank has some of what `part` splits.
    pub(super) fn gives_each_some(&self, mode: Mode, shares: &[u32]) -> bool {
        (0..shares.len()).all(|rank| {
            let part = Part { mode, rank, shares, clips: 1 };
            let heads = mode != Mode::Tensor || part.share(self.heads.into()) > 0;
            heads
                && self.layers_of(&part) > 0
                && (mode == Mode::Guidance || part.share(self.text_heads.into()) > 0)
        })
    }

    fn held(&self, part: &Part<'_>) -> Numbers {
        let of = |all: u64, own: u64, units: u64| (all as u128 * own as u128 / units.max(1) as u128) as u64;
        let (heads, layers) = (u64::from(self.heads), u64::from(self.layers));
        let text_heads = u64::from(self.text_heads);
        let blocks = match part.mode {
            Mode::Tensor => of(self.blocks, part.share(heads), heads),
            Mode::Layers => of(self.blocks, part.share(layers), layers),
            Mode::Guidance => self.blocks,
        };
        Numbers {
            text: of(self.text, part.share(text_heads), text_heads),
            blocks,
            rest: self.rest,
            decoder: if part.rank == 0 { self.decoder } else { 0 },
        }
    }

    /// Those of the transformer that are this rank's.
    fn layers_of(&self, part: &Part<'_>) -> u64 {
        let layers = u64::from(self.layers);
        if part.mode == Mode::Layers { part.share(layers) } else { layers }
    }

    fn encoding(&self, shot: &Shot, bytes: u64) -> u64 {
        let (tokens, heads) = (u64::from(shot.text_tokens), u64::from(self.text_heads));
        let states = shot.branches() * tokens * (2 * u64::from(self.width) + TEXT_HEAD * heads);
        (TEXT_STREAMS * tokens * TEXT_HEAD * heads + states) * bytes + heads * tokens * tokens * F32_BYTES
    }

    fn denoising(&self, shot: &Shot, part: &Part<'_>, kind: Kind) -> u64 {
        let bytes = kind.number_bytes();
        let (tokens, width) = (self.tokens(shot), u64::from(self.width));
        let heads = u64::from(self.heads).max(1);
        let own_heads = if part.mode == Mode::Tensor { part.share(heads) } else { heads };
        let own_width = width * own_heads / heads;
        // Each of the branches has buffers of its own, but for ranks that do one branch each.
        let branches = if part.splits(Mode::Guidance) { 1 } else { shot.branches() };
        let mut streams = STREAMS * branches * tokens * width;
        if part.splits(Mode::Tensor) {
            streams += SUMMED * branches * tokens * width;
        }
        if part.splits(Mode::Layers) {
            streams += PASSED * tokens * width;
        }
        let feed = kind.feed_rows().min(branches * tokens) * 4 * own_width;
        let text_keys = 2 * self.layers_of(part) * branches * u64::from(shot.text_tokens) * own_width;
        let turns = 2 * tokens * own_width * F32_BYTES;
        // Latents, their noise and the decoder's, velocities, and what the ranks tell each other of them.
        let latents = (4 + 2 * shot.branches()) * tokens * u64::from(self.channels) * F32_BYTES;
        (streams + feed + text_keys) * bytes + turns + latents
    }

    fn decoding(&self, shot: &Shot, bytes: u64) -> u64 {
        let whole = self.last_stage(shot, bytes).max(self.leaving(shot, bytes));
        if !shot.is_tiled {
            return whole;
        }
        let tile = self.last_stage(&shot.tile(), bytes);
        whole.min(tile + FRAMES * shot.pixels() * F32_BYTES)
    }

    /// While the last residual block runs.
    fn last_stage(&self, shot: &Shot, bytes: u64) -> u64 {
        let stage = shot.pixels() * u64::from(self.decoded_per_pixel);
        ((STAGES - 1) * stage + bordered(stage, shot)) * bytes
    }

    /// While its numbers become pictures, and those are handed on.
    fn leaving(&self, shot: &Shot, bytes: u64) -> u64 {
        let stage = shot.pixels() * u64::from(self.decoded_per_pixel);
        bordered(stage, shot) * bytes + FRAMES * shot.pixels() * F32_BYTES
    }

    /// Floating-point operations of one branch of one step.
    #[must_use]
    pub fn operations(&self, shot: &Shot) -> f64 {
        let (tokens, width, layers) =
            (self.tokens(shot) as f64, f64::from(self.width), f64::from(self.layers));
        let linear = 2.0 * (self.blocks + self.rest) as f64 * tokens;
        let attention = 4.0 * tokens * (tokens + f64::from(shot.text_tokens)) * width * layers;
        linear + attention
    }
}

/// The same numbers with a border of zeros around each frame.
fn bordered(numbers: u64, shot: &Shot) -> u64 {
    let (width, height) = (u64::from(shot.width).max(1), u64::from(shot.height).max(1));
    numbers * (width + BORDER) / width * (height + BORDER) / height
}
