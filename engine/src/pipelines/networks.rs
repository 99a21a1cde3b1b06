//! The networks of a pipeline, on whichever place they were loaded: one face for what the processor and a device do in their own
//! ways.

use crate::error::Error;
use crate::models::autoencoders::ltx::Decoder;
use crate::models::text::{T5, T5Config};
use crate::models::transformers::ltx::{self, Config, Grid, Rope, Transformer};
use crate::parallel::{Group, Split};
use crate::place::Place;
use crate::progress::Observer;
use crate::weights::{Reading, Source};

#[cfg(feature = "cuda")]
use crate::cuda;

/// A text encoder.
#[derive(Debug)]
pub(super) enum Text {
    Cpu(T5),
    #[cfg(feature = "cuda")]
    Cuda(cuda::T5),
}

impl Text {
    pub(super) fn load(
        place: &Place,
        config: T5Config,
        source: &mut Source,
        split: &Split,
    ) -> Result<Self, Error> {
        match on(place, source) {
            Place::Cpu => T5::load(config, source, split).map(Self::Cpu),
            #[cfg(feature = "cuda")]
            Place::Cuda(gpu) => cuda::T5::load(&gpu, config, source, split).map(Self::Cuda),
        }
    }

    pub(super) fn encode(&self, tokens: &[u32], group: &mut Group) -> Result<Vec<f32>, Error> {
        match self {
            Self::Cpu(text) => text.encode(tokens, group),
            #[cfg(feature = "cuda")]
            Self::Cuda(text) => text.encode(tokens, group),
        }
    }

    pub(super) fn held(&self) -> usize {
        match self {
            Self::Cpu(text) => text.held(),
            #[cfg(feature = "cuda")]
            Self::Cuda(text) => text.held(),
        }
    }
}

/// A transformer.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, behind an Arc")]
pub(super) enum Denoiser {
    Cpu(Transformer),
    #[cfg(feature = "cuda")]
    Cuda(cuda::Transformer),
}

/// What a render keeps from step to step.
#[derive(Debug)]
pub(super) enum Context {
    Cpu {
        context: ltx::Context,
        rope: Rope,
    },
    #[cfg(feature = "cuda")]
    Cuda(Box<cuda::Context>),
}

impl Denoiser {
    pub(super) fn load(
        place: &Place,
        config: Config,
        source: &mut Source,
        split: &Split,
    ) -> Result<Self, Error> {
        match on(place, source) {
            Place::Cpu => Transformer::load(config, source, split).map(Self::Cpu),
            #[cfg(feature = "cuda")]
            Place::Cuda(gpu) => cuda::Transformer::load(&gpu, config, source, split).map(Self::Cuda),
        }
    }

    pub(super) fn numbers_in_blocks(&self) -> u64 {
        match self {
            Self::Cpu(transformer) => transformer.numbers_in_blocks(),
            #[cfg(feature = "cuda")]
            Self::Cuda(transformer) => transformer.numbers_in_blocks(),
        }
    }

    pub(super) fn held(&self) -> [usize; 2] {
        match self {
            Self::Cpu(transformer) => transformer.held(),
            #[cfg(feature = "cuda")]
            Self::Cuda(transformer) => transformer.held(),
        }
    }

    /// Prepares the text of each branch for a clip of `grid`.
    pub(super) fn context(&self, branches: &[&[f32]], grid: Grid, group: &Group) -> Result<Context, Error> {
        match self {
            Self::Cpu(transformer) => Ok(Context::Cpu {
                context: transformer.context(branches, group),
                rope: transformer.rope(grid)?,
            }),
            #[cfg(feature = "cuda")]
            Self::Cuda(transformer) => {
                transformer.context(branches, grid, group).map(|context| Context::Cuda(Box::new(context)))
            }
        }
    }

    /// The velocity of each branch; `observer` is shown the stream after each block if it looks at blocks.
    pub(super) fn forward(
        &self,
        latents: &[f32],
        timestep: f32,
        context: &mut Context,
        group: &mut Group,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>, Error> {
        let looks = observer.looks_at_blocks();
        let mut seen = |block: usize, stream: &[f32]| {
            if looks {
                observer.block(block, stream);
            }
        };
        match (self, context) {
            (Self::Cpu(transformer), Context::Cpu { context, rope }) => {
                transformer.forward(latents, timestep, rope, context, group, &mut seen)
            }
            #[cfg(feature = "cuda")]
            (Self::Cuda(transformer), Context::Cuda(context)) => {
                let seen: Option<cuda::Seen<'_>> = if looks { Some(&mut seen) } else { None };
                transformer.forward(latents, timestep, context, group, seen)
            }
            #[cfg(feature = "cuda")]
            _ => unreachable!("a context of the transformer that made it"),
        }
    }
}

/// A video decoder.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, behind an Arc")]
pub(super) enum Frames {
    Cpu(Decoder),
    #[cfg(feature = "cuda")]
    Cuda(cuda::Decoder),
}

impl Frames {
    pub(super) fn load(
        place: &Place,
        config: &serde_json::Value,
        source: &mut Source,
    ) -> Result<Self, Error> {
        match on(place, source) {
            Place::Cpu => Decoder::new(config, source).map(Self::Cpu),
            #[cfg(feature = "cuda")]
            Place::Cuda(gpu) => cuda::Decoder::new(&gpu, config, source).map(Self::Cuda),
        }
    }

    pub(super) fn numbers(&self) -> u64 {
        match self {
            Self::Cpu(decoder) => decoder.numbers(),
            #[cfg(feature = "cuda")]
            Self::Cuda(decoder) => decoder.numbers(),
        }
    }

    pub(super) fn last_stage(&self) -> (usize, [usize; 2]) {
        match self {
            Self::Cpu(decoder) => decoder.last_stage(),
            #[cfg(feature = "cuda")]
            Self::Cuda(decoder) => decoder.last_stage(),
        }
    }

    pub(super) fn decode(
        &self,
        latents: &[f32],
        size: [usize; 3],
        timestep: Option<f32>,
    ) -> Result<Vec<f32>, Error> {
        match self {
            Self::Cpu(decoder) => decoder.decode(latents, size, timestep),
            #[cfg(feature = "cuda")]
            Self::Cuda(decoder) => decoder.decode(latents, size, timestep),
        }
    }
}

/// What only headers are read of needs no device.
fn on(place: &Place, source: &Source) -> Place {
    if source.reading() == Reading::Headers { Place::Cpu } else { place.clone() }
}
