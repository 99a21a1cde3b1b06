//! The loop from noise to latents. It knows the schedule and the guidance, and checks every step's numbers.

use crate::error::Error;
use crate::guidance::guide;
use crate::models::transformers::ltx::{Context, Rope, Transformer};
use crate::progress::{Observer, Stage};
use crate::schedulers::Levels;

/// How the branches are combined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guidance {
    pub(super) scale: f32,
    pub(super) rescale: f32,
}

/// Denoises `latents (tokens, channels)` in place. With guidance, the context has the branch without the prompt
/// first and the one with it second; else it has one branch.
pub(super) fn denoise(
    transformer: &Transformer,
    levels: &Levels,
    rope: &Rope,
    context: &mut Context,
    guidance: Option<Guidance>,
    latents: &mut [f32],
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    for step in 0..levels.steps() {
        let timestep = levels.timesteps[step];
        let mut velocity = transformer.forward(latents, timestep, rope, context, &mut |block, stream| {
            observer.block(block, stream);
        })?;
        let velocity = match guidance {
            Some(Guidance { scale, rescale }) => {
                let (without, with) = velocity.split_at_mut(latents.len());
                guide(without, with, scale, rescale);
                &*with
            }
            None => &velocity,
        };
        levels.step(step, velocity, latents);
        let number = step as u32 + 1;
        if !latents.iter().all(|v| v.is_finite()) {
            return Err(Error::NanOutput { stage: Stage::Denoise, step: Some(number) });
        }
        observer.latents(number, latents);
        observer.step(number, levels.steps() as u32);
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
    }
    Ok(())
}
