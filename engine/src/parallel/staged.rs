//! How ranks that are stages of one model tell each other what came out at the end.

use super::{Broken, Group, Mode};

/// All ranks get the output of each branch, `size` numbers, of which each has written those that it made.
pub(crate) fn hand_out(outputs: &mut [f32], size: usize, group: &mut Group) -> Result<(), Broken> {
    let (all, end) = (outputs.len(), group.ranks() - 1);
    match group.split().mode() {
        Mode::Guidance => {
            group.all_gather(outputs, |rank| (rank * size).min(all)..((rank + 1) * size).min(all))
        }
        // Nobody but the last has anything to say, and he waits for nobody's thanks.
        Mode::Layers | Mode::Tensor if group.rank() == end => {
            (0..end).try_for_each(|to| group.pass(to, outputs))
        }
        Mode::Layers | Mode::Tensor => group.take(end, outputs),
    }
}
