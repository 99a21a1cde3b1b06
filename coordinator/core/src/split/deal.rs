//! How much of a model each rank of a gang takes, and how long its parts stay in memory: a pure function of the devices.
//!
//! The fastest residency with which all ranks fit; of the deals that allow it the equal one, which gives the same bytes on
//! whatever devices, and else heads in proportion to memory.

use super::{Kind, Mode, Need, Part, Residency, Shape, Shot};

/// A device as far as a rank must fit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room {
    pub kind: Kind,
    /// 0 for a device that does not say, which is trusted.
    pub memory_bytes: u64,
}

/// What the ranks of a gang are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deal {
    pub residency: Residency,
    /// By rank; all alike unless heads are dealt by memory.
    pub shares: Vec<u32>,
}

impl Room {
    fn holds(&self, need: &Need) -> bool {
        self.memory_bytes == 0 || need.total() <= self.memory_bytes
    }
}

impl Shape {
    /// The leanest change that fits ranks by `mode` on `rooms`, rank 0 on the first; `None` where nothing does, and for
    /// devices of several kinds, whose numbers are not of one width.
    #[must_use]
    pub fn deal(&self, shot: &Shot, mode: Mode, rooms: &[Room]) -> Option<Deal> {
        if rooms.iter().any(|room| room.kind != rooms[0].kind) {
            return None;
        }
        let equal = vec![1; rooms.len()];
        Residency::ALL.into_iter().find_map(|residency| {
            let fit = |shares: &[u32]| self.fits(shot, mode, shares, residency, rooms, 1);
            if fit(&equal) {
                return Some(Deal { residency, shares: equal.clone() });
            }
            let shares = self.by_memory(shot, mode, residency, rooms)?;
            fit(&shares).then_some(Deal { residency, shares })
        })
    }

    /// Whether `rooms` hold as many clips in flight as they are ranks, beside all of the model that is theirs.
    #[must_use]
    pub fn flies(&self, shot: &Shot, mode: Mode, rooms: &[Room]) -> bool {
        let clips = rooms.len() as u32;
        self.fits(shot, mode, &vec![1; rooms.len()], Residency::Resident, rooms, clips)
    }

    fn fits(
        &self,
        shot: &Shot,
        mode: Mode,
        shares: &[u32],
        residency: Residency,
        rooms: &[Room],
        clips: u32,
    ) -> bool {
        self.gives_each_some(mode, shares)
            && rooms.iter().enumerate().all(|(rank, room)| {
                room.holds(&self.need(shot, &Part { mode, rank, shares, clips }, residency, room.kind))
            })
    }

    /// Heads by memory, each rank one at least; what one device cannot hold is the next one's.
    fn by_memory(&self, shot: &Shot, mode: Mode, residency: Residency, rooms: &[Room]) -> Option<Vec<u32>> {
        let memory = |rank: usize| rooms[rank].memory_bytes;
        let is_uneven = rooms.iter().any(|room| room.memory_bytes != memory(0));
        let is_told = rooms.iter().all(|room| room.memory_bytes > 0);
        if mode != Mode::Tensor || !is_uneven || !is_told || rooms.len() > self.heads as usize {
            return None;
        }
        // The most that each device holds, whatever the others have.
        let holds = |rank: usize, heads: u32| {
            let mut shares = vec![0; rooms.len()];
            shares[rank] = heads;
            // The rest lies with another rank, so that the shares are of all heads.
            shares[usize::from(rank == 0)] += self.heads - heads;
            let part = Part { mode, rank, shares: &shares, clips: 1 };
            rooms[rank].holds(&self.need(shot, &part, residency, rooms[rank].kind))
        };
        let most: Vec<u32> = (0..rooms.len())
            .map(|rank| (1..=self.heads).take_while(|heads| holds(rank, *heads)).last().unwrap_or(0))
            .collect();
        let mut shares =
            in_proportion(self.heads, &rooms.iter().map(|room| room.memory_bytes).collect::<Vec<_>>());
        shares.iter_mut().zip(&most).for_each(|(share, most)| *share = (*share).min(*most));
        while shares.iter().sum::<u32>() < self.heads {
            let room_left = |rank: &usize| (most[*rank] - shares[*rank], std::cmp::Reverse(*rank));
            let rank = (0..rooms.len()).max_by_key(room_left).filter(|rank| most[*rank] > shares[*rank])?;
            shares[rank] += 1;
        }
        shares.iter().all(|share| *share > 0).then_some(shares)
    }
}

/// `units` by weight, by largest remainder, each one at least where there are enough.
fn in_proportion(units: u32, weights: &[u64]) -> Vec<u32> {
    let total: u128 = weights.iter().copied().map(u128::from).sum::<u128>().max(1);
    let exact = |weight: u64| u128::from(units) * u128::from(weight);
    let mut shares: Vec<u32> = weights.iter().map(|weight| (exact(*weight) / total) as u32).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|rank| (std::cmp::Reverse(exact(weights[*rank]) % total), *rank));
    let left = units - shares.iter().sum::<u32>();
    by_remainder.into_iter().take(left as usize).for_each(|rank| shares[rank] += 1);
    while let Some(empty) = shares.iter().position(|share| *share == 0) {
        let Some(largest) =
            (0..shares.len()).max_by_key(|rank| shares[*rank]).filter(|rank| shares[*rank] > 1)
        else {
            break;
        };
        shares[largest] -= 1;
        shares[empty] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{large, shot},
        *,
    };

    const GIB: u64 = 1 << 30;

    fn rooms(gib: &[u64]) -> Vec<Room> {
        gib.iter().map(|gib| Room { kind: Kind::Gpu, memory_bytes: gib * GIB }).collect()
    }

    #[test]
    fn heads_are_dealt_by_largest_remainder_and_nobody_goes_without() {
        assert_eq!(in_proportion(3, &[3, 1]), [2, 1]);
        assert_eq!(in_proportion(32, &[48, 24, 24]), [16, 8, 8]);
        assert_eq!(in_proportion(4, &[100, 1, 1]), [2, 1, 1]);
        assert_eq!(in_proportion(5, &[1, 1]), [3, 2]);
    }

    #[test]
    fn the_leanest_change_that_fits_is_taken() {
        let residency = |gib| large().deal(&shot(), Mode::Tensor, &rooms(&[gib])).map(|deal| deal.residency);
        assert_eq!(residency(80), Some(Residency::Resident));
        assert_eq!(residency(32), Some(Residency::Sequential));
        assert_eq!(residency(24), Some(Residency::Streamed));
        assert_eq!(residency(2), None);
        let untold = large().deal(&shot(), Mode::Tensor, &rooms(&[0])).expect("trusted");
        assert_eq!(untold.residency, Residency::Resident);
    }

    #[test]
    fn unequal_devices_share_the_heads_by_memory_and_equal_ones_equally() {
        let deal = |gib: &[u64]| large().deal(&shot(), Mode::Tensor, &rooms(gib)).expect("it fits");
        assert_eq!(deal(&[24, 24]).shares, [1, 1]);
        assert_eq!(deal(&[80, 48]).shares, [1, 1], "where equal parts fit, they are the same bytes anywhere");
        let uneven = deal(&[36, 12]);
        assert_eq!((uneven.residency, uneven.shares), (Residency::Resident, vec![24, 8]));
        assert_eq!(
            large().deal(&shot(), Mode::Layers, &rooms(&[36, 12])).map(|deal| deal.shares),
            Some(vec![1, 1])
        );
    }

    #[test]
    fn a_gang_is_of_one_kind_and_weights_are_as_wide_as_its_numbers() {
        let room = |kind| Room { kind, memory_bytes: 200 * GIB };
        let deal = |rooms: &[Room]| large().deal(&shot(), Mode::Layers, rooms);
        assert!(deal(&[room(Kind::Gpu), room(Kind::Gpu)]).is_some());
        assert_eq!(deal(&[room(Kind::Gpu), room(Kind::Cpu)]), None);
        let weights = |kind| large().need(&shot(), &Part::WHOLE, Residency::Resident, kind).denoise.weights;
        assert_eq!(weights(Kind::Cpu), 2 * weights(Kind::Gpu));
        assert_eq!(Kind::of("cuda"), Kind::Gpu);
    }

    #[test]
    fn every_rank_of_a_deal_fits_its_device() {
        for first in [6, 10, 14, 20, 40] {
            for second in [4, 8, 12, 20] {
                let rooms = rooms(&[first, second]);
                let Some(deal) = large().deal(&shot(), Mode::Tensor, &rooms) else { continue };
                for (rank, room) in rooms.iter().enumerate() {
                    let part = Part { mode: Mode::Tensor, rank, shares: &deal.shares, clips: 1 };
                    let need = large().need(&shot(), &part, deal.residency, room.kind);
                    assert!(need.total() <= room.memory_bytes, "{first} and {second}: {deal:?}");
                }
            }
        }
    }
}
