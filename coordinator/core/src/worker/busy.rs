//! What a device does: nothing, one attempt, or companions.
//!
//! ```text
//! Free --start--> Alone --ended--> Free
//!   '--start of one that ranks share by layers--> Companions: 1 to `ranks` attempts --the last ended--> Free
//!
//! each attempt there: Runs --asked to stop--> Stops until it says so, or past `until`
//! ```
//!
//! Companions are attempts of one layer of a job, on the same devices in the same order of ranks: with as many shots in
//! flight as ranks share the model each of them has something to do.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ids::{AttemptId, DeviceId, JobId},
    mutant::{self, Mutant},
    time::Time,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Busy {
    Free,
    Alone(Held, Doing),
    Companions(Companions),
}

/// One rank of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    pub(crate) attempt: AttemptId,
    pub(crate) rank: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Runs,
    /// Asked to stop, for it no longer counts; gone when it says so, or past `until`.
    Stops {
        until: Time,
    },
}

/// What companions have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) job: JobId,
    pub(crate) layer: u32,
    /// By rank.
    pub(crate) devices: Arc<[DeviceId]>,
}

impl Lane {
    fn places(&self) -> usize {
        self.devices.len() + usize::from(mutant::on(Mutant::LaneOverfull))
    }
}

/// One to as many attempts as their lane has places; on this device they all have the same rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Companions {
    lane: Lane,
    rank: u32,
    shots: BTreeMap<AttemptId, Doing>,
}

/// An attempt on a device, as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenant<'a> {
    pub(crate) attempt: &'a AttemptId,
    pub(crate) rank: u32,
    pub(crate) doing: Doing,
}

impl Tenant<'_> {
    pub(crate) fn runs(&self) -> bool {
        self.doing == Doing::Runs
    }

    pub(crate) fn held(&self) -> Held {
        Held { attempt: self.attempt.clone(), rank: self.rank }
    }
}

impl Busy {
    /// Every attempt here.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = Tenant<'_>> {
        let (alone, companions) = match self {
            Self::Free => (None, None),
            Self::Alone(held, doing) => {
                (Some(Tenant { attempt: &held.attempt, rank: held.rank, doing: *doing }), None)
            }
            Self::Companions(companions) => (None, Some(companions)),
        };
        let shots = companions.into_iter().flat_map(|Companions { rank, shots, .. }| {
            shots.iter().map(|(attempt, doing)| Tenant { attempt, rank: *rank, doing: *doing })
        });
        alone.into_iter().chain(shots)
    }

    /// Those that were not asked to stop.
    pub(crate) fn running(&self) -> impl Iterator<Item = Tenant<'_>> {
        self.tenants().filter(Tenant::runs)
    }

    /// The lane of which this is the first device.
    pub(crate) fn leads(&self) -> Option<&Lane> {
        match self {
            Self::Companions(Companions { lane, rank: 0, .. }) => Some(lane),
            Self::Free | Self::Alone(..) | Self::Companions(_) => None,
        }
    }

    /// How many more attempts of `lane` may begin here as rank `rank`. None while one is being stopped: its process may
    /// have to be ended with it.
    pub(crate) fn room(&self, lane: &Lane, rank: u32) -> usize {
        match self {
            Self::Free => lane.places(),
            Self::Companions(here)
                if here.lane == *lane
                    && here.rank == rank
                    && here.shots.values().all(|doing| *doing == Doing::Runs) =>
            {
                lane.places().saturating_sub(here.shots.len())
            }
            Self::Alone(..) | Self::Companions(_) => 0,
        }
    }

    /// A rank begins here: alone, or as one of a lane. Whether there was room for it.
    #[must_use]
    pub(crate) fn begin(&mut self, held: Held, lane: Option<Lane>) -> bool {
        let Held { attempt, rank } = held;
        match (&mut *self, lane) {
            (Self::Free, None) => *self = Self::Alone(Held { attempt, rank }, Doing::Runs),
            (Self::Free, Some(lane)) => {
                let shots = BTreeMap::from([(attempt, Doing::Runs)]);
                *self = Self::Companions(Companions { lane, rank, shots });
            }
            (Self::Companions(here), Some(lane))
                if here.lane == lane && here.rank == rank && here.shots.len() < lane.places()
                    || mutant::on(Mutant::LaneOfAnother) =>
            {
                here.shots.insert(attempt, Doing::Runs);
            }
            (Self::Alone(..) | Self::Companions(_), _) => return false,
        }
        true
    }

    /// A running rank is asked to stop. Whether it runs here.
    pub(crate) fn stop(&mut self, attempt: &AttemptId, at_rank: u32, until: Time) -> bool {
        let doing = match self {
            Self::Alone(held, doing) if held.attempt == *attempt && held.rank == at_rank => Some(doing),
            Self::Companions(Companions { rank, shots, .. }) if *rank == at_rank => shots.get_mut(attempt),
            Self::Free | Self::Alone(..) | Self::Companions(_) => None,
        };
        let running = doing.filter(|doing| **doing == Doing::Runs);
        running.map(|doing| *doing = Doing::Stops { until }).is_some()
    }

    pub(crate) fn holds(&self, attempt: &AttemptId, rank: u32) -> bool {
        self.tenants().any(|tenant| {
            (tenant.attempt, tenant.rank) == (attempt, rank)
                || mutant::on(Mutant::EchoFreesDevice) && tenant.runs()
        })
    }

    /// A rank that was here has ended.
    pub(crate) fn end(&mut self, attempt: &AttemptId, rank: u32) {
        self.keep(|tenant| {
            (tenant.attempt, tenant.rank) != (attempt, rank) && !mutant::on(Mutant::EchoFreesDevice)
        });
    }

    /// Ends all ranks but those that `stay`, and gives them with what they did.
    pub(crate) fn keep(&mut self, stay: impl Fn(Tenant<'_>) -> bool) -> Vec<(Held, Doing)> {
        let gone: Vec<(Held, Doing)> =
            self.tenants().filter(|tenant| !stay(*tenant)).map(|t| (t.held(), t.doing)).collect();
        match self {
            Self::Companions(Companions { shots, .. }) => {
                shots.retain(|attempt, _| !gone.iter().any(|(held, _)| held.attempt == *attempt));
                if shots.is_empty() {
                    *self = Self::Free;
                }
            }
            Self::Alone(..) if !gone.is_empty() => *self = Self::Free,
            Self::Free | Self::Alone(..) => {}
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Fence, TaskId, WorkerId};

    fn attempt(task: u32) -> AttemptId {
        let job = JobId::new("shots").expect("a name");
        AttemptId { task: TaskId { job, layer: 0, task }, number: 1, fence: Fence(u64::from(task) + 1) }
    }

    fn lane(layer: u32) -> Lane {
        let device = |index| DeviceId { worker: WorkerId::new("ws").expect("a name"), index };
        Lane { job: JobId::new("shots").expect("a name"), layer, devices: (0..2).map(device).collect() }
    }

    fn rank_0(task: u32) -> Held {
        Held { attempt: attempt(task), rank: 0 }
    }

    #[test]
    fn companions_are_of_one_lane_and_no_more_than_its_ranks() {
        let mut busy = Busy::Free;
        assert!(busy.begin(rank_0(0), Some(lane(0))));
        assert!(!busy.begin(rank_0(1), None), "one that wants the device for itself");
        assert!(!busy.begin(rank_0(1), Some(lane(1))), "one of another layer");
        assert!(!busy.begin(Held { rank: 1, ..rank_0(1) }, Some(lane(0))), "another rank");
        assert_eq!(busy.room(&lane(0), 0), 1);
        assert!(busy.begin(rank_0(1), Some(lane(0))));
        assert!(!busy.begin(rank_0(2), Some(lane(0))), "a third beside two");
        busy.end(&attempt(0), 0);
        assert_eq!(busy.room(&lane(0), 0), 1);
        busy.end(&attempt(1), 0);
        assert_eq!(busy, Busy::Free);
    }

    #[test]
    fn nobody_joins_one_that_is_being_stopped() {
        let mut busy = Busy::Free;
        assert!(busy.begin(rank_0(0), Some(lane(0))));
        assert!(busy.stop(&attempt(0), 0, Time(5)) && !busy.stop(&attempt(0), 0, Time(9)));
        assert_eq!((busy.room(&lane(0), 0), busy.running().count()), (0, 0));
        let gone = busy.keep(|_| false);
        assert_eq!(gone, [(rank_0(0), Doing::Stops { until: Time(5) })]);
        assert_eq!(busy, Busy::Free);
    }
}
