//! The loop from noise to latents. It knows the schedule and the guidance, and checks every step's numbers.

use std::time::{Duration, Instant};

use super::networks::{Context, Denoiser};
use crate::error::Error;
use crate::guidance::guide;
use crate::parallel::Group;
use crate::progress::{Observer, Stage};
use crate::schedulers::Levels;

/// How the branches are combined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guidance {
    pub(super) scale: f32,
    pub(super) rescale: f32,
}

/// What is denoised, and how far it is.
pub(super) struct Work<'a> {
    pub(super) levels: &'a Levels,
    pub(super) context: &'a mut Context,
    pub(super) guidance: Option<Guidance>,
    /// Steps that are done.
    pub(super) done: usize,
    /// `(tokens, channels)`.
    pub(super) latents: &'a mut [f32],
}

/// Denoises in place. With guidance, the context has the branch without the prompt first and the one with it second; else
/// it has one branch.
pub(super) fn denoise(
    transformer: &Denoiser,
    mut work: Work<'_>,
    group: &mut Group,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let ended = walk(transformer, &mut work, group, observer);
    if ended.is_ok() {
        group.finish();
    }
    // A step that breaks leaves the latents as they were before it.
    if matches!(ended, Err(Error::Cancelled | Error::Gang(_))) && group.rank() == 0 {
        observer.halted(work.done as u32, work.latents);
    }
    ended
}

/// Step after step, until all are done.
fn walk(
    transformer: &Denoiser,
    work: &mut Work<'_>,
    group: &mut Group,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let Work { levels, context, guidance, done: step, latents } = work;
    let (levels, mut longest) = (*levels, Duration::ZERO);
    loop {
        agree(step, latents, group, observer)?;
        if *step >= levels.steps() {
            return Ok(());
        }
        let (began, idle) = (Instant::now(), group.idle());
        let timestep = levels.timesteps[*step];
        let mut velocity = transformer.forward(latents, timestep, context, group, observer)?;
        let velocity = match guidance {
            Some(Guidance { scale, rescale }) => {
                let (without, with) = velocity.split_at_mut(latents.len());
                guide(without, with, *scale, *rescale);
                &*with
            }
            None => &velocity,
        };
        levels.step(*step, velocity, latents);
        *step += 1;
        let number = *step as u32;
        if !latents.iter().all(|v| v.is_finite()) {
            return Err(Error::NanOutput { stage: Stage::Denoise, step: Some(number) });
        }
        longest = longest.max(began.elapsed().saturating_sub(group.idle() - idle));
        group.measured_step(longest);
        observer.latents(number, latents);
        observer.step(number, levels.steps() as u32);
    }
}

/// Every step begins with the word of rank 0: whether it goes on, at which step, and from which latents. So it alone
/// needs to know where a render was taken up, and ranks on processors that round differently do not drift apart.
fn agree(
    step: &mut usize,
    latents: &mut [f32],
    group: &mut Group,
    observer: &dyn Observer,
) -> Result<(), Error> {
    // Whoever else is cancelled hears of it from rank 0: leaving on his own he would break the gang in the middle of a step.
    let stops = group.rank() == 0 && observer.cancelled();
    if !group.is_alone() {
        let mut word = Vec::new();
        if group.rank() == 0 {
            word.extend((*step as u64).to_le_bytes());
            if !stops {
                latents.iter().for_each(|value| word.extend(value.to_le_bytes()));
            }
        }
        group.broadcast(&mut word)?;
        let (number, values) = word.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        if values.len() != 4 * latents.len() {
            return Err(Error::Cancelled);
        }
        *step = u64::from_le_bytes(*number) as usize;
        let values = values.as_chunks::<4>().0;
        latents.iter_mut().zip(values).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
    }
    if stops { Err(Error::Cancelled) } else { Ok(()) }
}
