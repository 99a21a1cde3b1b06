//! LTX-Video's transformer (diffusers' LTXVideoTransformer3DModel): queries and keys normalised over all heads, rotary
//! turns over the whole width, one modulation table a block, text by cross-attention.
//!
//! It works on tokens in `(batch, tokens, channels)` order and on one noise level for the whole batch.

mod attention;
mod block;
mod config;
mod rope;
mod staged;

use std::mem::swap;
use std::ops::Range;

use crate::error::Error;
use crate::kernels::{self, After, Bias, Finish, Norm};
use crate::layers::{Blocks, Linear, TimestepEmbedding};
use crate::parallel::{Group, Mode, Split};
use crate::weights::Source;

#[cfg(feature = "cuda")]
pub(crate) use attention::EPS as QK_EPS;
use block::{Block, Buffers, TextKeys};
pub use config::Config;
#[cfg(feature = "cuda")]
pub(crate) use rope::axis_turns;
pub use rope::{Grid, Rope};

/// A loaded transformer, or one rank's part of it: whole heads of each attention and as much of each feed-forward layer, or
/// some of the blocks; and all of the rest.
#[derive(Debug)]
pub struct Transformer {
    config: Config,
    /// Where this rank's heads lie in the stream.
    columns: Range<usize>,
    enter: Linear,
    time: TimestepEmbedding,
    modulation: Linear,
    text: [Linear; 2],
    /// Of all blocks, wherever they are.
    numbers_in_blocks: u64,
    mode: Mode,
    /// Which of all blocks are here.
    span: Range<usize>,
    blocks: Blocks<Block>,
    last_table: Vec<f32>,
    leave: Linear,
}

/// What is kept from step to step of one render: the blocks' view of the text, and working memory.
#[derive(Debug)]
pub struct Context {
    branches: usize,
    /// Branches that are done at once: all of them together, or one after the other.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    branches: usize,
    /// What is added to the score of each token, `(branches, tokens)`; none where every token counts.
    mask: Option<Vec<f32>>,
    /// The text, `(branches, tokens, width)`.
    text: Vec<f32>,
    /// What each block makes of it, from when it first sees it.
    keys: Vec<Option<TextKeys>>,
    buffers: Buffers,
}

/// A noise level as the blocks are told it.
struct Level {
    plain: Vec<f32>,
    modulation: Vec<f32>,
}

/// Added to the score of a token of padding. Its share of the sum is then exactly zero.
pub(crate) const HIDDEN: f32 = -10_000.0;

impl Transformer {
    /// # Errors
    /// As `Source::take`; `Unsupported` for a split that leaves a rank without a head.
    pub fn load(config: Config, source: &mut Source, split: &Split) -> Result<Self, Error> {
        config.check(split)?;
        let span = split.layers(config.layers);
        let width = config.width();
        let before = source.parameters();
        let of_block = (config.clone(), split.clone());
        let blocks = Blocks::load(source, config.layers, span.clone(), move |source, i| {
            Block::load(source.root().at(format_args!("transformer_blocks.{i}")), &of_block.0, &of_block.1)
        })?;
        let numbers_in_blocks = source.parameters() - before;
        let mut root = source.root();
        let mut time = root.at("time_embed");
        let embedding = TimestepEmbedding::load(time.at("emb.timestep_embedder"), width)?;
        let modulation = Linear::load(time.at("linear"), width, 6 * width, true)?;
        let mut text = root.at("caption_projection");
        let text = [
            Linear::load(text.at("linear_1"), config.caption_channels, width, true)?,
            Linear::load(text.at("linear_2"), width, width, true)?,
        ];
        Ok(Self {
            enter: Linear::load(root.at("proj_in"), config.in_channels, width, true)?,
            time: embedding,
            modulation,
            text,
            numbers_in_blocks,
            mode: split.mode(),
            span,
            blocks,
            last_table: root.take("scale_shift_table", &[2, width])?.into_vec(),
            leave: Linear::load(root.at("proj_out"), width, config.out_channels, true)?,
            columns: config.columns(split),
            config,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn numbers_in_blocks(&self) -> u64 {
        self.numbers_in_blocks
    }

    /// The turns of this rank's heads for the tokens of `grid`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn rope(&self, grid: Grid) -> Result<Rope, Error> {
        let width = self.config.width();
        Ok(Rope::new(grid, width)?.columns(width, self.columns.clone()))
    }

    /// Numbers that are held: those that are split, and those that every rank has.
    pub fn held(&self) -> [usize; 2] {
        let [first, second] = &self.text;
        let linears = [&self.enter, &self.modulation, first, second, &self.leave];
        let others = linears.into_iter().map(Linear::held).sum::<usize>() + self.time.held();
        [self.blocks.held(), others + self.last_table.len()]
    }

    /// Prepares the text of one or more branches: each is `(tokens, caption channels)` of the tokens that count.
    ///
    pub fn context(&self, branches: &[&[f32]], group: &Group) -> Context {
        let each = |branch: &&[f32]| self.part(&[*branch]);
        let parts = match self.mode {
            _ if group.is_alone() => vec![self.part(branches)],
            Mode::Tensor => vec![self.part(branches)],
            Mode::Layers => branches.iter().map(each).collect(),
            // Each its own.
            Mode::Guidance => branches.iter().skip(group.rank()).take(1).map(each).collect(),
        };
        Context { branches: branches.len(), parts }
    }

    fn part(&self, branches: &[&[f32]]) -> Part {
        let channels = self.config.caption_channels;
        let counts: Vec<usize> = branches.iter().map(|b| b.len() / channels).collect();
        let tokens = counts.iter().copied().max().unwrap_or(0);
        let mut states = vec![0.0; branches.len() * tokens * channels];
        for (into, branch) in states.chunks_exact_mut(tokens * channels).zip(branches) {
            into[..branch.len()].copy_from_slice(branch);
        }
        let mask = counts.iter().any(|&count| count < tokens).then(|| {
            let shown = |&count: &usize| (0..tokens).map(move |t| if t < count { 0.0 } else { HIDDEN });
            counts.iter().flat_map(shown).collect()
        });
        let text = self.text[1].apply(&self.text[0].apply(&states, Finish::Gelu), Finish::Nothing);
        let keys = (0..self.blocks.len()).map(|_| None).collect();
        Part { branches: branches.len(), mask, text, keys, buffers: Buffers::default() }
    }

    /// The velocity of each branch, `(branches, tokens, out channels)`, of the one `latents (tokens, in channels)`
    /// that all branches share, at the noise level `timestep`. `seen` is shown the stream after each block that all branches
    /// go through together, `(branches, tokens, width)`.
    ///
    /// # Errors
    /// `OutOfMemory`, or when the gang breaks.
    pub fn forward(
        &self,
        latents: &[f32],
        timestep: f32,
        rope: &Rope,
        context: &mut Context,
        group: &mut Group,
        seen: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<f32>, Error> {
        if self.mode != Mode::Tensor && !group.is_alone() {
            return self.forward_staged(latents, timestep, rope, context, group);
        }
        let (width, tokens) = (self.config.width(), latents.len() / self.config.in_channels);
        let Part { branches, mask, text, keys, buffers } = &mut context.parts[0];
        buffers.resize(*branches * tokens * width)?;
        self.enter.write(latents, Finish::Nothing, &mut buffers.x[..tokens * width]);
        let Level { plain, modulation } = self.level(timestep);
        let bias = mask.as_deref().map_or(Bias::None, Bias::Keys);
        self.blocks.walk(|i, block| {
            let modulation = block.modulation(&modulation);
            // Until the first block looks at the text, all branches are the same: that part is done once.
            let distinct = if i == 0 { 1 } else { *branches };
            block.attend_self(buffers, distinct, tokens, &modulation, rope, group)?;
            if i == 0 {
                buffers.spread(tokens * width);
            }
            let keys = block.text_keys(&mut keys[i], text, group)?;
            block.attend_text(buffers, (*branches, tokens), keys, bias, group)?;
            block.feed(buffers, &modulation, group)?;
            seen(i, &buffers.x);
            Ok(())
        })?;
        Ok(self.velocity(buffers, &plain))
    }

    fn level(&self, timestep: f32) -> Level {
        let mut embedded = self.time.apply(timestep);
        let plain = embedded.clone();
        kernels::silu(&mut embedded);
        Level { plain, modulation: self.modulation.apply(&embedded, Finish::Nothing) }
    }

    /// What the stream says after the last block.
    fn velocity(&self, buffers: &mut Buffers, plain: &[f32]) -> Vec<f32> {
        let width = self.config.width();
        let [shift, scale]: [Vec<f32>; 2] = std::array::from_fn(|i| {
            self.last_table[i * width..][..width].iter().zip(plain).map(|(t, e)| t + e).collect()
        });
        let after = After::Modulate { scale: &scale, shift: &shift };
        swap(&mut buffers.x, &mut buffers.y);
        kernels::norm(&buffers.y, width, Norm::Layer { eps: 1e-6 }, after, &mut buffers.x);
        self.leave.apply(&buffers.x, Finish::Nothing)
    }
}
