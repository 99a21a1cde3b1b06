//! Ranks that have some of the blocks, or do some of the branches.
//!
//! The stream of one branch goes from rank to rank while the next follows behind it: what crosses a cut is one activation.
//! All ranks get the velocity at the end, as they all take the step.

use super::{Context, Level, Part, Transformer, block::Buffers, rope::Rope};
use crate::error::Error;
use crate::kernels::{Bias, Finish};
use crate::parallel::{Group, Mode, hand_out};

impl Transformer {
    pub(super) fn forward_staged(
        &self,
        latents: &[f32],
        timestep: f32,
        rope: &Rope,
        context: &mut Context,
        group: &mut Group,
    ) -> Result<Vec<f32>, Error> {
        let (width, tokens) = (self.config.width(), latents.len() / self.config.in_channels);
        let size = tokens * self.config.out_channels;
        let level = self.level(timestep);
        let (first, last) = (self.span.start == 0, self.span.end == self.config.layers);
        let mut velocities = vec![0.0; context.branches * size];
        // Before the first block looks at the text all branches are the same: that part is done once.
        let mut begun = Vec::new();
        for (number, part) in context.parts.iter_mut().enumerate() {
            part.buffers.resize(tokens * width)?;
            let stream = &mut part.buffers.x[..tokens * width];
            if !first {
                group.take(group.rank() - 1, stream)?;
            } else if begun.is_empty() {
                self.enter.write(latents, Finish::Nothing, stream);
            } else {
                stream.copy_from_slice(&begun);
            }
            let begins = first && begun.is_empty();
            self.through(part, tokens, &level, rope, first && !begins, |stream| {
                if begins {
                    begun = stream.to_vec();
                }
            })?;
            if last {
                let branch = if self.mode == Mode::Guidance { group.rank() } else { number };
                velocities[branch * size..][..size]
                    .copy_from_slice(&self.velocity(&mut part.buffers, &level.plain));
            } else {
                group.pass(group.rank() + 1, &part.buffers.x[..tokens * width])?;
            }
        }
        hand_out(&mut velocities, size, group)?;
        Ok(velocities)
    }

    /// One branch through this rank's blocks; `begun` sees it after the first attention, unless that is done.
    fn through(
        &self,
        part: &mut Part,
        tokens: usize,
        level: &Level,
        rope: &Rope,
        is_begun: bool,
        mut begun: impl FnMut(&[f32]),
    ) -> Result<(), Error> {
        let mut alone = Group::solo();
        let Part { mask, text, keys, buffers, .. } = part;
        let bias = mask.as_deref().map_or(Bias::None, Bias::Keys);
        self.blocks.walk(|i, block| {
            let modulation = block.modulation(&level.modulation);
            if i > 0 || !is_begun {
                block.attend_self(buffers, 1, tokens, &modulation, rope, &mut alone)?;
            }
            if i == 0 {
                begun(stream(buffers));
            }
            let keys = block.text_keys(&mut keys[i], text, &mut alone)?;
            block.attend_text(buffers, (1, tokens), keys, bias, &mut alone)?;
            block.feed(buffers, &modulation, &mut alone)?;
            Ok(())
        })
    }
}

fn stream(buffers: &Buffers) -> &[f32] {
    &buffers.x
}
