//! The encoder of `models::text` on a device. The table of words stays in its file: a prompt needs a few of its rows.

use std::ops::Range;
use std::sync::Arc;

use super::{
    Arg, Floats, Gpu, Numbers,
    attention::{self, Bias, Inputs, attention},
    linear::{Finish, Linear, Part as Share, Rows, Taken},
    norm::{After, Sum, add_and_norm, norm},
    sum,
};
use crate::error::Error;
use crate::kernels::{Heads, Norm};
use crate::layers::{self, Blocks};
use crate::models::text::{Around, T5Config as Config, bias_of, words_of};
use crate::parallel::{Group, Split};
use crate::weights::{Reading, Scope, Source, Tensor};

const WEIGHTS: &str = "weights";
const WORKING: &str = "the text encoder's working memory";

/// A loaded encoder, or one rank's part of it.
#[derive(Debug)]
pub(crate) struct T5 {
    gpu: Arc<Gpu>,
    config: Config,
    /// This rank's.
    heads: Range<usize>,
    /// Width of the feed-forward layer's hidden form, this rank's part.
    hidden: usize,
    words: Tensor,
    distances: Vec<f32>,
    blocks: Blocks<Block>,
    last: Floats,
}

#[derive(Debug)]
struct Block {
    attention_norm: Floats,
    /// Queries, keys and values side by side.
    enter: Linear,
    out: Linear,
    feed_norm: Floats,
    /// The gate, then what it lets through.
    up: Linear,
    down: Linear,
}

/// Of one prompt, `(tokens, …)`.
struct Buffers {
    x: Numbers,
    y: Numbers,
    wide: Numbers,
    hidden: Numbers,
    bias: Floats,
    tokens: usize,
}

impl T5 {
    pub(crate) fn load(
        gpu: &Arc<Gpu>,
        config: Config,
        source: &mut Source,
        split: &Split,
    ) -> Result<Self, Error> {
        split.check("the text encoder", "head", config.heads)?;
        attention::check("a text encoder", config.head)?;
        gpu.loading(|| Self::load_parts(gpu, config, source, split))
    }

    fn load_parts(gpu: &Arc<Gpu>, config: Config, source: &mut Source, split: &Split) -> Result<Self, Error> {
        let stays = source.reading() == Reading::All;
        if stays {
            let blocks = source.bytes().saturating_sub(2 * config.words_numbers());
            gpu.reserve(blocks / config.heads as u64 * split.part(config.heads).len() as u64)?;
        }
        let Around { words, distances, last } = Around::take(&config, source)?;
        let of_block = (Arc::clone(gpu), config.clone(), split.clone());
        let blocks = Blocks::load(source, config.layers, 0..config.layers, move |source, i| {
            let (gpu, config, split) = &of_block;
            let mut root = source.root();
            let mut load = || Block::load(gpu, root.at(format_args!("encoder.block.{i}")), config, split);
            if stays { load() } else { gpu.loading(load) }
        })?;
        let (heads, hidden) = (split.part(config.heads), split.part(config.hidden).len());
        let last = Floats::from(gpu, &last, WEIGHTS)?;
        Ok(Self { gpu: Arc::clone(gpu), config, heads, hidden, words, distances, blocks, last })
    }

    /// States of `tokens`, `(tokens, width)`.
    ///
    /// # Errors
    /// As `models::text::T5::encode`; `Device`, `DeviceMemory`.
    pub(crate) fn encode(&self, tokens: &[u32], group: &mut Group) -> Result<Vec<f32>, Error> {
        let Self { gpu, config, heads, .. } = self;
        gpu.enter()?;
        let (count, width) = (tokens.len(), config.width);
        let bias = bias_of(config, &self.distances, heads.clone(), count);
        let inner = heads.len() * config.head;
        let hidden = 2 * self.hidden;
        let room = |each: usize| Numbers::room(gpu, count * each, WORKING);
        let buffers = Buffers {
            x: Numbers::from_f32(gpu, &words_of(&self.words, tokens, config)?, WORKING)?,
            y: room(width.max(inner))?,
            wide: room((3 * inner).max(width))?,
            hidden: room(hidden + hidden / 2)?,
            bias: Floats::from(gpu, &bias, WORKING)?,
            tokens: count,
        };
        self.blocks.walk(|_, block| block.apply(gpu, config, heads.len(), &buffers, group))?;
        let by = Norm::Rms { eps: config.eps };
        let Buffers { x, y, .. } = &buffers;
        norm(gpu, [x.at(), y.at()], [count, width], by, After::Weight(self.last.at()))?;
        y.to_f32(0, count * width)
    }

    /// Numbers that are held.
    pub(crate) fn held(&self) -> usize {
        self.blocks.held() + self.distances.len() + self.last.len()
    }
}

impl Block {
    fn load(gpu: &Arc<Gpu>, mut scope: Scope<'_>, config: &Config, split: &Split) -> Result<Self, Error> {
        let Config { width, hidden, head, .. } = *config;
        let inner = config.heads * head;
        let heads = split.part(config.heads);
        let mine = heads.start * head..heads.end * head;
        let part = split.part(hidden);
        let mut weight =
            |name: &str| Floats::from(gpu, &scope.at(name).take("weight", &[width])?.into_vec(), WEIGHTS);
        let (attention_norm, feed_norm) = (weight("layer.0.layer_norm")?, weight("layer.1.layer_norm")?);
        let mut side_by_side = |folder: &str, names: &[&str], outputs: usize, part: &Range<usize>| {
            let mut taken = Vec::new();
            for name in names {
                taken.push(Taken::of(scope.at(format_args!("{folder}.{name}")), [width, outputs], false)?);
            }
            Linear::of(gpu, taken, [width, outputs], &Share::Outputs(part.clone()))
        };
        let enter = side_by_side("layer.0.SelfAttention", &["q", "k", "v"], inner, &mine)?;
        let up = side_by_side("layer.1.DenseReluDense", &["wi_0", "wi_1"], hidden, &part)?;
        let mut row = |name: &str, inputs: usize, part: Range<usize>| {
            Linear::load(gpu, scope.at(name), [inputs, width], false, &Share::Inputs(part))
        };
        let out = row("layer.0.SelfAttention.o", inner, mine)?;
        let down = row("layer.1.DenseReluDense.wo", hidden, part)?;
        Ok(Self { attention_norm, enter, out, feed_norm, up, down })
    }

    /// Adds what all ranks add to the stream; `heads` are this rank's.
    fn apply(
        &self,
        gpu: &Arc<Gpu>,
        config: &Config,
        heads: usize,
        buffers: &Buffers,
        group: &mut Group,
    ) -> Result<(), Error> {
        let Buffers { x, y, wide, hidden, bias, tokens } = buffers;
        let (rows, width, part) = (*tokens, config.width, heads * config.head);
        let by = Norm::Rms { eps: config.eps };
        let weight = |of: &Floats| After::Weight(of.at());
        norm(gpu, [x.at(), y.at()], [rows, width], by, weight(&self.attention_norm))?;
        let stride = 3 * part;
        self.enter.write(Rows { at: y.at(), rows, stride: width }, wide.at(), stride, Finish::Nothing)?;
        let at = |i: usize| attention::Rows { at: wide.from(i * part), token: stride, batch: rows * stride };
        let found = attention::Rows { at: y.at(), token: part, batch: rows * part };
        // T5 was trained with unscaled scores.
        let size = Heads { batch: 1, heads, head: config.head, queries: rows, keys: rows, scale: 1.0 };
        let inputs = Inputs { q: at(0), k: at(1), v: at(2) };
        attention(gpu, size, inputs, found, Bias::Pairs(bias.at()))?;
        let found = Rows { at: y.at(), rows, stride: part };
        self.out.write(found, wide.at(), width, Finish::Nothing)?;
        sum::numbers(wide, rows * width, group)?;
        let sum = Sum { x: x.at(), y: wide.at(), gate: 0, bias: 0 };
        add_and_norm(gpu, sum, [rows, width], Some((y.at(), by, weight(&self.feed_norm))))?;
        let both = self.up.outputs();
        let inner = both / 2;
        self.up.write(Rows { at: y.at(), rows, stride: width }, hidden.at(), both, Finish::Nothing)?;
        let gated = hidden.from(rows * both);
        let args = [Arg::At(hidden.at()), Arg::At(gated), Arg::Long(rows as i64), Arg::Int(inner as i32)];
        gpu.launch_typed("gated_gelu", gpu.spread(rows * inner), &args)?;
        self.down.write(Rows { at: gated, rows, stride: inner }, wide.at(), width, Finish::Nothing)?;
        sum::numbers(wide, rows * width, group)?;
        add_and_norm(gpu, sum, [rows, width], None)
    }
}

impl layers::Block for Block {
    fn held(&self) -> usize {
        let linears = [&self.enter, &self.out, &self.up, &self.down].map(Linear::held);
        linears.iter().sum::<usize>() + self.attention_norm.len() + self.feed_norm.len()
    }
}
