//! The projections of one attention with their norms over all heads.

use super::config::Config;
use super::rope::Rope;
use crate::error::Error;
use crate::kernels::{self, Mean};
use crate::layers::Linear;
use crate::parallel::{Broken, Group, Split};
use crate::weights::Scope;

/// The norms of queries and keys have their own epsilon, whatever the configuration says of the others.
pub(crate) const EPS: f32 = 1e-5;

/// One rank's heads of it; the output is a sum over all ranks.
#[derive(Debug)]
pub(super) struct Attention {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    query_norm: Vec<f32>,
    key_norm: Vec<f32>,
    pub(super) out: Linear,
    /// Of all heads together.
    width: usize,
}

impl Attention {
    pub(super) fn load(mut scope: Scope<'_>, config: &Config, split: &Split) -> Result<Self, Error> {
        let width = config.width();
        let part = config.columns(split);
        let bias = config.attention_bias;
        let mut column = |name| Linear::load_outputs(scope.at(name), width, width, bias, part.clone());
        let [query, key, value] = [column("to_q")?, column("to_k")?, column("to_v")?];
        let mut norm =
            |name| Ok::<_, Error>(scope.at(name).take("weight", &[width])?.rows(part.clone()).into_vec());
        let [query_norm, key_norm] = [norm("norm_q")?, norm("norm_k")?];
        let out_bias = config.attention_out_bias;
        let out = Linear::load_inputs(scope.at("to_out.0"), width, width, out_bias, part.clone())?;
        Ok(Self { query, key, value, query_norm, key_norm, out, width })
    }

    /// Normalises queries and keys over all heads of all ranks, and turns them where there is a rope.
    pub(super) fn norm(
        &self,
        queries: &mut [f32],
        keys: &mut [f32],
        rope: Option<&Rope>,
        group: &mut Group,
    ) -> Result<(), Broken> {
        let turns = rope.map(Rope::turns);
        let mut normed = [(queries, &self.query_norm), (keys, &self.key_norm)];
        if group.is_alone() {
            for (x, weight) in &mut normed {
                kernels::rms_norm(x, weight, EPS, Mean::OfRow, turns);
            }
            return Ok(());
        }
        // Two sums a token are all that the ranks must tell each other.
        let mut sums: Vec<f32> =
            normed.iter().flat_map(|(x, weight)| kernels::squares(x, weight.len())).collect();
        group.all_reduce(&mut sums)?;
        let mut sums = sums.as_slice();
        for (x, weight) in &mut normed {
            let (squares, rest) = sums.split_at(x.len() / weight.len());
            sums = rest;
            let mean = Mean::OfWhole { squares, width: self.width };
            kernels::rms_norm(x, weight, EPS, mean, turns);
        }
        Ok(())
    }

    /// Numbers that are held.
    pub(super) fn held(&self) -> usize {
        let linears = [&self.query, &self.key, &self.value, &self.out].map(Linear::held);
        linears.iter().sum::<usize>() + self.query_norm.len() + self.key_norm.len()
    }
}
