//! One block: attention among the video's tokens, attention to the text, a feed-forward layer.

use std::sync::Arc;

use super::attention::{Attention, Held};
use super::context::Buffers;
use super::{Floats, Gpu, Numbers, settle};
use crate::cuda::{
    attention::{self, Bias, Inputs},
    linear::{Finish, Linear, Part as Share, Rows},
    norm::{After, Turns, norm},
    sum,
};
use crate::error::Error;
use crate::kernels::{Heads, Norm};
use crate::layers;
use crate::models::transformers::ltx::Config;
use crate::parallel::{Group, Split};
use crate::weights::Scope;

/// Where a block's modulation is: shift, scale and gate of the self-attention, then of the feed-forward layer.
type Modulation = [u64; 6];

/// One rank's part of it. The stream is whole on every rank.
#[derive(Debug)]
pub(super) struct Block {
    gpu: Arc<Gpu>,
    config: Config,
    /// This rank's.
    heads: usize,
    to_self: Attention,
    to_text: Attention,
    up: Linear,
    down: Linear,
}

/// Keys and values of the text side by side, `(branches, tokens, 2 * this rank's heads)`.
#[derive(Debug)]
pub(super) struct TextKeys {
    both: Numbers,
    tokens: usize,
}

/// The text as all blocks see it, `(branches, tokens, width)`.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) states: Numbers,
    pub(super) branches: usize,
    pub(super) tokens: usize,
}

/// What is done to the stream before a block looks at it.
pub(super) fn before_attention(config: &Config, [shift, scale, ..]: Modulation) -> (Norm, After) {
    (Norm::Rms { eps: config.norm_eps }, After::Modulate { scale, shift })
}

impl Block {
    pub(super) fn load(
        gpu: &Arc<Gpu>,
        mut scope: Scope<'_>,
        config: &Config,
        split: &Split,
    ) -> Result<Self, Error> {
        let width = config.width();
        // The table was read with those of all blocks.
        scope.skip("scale_shift_table", &[6, width])?;
        let hidden = split.part(4 * width);
        let to_self = Attention::load(gpu, scope.at("attn1"), config, split, false)?;
        let to_text = Attention::load(gpu, scope.at("attn2"), config, split, true)?;
        let up = scope.at("ff.net.0.proj");
        let up = Linear::load(gpu, up, [width, 4 * width], true, &Share::Outputs(hidden.clone()))?;
        let down = scope.at("ff.net.2");
        let down = Linear::load(gpu, down, [4 * width, width], true, &Share::Inputs(hidden))?;
        let heads = split.part(config.heads).len();
        Ok(Self { gpu: Arc::clone(gpu), config: config.clone(), heads, to_self, to_text, up, down })
    }

    /// What is done to the stream before the next block looks at it.
    pub(super) fn before_next(&self, next: Modulation) -> (Norm, After) {
        before_attention(&self.config, next)
    }

    /// Adds to the stream, of which `y` is the modulated norm, what tokens take from each other.
    pub(super) fn attend_self(
        &self,
        buffers: &mut Buffers,
        [branches, tokens]: [usize; 2],
        [_, _, gate, ..]: Modulation,
        turns: &Turns,
        group: &mut Group,
    ) -> Result<(), Error> {
        let (whole, part, rows) = (self.config.width(), self.to_self.width, branches * tokens);
        let Buffers { y, wide, .. } = &*buffers;
        let stride = 3 * part;
        self.to_self.enter.write(
            Rows { at: y.at(), rows, stride: whole },
            wide.at(),
            stride,
            Finish::Nothing,
        )?;
        self.to_self.norm(&self.gpu, (wide.at(), rows, stride), Held::Both, Some(turns), group)?;
        let at =
            |i: usize| attention::Rows { at: wide.from(i * part), token: stride, batch: tokens * stride };
        let out = attention::Rows { at: y.at(), token: part, batch: tokens * part };
        let inputs = Inputs { q: at(0), k: at(1), v: at(2) };
        let size = self.size([branches, tokens, tokens]);
        attention::attention(&self.gpu, size, inputs, out, Bias::None)?;
        let x = Rows { at: y.at(), rows, stride: part };
        self.to_self.out.write(x, wide.at(), whole, Finish::Nothing)?;
        sum::numbers(wide, rows * whole, group)?;
        settle(&self.gpu, buffers, [rows, whole], [gate, self.to_self.out.late_bias()], None)
    }

    /// Keys and values of the text, made when they are first asked for: a block that comes and goes is not read for them
    /// alone.
    pub(super) fn text_keys<'a>(
        &self,
        made: &'a mut Option<TextKeys>,
        text: &Text,
        group: &mut Group,
    ) -> Result<&'a TextKeys, Error> {
        if made.is_none() {
            let (whole, part) = (self.config.width(), self.to_text.width);
            let rows = text.branches * text.tokens;
            let both = Numbers::room(&self.gpu, rows * 2 * part, "keys and values of the text")?;
            if let Some(layer) = &self.to_text.other {
                let x = Rows { at: text.states.at(), rows, stride: whole };
                layer.write(x, both.at(), 2 * part, Finish::Nothing)?;
            }
            self.to_text.norm(&self.gpu, (both.at(), rows, 2 * part), Held::Keys, None, group)?;
            *made = Some(TextKeys { both, tokens: text.tokens });
        }
        Ok(made.as_ref().expect("they were just made"))
    }

    /// Adds to the stream what each token takes from the text of its branch.
    pub(super) fn attend_text(
        &self,
        buffers: &mut Buffers,
        [branches, tokens]: [usize; 2],
        text: &TextKeys,
        mask: Option<&Floats>,
        group: &mut Group,
    ) -> Result<(), Error> {
        let (whole, part, rows) = (self.config.width(), self.to_text.width, branches * tokens);
        let Buffers { x, y, wide, .. } = &*buffers;
        self.to_text.enter.write(
            Rows { at: x.at(), rows, stride: whole },
            wide.at(),
            part,
            Finish::Nothing,
        )?;
        self.to_text.norm(&self.gpu, (wide.at(), rows, part), Held::Queries, None, group)?;
        let q = attention::Rows { at: wide.at(), token: part, batch: tokens * part };
        let of = |i: usize| attention::Rows {
            at: text.both.from(i * part),
            token: 2 * part,
            batch: text.tokens * 2 * part,
        };
        let out = attention::Rows { at: y.at(), token: part, batch: tokens * part };
        let bias = mask.map_or(Bias::None, |mask| Bias::Keys(mask.at()));
        let size = self.size([branches, tokens, text.tokens]);
        attention::attention(&self.gpu, size, Inputs { q, k: of(0), v: of(1) }, out, bias)?;
        let found = Rows { at: y.at(), rows, stride: part };
        if group.is_alone() {
            return self.to_text.out.write(found, x.at(), whole, Finish::Add);
        }
        self.to_text.out.write(found, wide.at(), whole, Finish::Nothing)?;
        sum::numbers(wide, rows * whole, group)?;
        settle(&self.gpu, buffers, [rows, whole], [0, self.to_text.out.late_bias()], None)
    }

    /// Adds the feed-forward layer to the stream, and then makes `y` what comes next.
    pub(super) fn feed(
        &self,
        buffers: &mut Buffers,
        rows: usize,
        [.., shift, scale, gate]: Modulation,
        then: (Norm, After),
        group: &mut Group,
    ) -> Result<(), Error> {
        let width = self.config.width();
        let Buffers { x, y, wide, hidden, .. } = &*buffers;
        let by = Norm::Rms { eps: self.config.norm_eps };
        norm(&self.gpu, [x.at(), y.at()], [rows, width], by, After::Modulate { scale, shift })?;
        let inner = self.up.outputs();
        let each = hidden.len() / inner;
        for first in (0..rows).step_by(each) {
            let count = each.min(rows - first);
            let from = Rows { at: y.from(first * width), rows: count, stride: width };
            self.up.write(from, hidden.at(), inner, Finish::Gelu)?;
            let from = Rows { at: hidden.at(), rows: count, stride: inner };
            self.down.write(from, wide.from(first * width), width, Finish::Nothing)?;
        }
        sum::numbers(wide, rows * width, group)?;
        settle(&self.gpu, buffers, [rows, width], [gate, self.down.late_bias()], Some(then))
    }

    fn size(&self, [batch, queries, keys]: [usize; 3]) -> Heads {
        let (heads, head) = (self.heads, self.config.head);
        Heads { batch, heads, head, queries, keys, scale: 1.0 / (head as f32).sqrt() }
    }
}

impl layers::Block for Block {
    fn held(&self) -> usize {
        let table = 6 * self.config.width();
        self.to_self.held() + self.to_text.held() + self.up.held() + self.down.held() + table
    }
}
