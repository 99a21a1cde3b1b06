//! What is kept on the device from step to step of one render: the text, the blocks' view of it, and working memory.

use std::sync::Arc;

use super::block::{Text, TextKeys};
use super::graph::Graph;
use super::{Floats, Gpu, Numbers, Rows, Transformer, level};
use crate::cuda::{linear::Finish, norm::Turns};
use crate::error::Error;
use crate::models::transformers::ltx::{Grid, HIDDEN};
use crate::parallel::{Group, Mode};

/// Rows that go through the feed-forward layer at once: its hidden form is four times as wide as the stream. As many as keep
/// the device busy.
const FEED_ROWS: usize = 6144;
const WORKING: &str = "the transformer's working memory";

/// Of one render.
#[derive(Debug)]
pub(crate) struct Context {
    pub(super) branches: usize,
    pub(super) tokens: usize,
    pub(super) turns: Turns,
    pub(super) level: level::Values,
    /// Branches that are done at once: all of them together, or one after the other.
    pub(super) parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) branches: usize,
    /// What is added to the score of each token, `(branches, tokens)`; none where every token counts.
    pub(super) mask: Option<Floats>,
    pub(super) text: Text,
    /// What each block makes of it, from when it first sees it.
    pub(super) keys: Vec<Option<TextKeys>>,
    pub(super) buffers: Buffers,
    pub(super) latents: Floats,
    pub(super) entering: Numbers,
    pub(super) leaving: Numbers,
    pub(super) velocity: Floats,
    pub(super) graph: Graph,
}

/// The working memory of a forward pass.
#[derive(Debug)]
pub(super) struct Buffers {
    /// The stream, `(branches, tokens, width)`.
    pub(super) x: Numbers,
    /// Its norm, or what an attention found.
    pub(super) y: Numbers,
    /// Queries, keys and values, then what is added to the stream.
    pub(super) wide: Numbers,
    /// The feed-forward layer's, of some rows.
    pub(super) hidden: Numbers,
}

impl Transformer {
    /// Prepares the text of one or more branches, each `(tokens, caption channels)` of the tokens that count, for a clip of
    /// `grid`.
    ///
    /// # Errors
    /// `DeviceMemory`, `Device`.
    pub(crate) fn context(&self, branches: &[&[f32]], grid: Grid, group: &Group) -> Result<Context, Error> {
        self.gpu.enter()?;
        let tokens = grid.size.iter().product();
        let parts = match self.mode {
            _ if group.is_alone() => vec![self.part(branches, tokens)?],
            Mode::Tensor => vec![self.part(branches, tokens)?],
            Mode::Layers => {
                branches.iter().map(|branch| self.part(&[*branch], tokens)).collect::<Result<_, _>>()?
            }
            // Each its own.
            Mode::Guidance => branches
                .iter()
                .skip(group.rank())
                .take(1)
                .map(|branch| self.part(&[*branch], tokens))
                .collect::<Result<_, _>>()?,
        };
        Ok(Context {
            branches: branches.len(),
            tokens,
            turns: self.turns(grid)?,
            level: self.level.room()?,
            parts,
        })
    }

    fn part(&self, branches: &[&[f32]], tokens: usize) -> Result<Part, Error> {
        let gpu = &self.gpu;
        let (channels, width) = (self.config.caption_channels, self.config.width());
        let counts: Vec<usize> = branches.iter().map(|b| b.len() / channels).collect();
        let text_tokens = counts.iter().copied().max().unwrap_or(0);
        let mut states = vec![0.0; branches.len() * text_tokens * channels];
        for (into, branch) in states.chunks_exact_mut((text_tokens * channels).max(1)).zip(branches) {
            into[..branch.len()].copy_from_slice(branch);
        }
        let mask = if counts.iter().any(|&count| count < text_tokens) {
            let shown = |&count: &usize| (0..text_tokens).map(move |t| if t < count { 0.0 } else { HIDDEN });
            let mask: Vec<f32> = counts.iter().flat_map(shown).collect();
            Some(Floats::from(gpu, &mask, WORKING)?)
        } else {
            None
        };
        let rows = branches.len() * text_tokens;
        let text = {
            let states = Numbers::from_f32(gpu, &states, WORKING)?;
            let between = Numbers::room(gpu, rows * width, WORKING)?;
            let out = Numbers::room(gpu, rows * width, WORKING)?;
            let from = Rows { at: states.at(), rows, stride: channels };
            self.text[0].write(from, between.at(), width, Finish::Gelu)?;
            let from = Rows { at: between.at(), rows, stride: width };
            self.text[1].write(from, out.at(), width, Finish::Nothing)?;
            Text { states: out, branches: branches.len(), tokens: text_tokens }
        };
        let count = branches.len() * tokens;
        let (entering, leaving) = (tokens * self.config.in_channels, count * self.config.out_channels);
        Ok(Part {
            branches: branches.len(),
            mask,
            text,
            keys: (0..self.blocks.len()).map(|_| None).collect(),
            buffers: self.buffers(gpu, count)?,
            latents: Floats::room(gpu, entering, WORKING)?,
            entering: Numbers::room(gpu, entering, WORKING)?,
            leaving: Numbers::room(gpu, leaving, WORKING)?,
            velocity: Floats::room(gpu, leaving, WORKING)?,
            graph: Graph::default(),
        })
    }

    fn buffers(&self, gpu: &Arc<Gpu>, rows: usize) -> Result<Buffers, Error> {
        let (width, part) = (self.config.width(), self.columns.len());
        let room = |len| Numbers::room(gpu, len, WORKING);
        Ok(Buffers {
            x: room(rows * width)?,
            y: room(rows * width)?,
            wide: room(rows * width.max(3 * part))?,
            hidden: room(FEED_ROWS.min(rows) * self.hidden)?,
        })
    }
}
