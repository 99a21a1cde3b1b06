//! LTX-Video's transformer on a device. What it computes is said in `models::transformers::ltx`; here it is put together of
//! as few launches as that takes: one product for queries, keys and values, one pass for each sum and the norm after it.

mod attention;
mod block;
mod context;
mod graph;
mod level;
mod staged;

use std::ops::Range;
use std::sync::Arc;

use super::{
    Arg, Floats, Gpu, Numbers,
    linear::{Finish, Linear, Part as Share, Rows},
    norm::{After, Sum, Turns, add_and_norm, norm},
};
use crate::error::Error;
use crate::kernels::Norm;
use crate::layers::Blocks;
use crate::models::transformers::ltx::{Config, Grid, axis_turns};
use crate::parallel::{Group, Mode, Split};
use crate::weights::{Reading, Source};

use block::Block;
pub(crate) use context::Context;
use context::{Buffers, Part};
use level::Level;

/// Who is shown the stream after a block.
pub(crate) type Seen<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// Of the norm before the last projection.
const LAST_EPS: f32 = 1e-6;
const WEIGHTS: &str = "weights";

/// A loaded transformer, or one rank's part of it.
#[derive(Debug)]
pub(crate) struct Transformer {
    gpu: Arc<Gpu>,
    config: Config,
    /// Where this rank's heads lie in the stream.
    columns: Range<usize>,
    enter: Linear,
    level: Level,
    text: [Linear; 2],
    /// Of all blocks, wherever they are.
    numbers_in_blocks: u64,
    mode: Mode,
    /// Width of the feed-forward layer's hidden form, this rank's part.
    hidden: usize,
    /// Which of all blocks are here.
    span: Range<usize>,
    blocks: Blocks<Block>,
    leave: Linear,
}

impl Transformer {
    /// # Errors
    /// As `Source::take`; `Unsupported` for a split that leaves a rank without a head, and for heads that no kernel takes;
    /// `DeviceMemory`.
    pub(crate) fn load(
        gpu: &Arc<Gpu>,
        config: Config,
        source: &mut Source,
        split: &Split,
    ) -> Result<Self, Error> {
        config.check(split)?;
        super::attention::check("a transformer", config.head)?;
        gpu.loading(|| Self::load_parts(gpu, config, source, split))
    }

    fn load_parts(gpu: &Arc<Gpu>, config: Config, source: &mut Source, split: &Split) -> Result<Self, Error> {
        // A block that is read while another computes is read by another thread, and must be there when it is handed over.
        let stays = source.reading() == Reading::All;
        let span = split.layers(config.layers);
        let (width, part) = (config.width(), config.columns(split).len());
        if stays {
            let [mine, all] = [part * span.len(), width * config.layers].map(|n| n as u64);
            gpu.reserve(source.bytes() / all * mine)?;
        }
        let before = source.parameters();
        let of_block = (Arc::clone(gpu), config.clone(), split.clone());
        let blocks = Blocks::load(source, config.layers, span.clone(), move |source, i| {
            let (gpu, config, split) = &of_block;
            let mut root = source.root();
            let mut load =
                || Block::load(gpu, root.at(format_args!("transformer_blocks.{i}")), config, split);
            if stays { load() } else { gpu.loading(load) }
        })?;
        let numbers_in_blocks = source.parameters() - before;
        let level = Level::load(gpu, source, &config, span.clone())?;
        let mut root = source.root();
        let mut linear = |name: &str, sizes: [usize; 2]| {
            Linear::load(gpu, root.at(name), sizes, true, &Share::Outputs(0..sizes[1]))
        };
        let text = [
            linear("caption_projection.linear_1", [config.caption_channels, width])?,
            linear("caption_projection.linear_2", [width, width])?,
        ];
        Ok(Self {
            gpu: Arc::clone(gpu),
            enter: linear("proj_in", [config.in_channels, width])?,
            leave: linear("proj_out", [width, config.out_channels])?,
            level,
            text,
            numbers_in_blocks,
            mode: split.mode(),
            hidden: split.part(4 * width).len(),
            span,
            blocks,
            columns: config.columns(split),
            config,
        })
    }

    pub(crate) fn numbers_in_blocks(&self) -> u64 {
        self.numbers_in_blocks
    }

    /// Numbers that are held: those that are split, and those that every rank has.
    pub(crate) fn held(&self) -> [usize; 2] {
        let [first, second] = &self.text;
        let linears = [&self.enter, first, second, &self.leave].map(Linear::held);
        [self.blocks.held(), linears.iter().sum::<usize>() + self.level.held()]
    }

    /// The velocity of each branch, as `models::transformers::ltx::Transformer::forward` gives it. `seen` is shown the stream
    /// after each block, which costs a copy.
    ///
    /// # Errors
    /// `Device`, `DeviceMemory`, or when the gang breaks.
    pub(crate) fn forward(
        &self,
        latents: &[f32],
        timestep: f32,
        context: &mut Context,
        group: &mut Group,
        mut seen: Option<Seen<'_>>,
    ) -> Result<Vec<f32>, Error> {
        self.gpu.enter()?;
        if self.mode != Mode::Tensor && !group.is_alone() {
            return self.forward_staged(latents, timestep, context, group);
        }
        let Context { parts, turns, level, tokens, .. } = context;
        let (part, tokens) = (&mut parts[0], *tokens);
        level.tell(timestep)?;
        part.latents.fill(latents)?;
        let may_record = group.is_alone() && self.blocks.are_here() && seen.is_none();
        let mut graph = std::mem::take(&mut part.graph);
        let done = graph.run(&self.gpu, may_record, || {
            let seen = seen.as_mut().map(|seen| &mut **seen as Seen<'_>);
            self.whole(part, level, turns, tokens, group, seen)
        });
        part.graph = graph;
        done?;
        part.velocity.values()
    }

    /// All of a forward pass between what comes from the host and what goes back to it.
    fn whole(
        &self,
        part: &mut Part,
        level: &level::Values,
        turns: &Turns,
        tokens: usize,
        group: &mut Group,
        mut seen: Option<Seen<'_>>,
    ) -> Result<(), Error> {
        self.level.write(level)?;
        let (width, rows) = (self.config.width(), part.branches * tokens);
        self.begin(part, tokens)?;
        self.norm_first(part, level, tokens)?;
        let Part { branches, keys, text, mask, buffers, .. } = part;
        let last = self.blocks.len() - 1;
        self.blocks.walk(|i, block| {
            // Until the first block looks at the text, all branches are the same: that part is done once.
            let distinct = if i == 0 { 1 } else { *branches };
            block.attend_self(buffers, [distinct, tokens], level.block(i), turns, group)?;
            if i == 0 && *branches > 1 {
                for branch in 1..*branches {
                    buffers.x.repeat(tokens * width, branch * tokens * width)?;
                }
            }
            let keys = block.text_keys(&mut keys[i], text, group)?;
            block.attend_text(buffers, [*branches, tokens], keys, mask.as_ref(), group)?;
            let then =
                if i == last { self.before_leaving(level) } else { block.before_next(level.block(i + 1)) };
            block.feed(buffers, rows, level.block(i), then, group)?;
            if let Some(seen) = &mut seen {
                seen(i, &buffers.x.to_f32(0, rows * width)?);
            }
            Ok(())
        })?;
        self.leave(part, rows)
    }

    /// Latents become the stream of the first branch.
    fn begin(&self, part: &mut Part, tokens: usize) -> Result<(), Error> {
        let channels = self.config.in_channels;
        let count = tokens * channels;
        let from = self.narrowed(&part.latents, &part.entering, count)?;
        let rows = Rows { at: from, rows: tokens, stride: channels };
        self.enter.write(rows, part.buffers.x.at(), self.config.width(), Finish::Nothing)
    }

    /// Numbers of the host in the precision of the device.
    fn narrowed(&self, from: &Floats, to: &Numbers, count: usize) -> Result<u64, Error> {
        if self.gpu.precision() == super::Precision::F32 {
            return Ok(from.at());
        }
        let args = [Arg::At(from.at()), Arg::At(to.at()), Arg::Long(count as i64)];
        self.gpu.launch("convert_f32_bf16", self.gpu.spread(count), &args)?;
        Ok(to.at())
    }

    /// The norm that no sum comes before.
    fn norm_first(&self, part: &mut Part, level: &level::Values, tokens: usize) -> Result<(), Error> {
        let (by, after) = block::before_attention(&self.config, level.block(0));
        let Buffers { x, y, .. } = &part.buffers;
        norm(&self.gpu, [x.at(), y.at()], [tokens, self.config.width()], by, after)
    }

    /// What follows the last block's sum.
    fn before_leaving(&self, level: &level::Values) -> (Norm, After) {
        let [shift, scale] = level.last();
        (Norm::Layer { eps: LAST_EPS }, After::Modulate { scale, shift })
    }

    /// The normalised stream becomes the velocity.
    fn leave(&self, part: &mut Part, rows: usize) -> Result<(), Error> {
        let (width, channels) = (self.config.width(), self.config.out_channels);
        let stream = Rows { at: part.buffers.y.at(), rows, stride: width };
        let is_f32 = self.gpu.precision() == super::Precision::F32;
        let to = if is_f32 { part.velocity.at() } else { part.leaving.at() };
        self.leave.write(stream, to, channels, Finish::Nothing)?;
        if is_f32 {
            return Ok(());
        }
        let count = rows * channels;
        let args = [Arg::At(to), Arg::At(part.velocity.at()), Arg::Long(count as i64)];
        self.gpu.launch("convert_bf16_f32", self.gpu.spread(count), &args)
    }

    /// The turns of this rank's heads for the tokens of `grid`.
    fn turns(&self, grid: Grid) -> Result<Turns, Error> {
        let width = self.config.width();
        let table = axis_turns(grid, width);
        Ok(Turns {
            table: Floats::from(&self.gpu, &table, "the turns of all positions")?,
            frequencies: width / 6,
            still: width % 6 / 2,
            first: self.columns.start / 2,
            size: grid.size,
        })
    }
}

/// `x += gate (y + bias)`, then the norm before what comes next.
fn settle(
    gpu: &Gpu,
    buffers: &Buffers,
    [rows, width]: [usize; 2],
    [gate, bias]: [u64; 2],
    then: Option<(Norm, After)>,
) -> Result<(), Error> {
    let sum = Sum { x: buffers.x.at(), y: buffers.wide.at(), gate, bias };
    add_and_norm(gpu, sum, [rows, width], then.map(|(by, after)| (buffers.y.at(), by, after)))
}
