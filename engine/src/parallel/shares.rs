//! Which part of a model is a rank's own.

use std::ops::Range;

use crate::error::Error;

/// How ranks share the work of a transformer. The text encoder is split by heads in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whole heads of each attention and as much of each feed-forward layer: all ranks work on every layer together.
    #[default]
    Tensor,
    /// Layers that follow each other: the stream goes from rank to rank, one branch of the guidance behind the other.
    Layers,
    /// Each rank has the whole transformer and does one branch of the guidance.
    Guidance,
}

/// One rank's place among those that split a model, and how much each takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    mode: Mode,
    rank: usize,
    /// By rank, in any unit: devices of different sizes take different shares.
    shares: Vec<u32>,
}

impl Split {
    /// The one rank of a model that is not split.
    pub fn whole() -> Self {
        Self::equal(0, 1)
    }

    /// Rank `rank` of `ranks` that take the same.
    pub fn equal(rank: usize, ranks: usize) -> Self {
        Self::uneven(rank, vec![1; ranks])
    }

    /// Rank `rank` of those that take `shares`.
    pub fn uneven(rank: usize, shares: Vec<u32>) -> Self {
        assert!(rank < shares.len(), "rank {rank} of {}", shares.len());
        Self { mode: Mode::Tensor, rank, shares }
    }

    /// The same ranks with another way to share.
    #[must_use]
    pub fn by(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// How the work is shared; without meaning for one rank.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn ranks(&self) -> usize {
        self.shares.len()
    }

    /// Whether nothing is split.
    pub fn is_whole(&self) -> bool {
        self.shares.len() == 1
    }

    /// This rank's part of the `units` of a layer, heads or numbers.
    pub(crate) fn part(&self, units: usize) -> Range<usize> {
        if self.mode == Mode::Tensor { self.share(units) } else { 0..units }
    }

    /// Those of `layers` that are this rank's.
    pub(crate) fn layers(&self, layers: usize) -> Range<usize> {
        if self.mode == Mode::Layers { self.share(layers) } else { 0..layers }
    }

    /// This rank's share of `units`: the shares of all ranks follow each other and leave nothing out.
    fn share(&self, units: usize) -> Range<usize> {
        let total: u64 = self.shares.iter().copied().map(u64::from).sum();
        let upto = |rank: usize| {
            let before: u64 = self.shares[..rank].iter().copied().map(u64::from).sum();
            (units as u64 * before / total.max(1)) as usize
        };
        upto(self.rank)..upto(self.rank + 1)
    }

    /// # Errors
    /// `Unsupported` when a rank would be left without a part of `units`, whose name is `unit`.
    pub(crate) fn check(&self, what: &str, unit: &str, units: usize) -> Result<(), Error> {
        let part = |rank| Self { rank, ..self.clone() }.share(units);
        if (0..self.ranks()).any(|rank| part(rank).is_empty()) {
            let shares = if self.shares.iter().all(|share| *share == self.shares[0]) {
                String::new()
            } else {
                format!(" that take {:?}", self.shares)
            };
            return Err(Error::Unsupported {
                what: format!("splitting {units} {unit}s of {what} over {} ranks{shares}", self.ranks()),
                remedy: format!(
                    "this model can be split over 1 to {units} ranks, each with one {unit} or more"
                ),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(shares: &[u32], units: usize) -> Vec<Range<usize>> {
        (0..shares.len()).map(|rank| Split::uneven(rank, shares.to_vec()).part(units)).collect()
    }

    #[test]
    fn parts_follow_each_other_and_leave_nothing_out() {
        assert_eq!(parts(&[1, 1], 32), [0..16, 16..32]);
        assert_eq!(parts(&[1, 1, 1], 32), [0..10, 10..21, 21..32]);
        assert_eq!(parts(&[24, 80], 32), [0..7, 7..32]);
        assert_eq!(parts(&[1], 5), std::slice::from_ref(&(0..5)));
    }

    #[test]
    fn a_split_that_leaves_a_rank_without_work_is_refused_with_those_that_can_be() {
        assert!(Split::equal(0, 4).check("the transformer", "head", 4).is_ok());
        let Err(Error::Unsupported { what, remedy }) = Split::equal(0, 5).check("the transformer", "head", 4)
        else {
            panic!("five ranks for four heads");
        };
        assert_eq!(what, "splitting 4 heads of the transformer over 5 ranks");
        assert!(remedy.contains("1 to 4 ranks"));
        assert!(Split::uneven(0, vec![1, 100]).check("the transformer", "head", 4).is_err());
    }
}
