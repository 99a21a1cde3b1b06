//! Which part of a model is a rank's own.

use std::ops::Range;

use crate::error::Error;

/// One rank's place among those that split a model, and how much each takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
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
        Self { rank, shares }
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

    /// This rank's part of `units`: the parts of all ranks follow each other and leave nothing out.
    pub(crate) fn part(&self, units: usize) -> Range<usize> {
        let total: u64 = self.shares.iter().copied().map(u64::from).sum();
        let upto = |rank: usize| {
            let before: u64 = self.shares[..rank].iter().copied().map(u64::from).sum();
            (units as u64 * before / total.max(1)) as usize
        };
        upto(self.rank)..upto(self.rank + 1)
    }

    /// # Errors
    /// `Unsupported` when a rank would be left without a head.
    pub(crate) fn check(&self, what: &str, heads: usize) -> Result<(), Error> {
        let part = |rank| Self { rank, ..self.clone() }.part(heads);
        if (0..self.ranks()).any(|rank| part(rank).is_empty()) {
            let shares = if self.shares.iter().all(|share| *share == self.shares[0]) {
                String::new()
            } else {
                format!(" that take {:?}", self.shares)
            };
            return Err(Error::Unsupported {
                what: format!("splitting {heads} heads of {what} over {} ranks{shares}", self.ranks()),
                remedy: format!(
                    "this model can be split over 1 to {heads} ranks, each with one head or more"
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
        assert!(Split::equal(0, 4).check("the transformer", 4).is_ok());
        let Err(Error::Unsupported { what, remedy }) = Split::equal(0, 5).check("the transformer", 4) else {
            panic!("five ranks for four heads");
        };
        assert_eq!(what, "splitting 4 heads of the transformer over 5 ranks");
        assert!(remedy.contains("1 to 4 ranks"));
        assert!(Split::uneven(0, vec![1, 100]).check("the transformer", 4).is_err());
    }
}
