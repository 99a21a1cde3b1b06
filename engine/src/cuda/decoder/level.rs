//! A noise level as norms are told it: embedded, and added to the table of each.

use std::sync::Arc;

use super::input::ScaleShift;
use crate::cuda::{Arg, Floats, Gpu, linear::VectorLinear};
use crate::error::Error;
use crate::layers::{WAVES, waves};
use crate::models::autoencoders::ltx::DECODING;
use crate::weights::Scope;

/// The layers that embed it.
#[derive(Debug)]
pub(super) struct Embedding {
    first: VectorLinear,
    second: VectorLinear,
}

impl Embedding {
    pub(super) fn load(gpu: &Arc<Gpu>, mut scope: Scope<'_>, width: usize) -> Result<Self, Error> {
        Ok(Self {
            first: VectorLinear::load(gpu, scope.at("linear_1"), WAVES, width)?,
            second: VectorLinear::load(gpu, scope.at("linear_2"), width, width)?,
        })
    }

    /// The vector of `level`.
    pub(super) fn apply(&self, gpu: &Arc<Gpu>, level: f32) -> Result<Floats, Error> {
        let waves = Floats::from(gpu, &waves(level), DECODING)?;
        let hidden = Floats::room(gpu, self.first.outputs(), DECODING)?;
        let vector = Floats::room(gpu, self.second.outputs(), DECODING)?;
        self.first.write(waves.at(), hidden.at(), [false, true])?;
        self.second.write(hidden.at(), vector.at(), [false, false])?;
        Ok(vector)
    }
}

/// Shift and scale of one norm after another.
#[derive(Debug)]
pub(super) struct Modulation {
    values: Floats,
    channels: usize,
}

impl Modulation {
    /// The sum of a table and an embedded level, which are as long.
    pub(super) fn new(
        gpu: &Arc<Gpu>,
        table: &Floats,
        level: &Floats,
        channels: usize,
    ) -> Result<Self, Error> {
        let len = table.len();
        assert_eq!(len, level.len(), "a table as long as the level");
        let values = Floats::room(gpu, len, DECODING)?;
        let mut args = [table.at(), level.at(), values.at()].map(Arg::At).to_vec();
        args.extend([Arg::Long(len as i64), Arg::Int(len as i32)]);
        gpu.launch("modulations", gpu.spread(len), &args)?;
        Ok(Self { values, channels })
    }

    /// Of norm `i`.
    pub(super) fn part(&self, i: usize) -> ScaleShift {
        let at = |part: usize| self.values.part(part * self.channels);
        ScaleShift { shift: at(2 * i), scale: at(2 * i + 1) }
    }
}
