//! The projections of one attention with their norms over all heads.

use std::sync::Arc;

use super::{Floats, Gpu, WEIGHTS};
use crate::cuda::{
    linear::{Linear, Part as Share, Taken},
    norm::{Parts, Turns, rms_turn, squares},
    sum,
};
use crate::error::Error;
use crate::models::transformers::ltx::{Config, QK_EPS};
use crate::parallel::{Group, Split};
use crate::weights::Scope;

/// One rank's heads of it; the output is a sum over all ranks.
#[derive(Debug)]
pub(super) struct Attention {
    /// Side by side: queries, keys and values; or the queries alone where keys are of something else.
    pub(super) enter: Linear,
    /// Keys and values of the text.
    pub(super) other: Option<Linear>,
    query_norm: Floats,
    key_norm: Floats,
    pub(super) out: Linear,
    /// Of all heads together, and of this rank's.
    whole: usize,
    pub(super) width: usize,
}

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Both,
    Queries,
    Keys,
}

impl Attention {
    pub(super) fn load(
        gpu: &Arc<Gpu>,
        mut scope: Scope<'_>,
        config: &Config,
        split: &Split,
        is_to_text: bool,
    ) -> Result<Self, Error> {
        let whole = config.width();
        let part = config.columns(split);
        let outputs = Share::Outputs(part.clone());
        let mut columns = |names: &[&str]| {
            let mut taken = Vec::new();
            for name in names {
                taken.push(Taken::of(scope.at(name), [whole, whole], config.attention_bias)?);
            }
            Linear::of(gpu, taken, [whole, whole], &outputs)
        };
        let (enter, other) = if is_to_text {
            (columns(&["to_q"])?, Some(columns(&["to_k", "to_v"])?))
        } else {
            (columns(&["to_q", "to_k", "to_v"])?, None)
        };
        let mut norm = |name| {
            let weight = scope.at(name).take("weight", &[whole])?.rows(part.clone()).into_vec();
            Floats::from(gpu, &weight, WEIGHTS)
        };
        let (query_norm, key_norm) = (norm("norm_q")?, norm("norm_k")?);
        let out = Linear::load(
            gpu,
            scope.at("to_out.0"),
            [whole, whole],
            config.attention_out_bias,
            &Share::Inputs(part.clone()),
        )?;
        Ok(Self { enter, other, query_norm, key_norm, out, whole, width: part.len() })
    }

    /// Normalises queries or keys at `x` over all heads of all ranks, and turns them where there are turns.
    pub(super) fn norm(
        &self,
        gpu: &Arc<Gpu>,
        (x, rows, stride): (u64, usize, usize),
        held: Held,
        turns: Option<&Turns>,
        group: &mut Group,
    ) -> Result<(), Error> {
        let (query, key) = (self.query_norm.at(), self.key_norm.at());
        let weights: &[u64] = match held {
            Held::Both => &[query, key],
            Held::Queries => &[query],
            Held::Keys => &[key],
        };
        let parts = Parts { x, rows, stride, width: self.width, weights };
        if group.is_alone() {
            return rms_turn(gpu, parts, self.whole, QK_EPS, 0, turns);
        }
        // Two sums a token are all that the ranks must tell each other.
        let sums = Floats::room(gpu, rows * weights.len(), "sums of squares")?;
        squares(gpu, parts, sums.at())?;
        sum::floats(gpu, &sums, group)?;
        rms_turn(gpu, parts, self.whole, QK_EPS, sums.at(), turns)
    }

    /// Numbers that are held.
    pub(super) fn held(&self) -> usize {
        let other = self.other.as_ref().map_or(0, Linear::held);
        self.enter.held() + other + self.out.held() + self.query_norm.len() + self.key_norm.len()
    }
}
