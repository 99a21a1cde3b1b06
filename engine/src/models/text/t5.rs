//! The encoder half of T5 v1.1 (gated GELU), as LTX-Video uses it: over padded tokens and without a mask.
//!
//! No decoder, no plain-ReLU feed-forward of T5 v1.0.

use std::mem::take;
use std::ops::Range;

use crate::error::Error;
use crate::kernels::{self, After, Bias, Finish, Heads, Norm};
use crate::layers::{self, Blocks, Linear};
use crate::parallel::{Broken, Group, Split};
use crate::settings::Settings;
use crate::weights::{Scope, Source, Tensor};

/// The sizes of a T5 encoder.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) head: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) words: usize,
    pub(crate) buckets: usize,
    pub(crate) farthest: usize,
    pub(crate) eps: f32,
}

impl Config {
    /// Numbers in the table of words.
    pub(crate) fn words_numbers(&self) -> u64 {
        self.words as u64 * self.width as u64
    }

    pub(crate) fn read(settings: &Settings) -> Result<Self, Error> {
        settings.only("feed_forward_proj", "gated-gelu")?;
        let buckets = settings.size("relative_attention_num_buckets", Some(32))?;
        if buckets < 2 {
            return Err(settings.wrong("relative_attention_num_buckets", "one for each direction at least"));
        }
        Ok(Self {
            width: settings.size("d_model", None)?,
            heads: settings.size("num_heads", None)?,
            head: settings.size("d_kv", None)?,
            hidden: settings.size("d_ff", None)?,
            layers: settings.size("num_layers", None)?,
            words: settings.size("vocab_size", None)?,
            buckets,
            farthest: settings.size("relative_attention_max_distance", Some(128))?,
            eps: settings.number("layer_norm_epsilon", Some(1e-6))? as f32,
        })
    }
}

/// A loaded encoder, or one rank's part of it. The table of words stays in its file and is read by the row.
#[derive(Debug)]
pub struct T5 {
    config: Config,
    /// This rank's.
    heads: Range<usize>,
    words: Tensor,
    distances: Vec<f32>,
    blocks: Blocks<Block>,
    last: Vec<f32>,
}

#[derive(Debug)]
struct Block {
    attention_norm: Vec<f32>,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    feed_norm: Vec<f32>,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// What there is of it beside its blocks.
pub(crate) struct Around {
    pub(crate) words: Tensor,
    pub(crate) distances: Vec<f32>,
    pub(crate) last: Vec<f32>,
}

impl Around {
    pub(crate) fn take(config: &Config, source: &mut Source) -> Result<Self, Error> {
        let mut root = source.root();
        let table = [config.words, config.width];
        let words = root.take("shared.weight", &table)?;
        if root.has("encoder.embed_tokens.weight") {
            // Some releases store the one table under both of its names.
            root.skip("encoder.embed_tokens.weight", &table)?;
        }
        let distances = root
            .at("encoder.block.0.layer.0.SelfAttention.relative_attention_bias")
            .take("weight", &[config.buckets, config.heads])?
            .into_vec();
        let last = root.at("encoder.final_layer_norm").take("weight", &[config.width])?.into_vec();
        Ok(Self { words, distances, last })
    }
}

impl T5 {
    pub(crate) fn load(config: Config, source: &mut Source, split: &Split) -> Result<Self, Error> {
        split.check("the text encoder", "head", config.heads)?;
        let heads = split.part(config.heads);
        let Around { words, distances, last } = Around::take(&config, source)?;
        let of_block = (config.clone(), split.clone());
        let blocks = Blocks::load(source, config.layers, 0..config.layers, move |source, i| {
            Block::load(source.root().at(format_args!("encoder.block.{i}")), &of_block.0, &of_block.1)
        })?;
        Ok(Self { config, heads, words, distances, blocks, last })
    }

    /// States of `tokens`, `(tokens, width)`.
    ///
    /// # Errors
    /// `Config` when the tokenizer gives a number that the table of words does not have, or when the gang breaks.
    pub fn encode(&self, tokens: &[u32], group: &mut Group) -> Result<Vec<f32>, Error> {
        let width = self.config.width;
        let mut x = words_of(&self.words, tokens, &self.config)?;
        let bias = bias_of(&self.config, &self.distances, self.heads.clone(), tokens.len());
        self.blocks.walk(|_, block| {
            x = block.apply(&self.config, self.heads.len(), take(&mut x), &bias, group)?;
            Ok(())
        })?;
        let mut out = vec![0.0; x.len()];
        let norm = Norm::Rms { eps: self.config.eps };
        kernels::norm(&x, width, norm, After::Weight(&self.last), &mut out);
        Ok(out)
    }

    /// Numbers that are held.
    pub fn held(&self) -> usize {
        self.blocks.held() + self.distances.len() + self.last.len()
    }
}

/// The rows of the table of words for `tokens`, `(tokens, width)`.
pub(crate) fn words_of(words: &Tensor, tokens: &[u32], config: &Config) -> Result<Vec<f32>, Error> {
    let mut x = vec![0.0; tokens.len() * config.width];
    for (&token, row) in tokens.iter().zip(x.chunks_exact_mut(config.width)) {
        if !words.row(token as usize, row) {
            return Err(Error::Config {
                file: "tokenizer/tokenizer.json".into(),
                key: "model.vocab".into(),
                message: format!("token {token} is beyond the encoder's {} words", config.words),
            });
        }
    }
    Ok(x)
}

/// What each of the heads `mine` adds for the distance of each pair, `(heads, tokens, tokens)`.
pub(crate) fn bias_of(config: &Config, distances: &[f32], mine: Range<usize>, tokens: usize) -> Vec<f32> {
    let Config { heads, buckets, farthest, .. } = *config;
    let mut bias = vec![0.0; mine.len() * tokens * tokens];
    for from in 0..tokens {
        for to in 0..tokens {
            let bucket = bucket(to as i64 - from as i64, buckets, farthest);
            for (at, head) in mine.clone().enumerate() {
                bias[(at * tokens + from) * tokens + to] = distances[bucket * heads + head];
            }
        }
    }
    bias
}

impl Block {
    fn load(mut scope: Scope<'_>, config: &Config, split: &Split) -> Result<Self, Error> {
        let Config { width, hidden, head, .. } = *config;
        let inner = config.heads * head;
        let heads = split.part(config.heads);
        let mine = heads.start * head..heads.end * head;
        let part = split.part(hidden);
        let attention_norm = scope.at("layer.0.layer_norm").take("weight", &[width])?.into_vec();
        let mut attention = scope.at("layer.0.SelfAttention");
        let [query, key, value] =
            ["q", "k", "v"].map(|n| Linear::load_outputs(attention.at(n), width, inner, false, mine.clone()));
        let out = Linear::load_inputs(attention.at("o"), inner, width, false, mine.clone())?;
        let feed_norm = scope.at("layer.1.layer_norm").take("weight", &[width])?.into_vec();
        let mut feed = scope.at("layer.1.DenseReluDense");
        Ok(Self {
            attention_norm,
            query: query?,
            key: key?,
            value: value?,
            out,
            feed_norm,
            gate: Linear::load_outputs(feed.at("wi_0"), width, hidden, false, part.clone())?,
            up: Linear::load_outputs(feed.at("wi_1"), width, hidden, false, part.clone())?,
            down: Linear::load_inputs(feed.at("wo"), hidden, width, false, part)?,
        })
    }

    /// With `heads` of its own, this rank's part of what all ranks add to `x`.
    fn apply(
        &self,
        config: &Config,
        heads: usize,
        mut x: Vec<f32>,
        bias: &[f32],
        group: &mut Group,
    ) -> Result<Vec<f32>, Broken> {
        let norm = Norm::Rms { eps: config.eps };
        let tokens = x.len() / config.width;
        let mut normed = vec![0.0; x.len()];
        kernels::norm(&x, config.width, norm, After::Weight(&self.attention_norm), &mut normed);
        let [q, k, v] = [&self.query, &self.key, &self.value].map(|l| l.apply(&normed, Finish::Nothing));
        // T5 was trained with unscaled scores.
        let size = Heads { batch: 1, heads, head: config.head, queries: tokens, keys: tokens, scale: 1.0 };
        let mut mixed = vec![0.0; q.len()];
        kernels::attention(size, &q, &k, &v, Bias::Pairs(bias), &mut mixed);
        let mut sum = vec![0.0; x.len()];
        self.out.write_summed(&mixed, Finish::AddTo { to: &x, gate: None }, &mut sum, group)?;
        kernels::norm(&sum, config.width, norm, After::Weight(&self.feed_norm), &mut normed);
        let mut hidden = self.gate.apply(&normed, Finish::Gelu);
        let up = self.up.apply(&normed, Finish::Nothing);
        hidden.iter_mut().zip(&up).for_each(|(h, u)| *h *= u);
        self.down.write_summed(&hidden, Finish::AddTo { to: &sum, gate: None }, &mut x, group)?;
        Ok(x)
    }
}

impl layers::Block for Block {
    fn held(&self) -> usize {
        let linears = [&self.query, &self.key, &self.value, &self.out, &self.gate, &self.up, &self.down];
        let norms = self.attention_norm.len() + self.feed_norm.len();
        linears.into_iter().map(Linear::held).sum::<usize>() + norms
    }
}

/// The bucket of a distance: half of the buckets for each direction, half of those one distance each, the others
/// ever wider up to `farthest`.
fn bucket(distance: i64, buckets: usize, farthest: usize) -> usize {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let (near, exact) = (distance.unsigned_abs() as usize, half / 2);
    if near < exact {
        return side + near;
    }
    // The roundings of f32 decide the bucket at the borders, so the order of these is the order in which T5 was
    // trained to do them.
    let share = (near as f32 / exact as f32).ln() / (farthest as f64 / exact as f64).ln() as f32;
    side + exact.saturating_add((share * (half - exact) as f32) as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn any_buckets_hold_any_distance() {
        for (buckets, farthest) in [(2, 1), (3, 128), (4, 1), (32, 8), (32, 1 << 20)] {
            for distance in (-512..=512).chain([i64::MIN + 1, i64::MAX]) {
                assert!(bucket(distance, buckets, farthest) < buckets, "{distance}: {buckets}, {farthest}");
            }
        }
    }

    #[test]
    fn distances_fall_into_the_buckets_of_transformers() {
        let first = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
        for distance in 0..200_i64 {
            let expected = first.iter().rposition(|&f| f <= distance).unwrap();
            assert_eq!(bucket(-distance, 32, 128), expected, "-{distance}");
            let ahead = if distance > 0 { expected + 16 } else { 0 };
            assert_eq!(bucket(distance, 32, 128), ahead, "{distance}");
        }
    }
}
