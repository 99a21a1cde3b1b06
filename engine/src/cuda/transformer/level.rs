//! A noise level as the blocks are told it: embedded once a step, and added to the table of each.

use std::ops::Range;
use std::sync::Arc;

use super::{Arg, Floats, Gpu, WEIGHTS};
use crate::cuda::linear::VectorLinear;
use crate::error::Error;
use crate::layers::{WAVES, waves};
use crate::models::transformers::ltx::Config;
use crate::weights::Source;

/// Shift, scale and gate of the self-attention, then of the feed-forward layer.
const OF_BLOCK: usize = 6;
/// Shift and scale.
const OF_LAST: usize = 2;

/// The layers that embed it, and the tables of the blocks that are here.
#[derive(Debug)]
pub(super) struct Level {
    gpu: Arc<Gpu>,
    first: VectorLinear,
    second: VectorLinear,
    modulation: VectorLinear,
    /// `(blocks, 6, width)`.
    tables: Floats,
    /// `(2, width)`.
    last: Floats,
    width: usize,
}

/// Where a step's values are; each is written anew every step.
#[derive(Debug)]
pub(super) struct Values {
    waves: Floats,
    hidden: Floats,
    plain: Floats,
    level: Floats,
    blocks: Floats,
    last: Floats,
    width: usize,
}

impl Level {
    pub(super) fn load(
        gpu: &Arc<Gpu>,
        source: &mut Source,
        config: &Config,
        span: Range<usize>,
    ) -> Result<Self, Error> {
        let width = config.width();
        let mut root = source.root();
        let mut vector = |name: &str, k, n| VectorLinear::load(gpu, root.at(name), k, n);
        let first = vector("time_embed.emb.timestep_embedder.linear_1", WAVES, width)?;
        let second = vector("time_embed.emb.timestep_embedder.linear_2", width, width)?;
        let modulation = vector("time_embed.linear", width, OF_BLOCK * width)?;
        let mut tables = Vec::with_capacity(span.len() * OF_BLOCK * width);
        for i in span {
            let name = format!("transformer_blocks.{i}.scale_shift_table");
            tables.extend(source.take(&name, &[OF_BLOCK, width])?.into_vec());
        }
        let last = source.take("scale_shift_table", &[OF_LAST, width])?.into_vec();
        let tables = Floats::from(gpu, &tables, WEIGHTS)?;
        let last = Floats::from(gpu, &last, WEIGHTS)?;
        Ok(Self { gpu: Arc::clone(gpu), first, second, modulation, tables, last, width })
    }

    /// But the tables of the blocks, which count as theirs.
    pub(super) fn held(&self) -> usize {
        [&self.first, &self.second, &self.modulation].map(VectorLinear::held).iter().sum::<usize>()
            + self.last.len()
    }

    pub(super) fn room(&self) -> Result<Values, Error> {
        let room = |len| Floats::room(&self.gpu, len, "the noise level");
        Ok(Values {
            waves: room(WAVES)?,
            hidden: room(self.width)?,
            plain: room(self.width)?,
            level: room(OF_BLOCK * self.width)?,
            blocks: room(self.tables.len())?,
            last: room(self.last.len())?,
            width: self.width,
        })
    }

    /// Makes of the waves that were told all that the blocks want.
    pub(super) fn write(&self, values: &Values) -> Result<(), Error> {
        let Values { waves, hidden, plain, level, blocks, last, width } = values;
        self.first.write(waves.at(), hidden.at(), [false, true])?;
        self.second.write(hidden.at(), plain.at(), [false, false])?;
        self.modulation.write(plain.at(), level.at(), [true, false])?;
        self.add(&self.tables, level, blocks, OF_BLOCK * width)?;
        self.add(&self.last, plain, last, *width)
    }

    fn add(&self, tables: &Floats, to_each: &Floats, out: &Floats, len: usize) -> Result<(), Error> {
        let count = tables.len();
        let args = [
            Arg::At(tables.at()),
            Arg::At(to_each.at()),
            Arg::At(out.at()),
            Arg::Long(count as i64),
            Arg::Int(len as i32),
        ];
        self.gpu.launch("modulations", self.gpu.spread(count), &args)
    }
}

impl Values {
    /// The host's part: cosines and sines of the timestep.
    pub(super) fn tell(&mut self, timestep: f32) -> Result<(), Error> {
        self.waves.fill(&waves(timestep))
    }

    /// Of block `i` of those that are here: shift, scale and gate, then again for the feed-forward layer.
    pub(super) fn block(&self, i: usize) -> [u64; OF_BLOCK] {
        std::array::from_fn(|part| self.blocks.part((i * OF_BLOCK + part) * self.width))
    }

    /// Shift and scale of the last norm.
    pub(super) fn last(&self) -> [u64; OF_LAST] {
        std::array::from_fn(|part| self.last.part(part * self.width))
    }
}
