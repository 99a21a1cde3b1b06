//! The projections of one attention with their norms over all heads.

use super::config::Config;
use crate::error::Error;
use crate::layers::Linear;
use crate::weights::Scope;

/// The norms of queries and keys have their own epsilon, whatever the configuration says of the others.
pub(super) const EPS: f32 = 1e-5;

#[derive(Debug)]
pub(super) struct Attention {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) query_norm: Vec<f32>,
    pub(super) key_norm: Vec<f32>,
    pub(super) out: Linear,
}

impl Attention {
    pub(super) fn load(mut scope: Scope<'_>, config: &Config) -> Result<Self, Error> {
        let width = config.width();
        let bias = config.attention_bias;
        Ok(Self {
            query: Linear::load(scope.at("to_q"), width, width, bias)?,
            key: Linear::load(scope.at("to_k"), width, width, bias)?,
            value: Linear::load(scope.at("to_v"), width, width, bias)?,
            query_norm: scope.at("norm_q").take("weight", &[width])?.into_vec(),
            key_norm: scope.at("norm_k").take("weight", &[width])?.into_vec(),
            out: Linear::load(scope.at("to_out.0"), width, width, config.attention_out_bias)?,
        })
    }
}
