//! Ranks that have some of the blocks, or do some of the branches; see `models::transformers::ltx`. The stream crosses a cut by
//! way of the host.

use super::{Context, Part, Transformer, block::before_attention, level};
use crate::cuda::norm::Turns;
use crate::error::Error;
use crate::parallel::{Group, Mode, hand_out};

impl Transformer {
    pub(super) fn forward_staged(
        &self,
        latents: &[f32],
        timestep: f32,
        context: &mut Context,
        group: &mut Group,
    ) -> Result<Vec<f32>, Error> {
        let Context { branches, tokens, turns, level, parts } = context;
        let (width, tokens) = (self.config.width(), *tokens);
        let size = tokens * self.config.out_channels;
        level.tell(timestep)?;
        self.level.write(level)?;
        let (first, last) = (self.span.start == 0, self.span.end == self.config.layers);
        let mut velocities = vec![0.0; *branches * size];
        for (number, part) in parts.iter_mut().enumerate() {
            if first {
                part.latents.fill(latents)?;
                self.begin(part, tokens)?;
            } else {
                let mut stream = vec![0.0; tokens * width];
                group.take(group.rank() - 1, &mut stream)?;
                part.buffers.x.fill(&stream)?;
            }
            self.through(part, tokens, level, turns)?;
            if last {
                self.leave(part, tokens)?;
                let branch = if self.mode == Mode::Guidance { group.rank() } else { number };
                velocities[branch * size..][..size].copy_from_slice(&part.velocity.values()?);
            } else {
                group.pass(group.rank() + 1, &part.buffers.x.to_f32(0, tokens * width)?)?;
            }
        }
        hand_out(&mut velocities, size, group)?;
        Ok(velocities)
    }

    /// One branch through this rank's blocks.
    fn through(
        &self,
        part: &mut Part,
        tokens: usize,
        level: &level::Values,
        turns: &Turns,
    ) -> Result<(), Error> {
        let mut alone = Group::solo();
        self.norm_first(part, level, tokens)?;
        let Part { keys, text, mask, buffers, .. } = part;
        let here = self.blocks.len();
        self.blocks.walk(|i, block| {
            block.attend_self(buffers, [1, tokens], level.block(i), turns, &mut alone)?;
            let keys = block.text_keys(&mut keys[i], text, &mut alone)?;
            block.attend_text(buffers, [1, tokens], keys, mask.as_ref(), &mut alone)?;
            let then = match i + 1 {
                next if next < here => before_attention(&self.config, level.block(next)),
                _ => self.before_leaving(level),
            };
            block.feed(buffers, tokens, level.block(i), then, &mut alone)
        })
    }
}
