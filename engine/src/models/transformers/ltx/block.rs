//! One block: attention among the video's tokens, attention to the text, a feed-forward layer.

use std::mem::swap;

use super::attention::Attention;
use super::config::Config;
use super::rope::Rope;
use crate::error::Error;
use crate::kernels::{self, After, Bias, Finish, Heads, Norm};
use crate::layers::{self, Linear};
use crate::parallel::{Broken, Group, Split};
use crate::weights::Scope;

/// Rows that go through the feed-forward layer at once: its hidden form is four times as wide as the stream and
/// need not be there as a whole.
const FEED_ROWS: usize = 1536;

/// One rank's part of it. The stream is whole on every rank.
#[derive(Debug)]
pub(super) struct Block {
    /// This rank's.
    heads: usize,
    head: usize,
    eps: f32,
    table: Vec<f32>,
    to_self: Attention,
    to_text: Attention,
    up: Linear,
    down: Linear,
    /// Width of the feed-forward layer's hidden form, this rank's part.
    hidden: usize,
}

/// Shift, scale and gate of the self-attention, then of the feed-forward layer; each as wide as the stream.
pub(super) struct Modulation {
    values: Vec<f32>,
    width: usize,
}

/// Keys and values of the text for one block, `(branches, tokens, this rank's heads)`.
#[derive(Debug)]
pub(super) struct TextKeys {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// The working memory of a forward pass, each `(branches, tokens, width)`; `x` is the stream.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    hidden: Vec<f32>,
}

impl Buffers {
    /// Makes room for a stream of `len` values.
    pub(super) fn resize(&mut self, len: usize) -> Result<(), Error> {
        for buffer in [&mut self.x, &mut self.y, &mut self.q, &mut self.k, &mut self.v] {
            kernels::resize(buffer, len, "the transformer's working memory")?;
        }
        Ok(())
    }

    /// Copies the first `len` values of the stream over all of it.
    pub(super) fn spread(&mut self, len: usize) {
        let (first, others) = self.x.split_at_mut(len);
        others.chunks_exact_mut(len).for_each(|other| other.copy_from_slice(first));
    }
}

impl Modulation {
    fn part(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }
}

impl Block {
    pub(super) fn load(mut scope: Scope<'_>, config: &Config, split: &Split) -> Result<Self, Error> {
        let width = config.width();
        let hidden = split.part(4 * width);
        Ok(Self {
            heads: split.part(config.heads).len(),
            head: config.head,
            eps: config.norm_eps,
            table: scope.take("scale_shift_table", &[6, width])?.into_vec(),
            to_self: Attention::load(scope.at("attn1"), config, split)?,
            to_text: Attention::load(scope.at("attn2"), config, split)?,
            up: Linear::load_outputs(scope.at("ff.net.0.proj"), width, 4 * width, true, hidden.clone())?,
            down: Linear::load_inputs(scope.at("ff.net.2"), 4 * width, width, true, hidden.clone())?,
            hidden: hidden.len(),
        })
    }

    /// The block's own table moved by the noise level.
    pub(super) fn modulation(&self, level: &[f32]) -> Modulation {
        let values = self.table.iter().zip(level).map(|(t, l)| t + l).collect();
        Modulation { values, width: level.len() / 6 }
    }

    /// Keys and values of `text (branches, tokens, width)`, made when they are first asked for: a block that comes and goes
    /// is not read for them alone.
    pub(super) fn text_keys<'a>(
        &self,
        made: &'a mut Option<TextKeys>,
        text: &[f32],
        group: &mut Group,
    ) -> Result<&'a TextKeys, Broken> {
        if made.is_none() {
            let attention = &self.to_text;
            let mut keys = attention.key.apply(text, Finish::Nothing);
            attention.norm(&mut [], &mut keys, None, group)?;
            *made = Some(TextKeys { keys, values: attention.value.apply(text, Finish::Nothing) });
        }
        Ok(made.as_ref().expect("made above"))
    }

    /// Adds to the stream what each token takes from the others of its branch. Only the first `branches` are done.
    pub(super) fn attend_self(
        &self,
        buffers: &mut Buffers,
        branches: usize,
        tokens: usize,
        modulation: &Modulation,
        rope: &Rope,
        group: &mut Group,
    ) -> Result<(), Broken> {
        let len = branches * tokens * modulation.width;
        let part = branches * tokens * self.heads * self.head;
        let Buffers { x, y, q, k, v, .. } = buffers;
        let attention = &self.to_self;
        let after = After::Modulate { shift: modulation.part(0), scale: modulation.part(1) };
        kernels::norm(&x[..len], modulation.width, Norm::Rms { eps: self.eps }, after, &mut y[..len]);
        attention.query.write(&y[..len], Finish::Nothing, &mut q[..part]);
        attention.key.write(&y[..len], Finish::Nothing, &mut k[..part]);
        attention.value.write(&y[..len], Finish::Nothing, &mut v[..part]);
        attention.norm(&mut q[..part], &mut k[..part], Some(rope), group)?;
        let size = self.size(branches, tokens, tokens);
        kernels::attention(size, &q[..part], &k[..part], &v[..part], Bias::None, &mut y[..part]);
        let finish = Finish::AddTo { to: &x[..len], gate: Some(modulation.part(2)) };
        attention.out.write_summed(&y[..part], finish, &mut q[..len], group)?;
        swap(x, q);
        Ok(())
    }

    /// Adds to the stream what each token takes from the text of its branch.
    pub(super) fn attend_text(
        &self,
        buffers: &mut Buffers,
        (branches, tokens): (usize, usize),
        text: &TextKeys,
        bias: Bias<'_>,
        group: &mut Group,
    ) -> Result<(), Broken> {
        let text_tokens = text.keys.len() / (branches * self.heads * self.head);
        let part = branches * tokens * self.heads * self.head;
        let Buffers { x, y, q, .. } = buffers;
        let attention = &self.to_text;
        attention.query.write(x, Finish::Nothing, &mut q[..part]);
        attention.norm(&mut q[..part], &mut [], None, group)?;
        let size = self.size(branches, tokens, text_tokens);
        kernels::attention(size, &q[..part], &text.keys, &text.values, bias, &mut y[..part]);
        attention.out.write_summed(&y[..part], Finish::AddTo { to: x, gate: None }, q, group)?;
        swap(x, q);
        Ok(())
    }

    /// Adds the feed-forward layer to the stream.
    pub(super) fn feed(
        &self,
        buffers: &mut Buffers,
        modulation: &Modulation,
        group: &mut Group,
    ) -> Result<(), Broken> {
        let Buffers { x, y, q, hidden, .. } = buffers;
        let width = modulation.width;
        let after = After::Modulate { shift: modulation.part(3), scale: modulation.part(4) };
        kernels::norm(x, width, Norm::Rms { eps: self.eps }, after, y);
        let part = FEED_ROWS * width;
        hidden.resize(part.min(x.len()) / width * self.hidden, 0.0);
        for ((x, y), out) in x.chunks(part).zip(y.chunks(part)).zip(q.chunks_mut(part)) {
            let hidden = &mut hidden[..y.len() / width * self.hidden];
            self.up.write(y, Finish::Gelu, hidden);
            let finish = Finish::AddTo { to: x, gate: Some(modulation.part(5)) };
            self.down.write_summed(hidden, finish, out, group)?;
        }
        swap(x, q);
        Ok(())
    }

    fn size(&self, batch: usize, queries: usize, keys: usize) -> Heads {
        let (heads, head) = (self.heads, self.head);
        Heads { batch, heads, head, queries, keys, scale: 1.0 / (head as f32).sqrt() }
    }
}

impl layers::Block for Block {
    fn held(&self) -> usize {
        let attentions = self.to_self.held() + self.to_text.held();
        attentions + self.up.held() + self.down.held() + self.table.len()
    }
}
