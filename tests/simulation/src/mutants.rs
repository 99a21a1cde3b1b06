//! The planted bugs: in the core's rules, which the core's switches turn on, and in the loop around them, which this
//! model of the loop does wrong on purpose. A simulator that does not catch them is no judge of the real thing.

use croft_core::mutant::{self, Mutant};

use crate::{Options, shares, simulate};

/// A bug in the loop, the store or the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// Commands leave before their batch is durable.
    CommandsBeforeCommit,
    /// The store takes commits of any epoch.
    EpochNotCompared,
    /// A commit that was repeated undoes a newer one when it arrives late.
    LateCommitOverwrites,
    /// A leader whose commit was refused does what it was going to do.
    DeposedGoesOn,
    /// What lies under an attempt's prefix is published, whatever was decided on.
    SidecarNotChecked,
    /// What an attempt left is removed although its publication failed, and will be tried again.
    UnpublishedIsCollected,
}

impl Loop {
    pub const ALL: [Self; 6] = [
        Self::CommandsBeforeCommit,
        Self::EpochNotCompared,
        Self::LateCommitOverwrites,
        Self::DeposedGoesOn,
        Self::SidecarNotChecked,
        Self::UnpublishedIsCollected,
    ];
}

/// One planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    Core(Mutant),
    Loop(Loop),
}

impl Planted {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Mutant::ALL.into_iter().map(Self::Core).chain(Loop::ALL.into_iter().map(Self::Loop))
    }

    pub(crate) fn core(self) -> Option<Mutant> {
        match self {
            Self::Core(mutant) => Some(mutant),
            Self::Loop(_) => None,
        }
    }
}

/// Lives up to `worlds` worlds with a bug planted, and measures the shares of farms in good order: how many worlds it
/// took, and the rule that it broke.
#[must_use]
pub fn is_caught(planted: Planted, worlds: u64) -> (u64, Option<String>) {
    // What broke is enough: no second life for the words.
    let options = |seed| Options { planted: Some(planted), words: 1, ..Options::of(seed) };
    for seed in 0..worlds {
        if let Err(violation) = simulate(&options(seed)) {
            return (seed + 1, Some(violation.what));
        }
    }
    mutant::plant(planted.core());
    let unfair = unfair();
    mutant::plant(None);
    (worlds, unfair)
}

fn unfair() -> Option<String> {
    const SEED: u64 = 1;
    let share = shares::two_to_one(SEED);
    if !(0.95..=1.05).contains(&(share * 1.5)) {
        return Some(format!("a show with 2 of 3 parts of the weight gets {share:.3} of the device time"));
    }
    let charged = shares::flights_charged(SEED);
    if !(0.85..=1.0).contains(&charged) {
        return Some(format!("shots in flight are charged {charged:.3} of the device time there is"));
    }
    let single = shares::single_waits_ms(SEED);
    if single.is_none_or(|ms| ms > shares::SINGLE_WAITS_MS_MAX) {
        return Some(format!("a task among shots in flight waits {single:?} ms"));
    }
    let all = shares::Among::ALL.into_iter().flat_map(|among| shares::Gang::ALL.map(|gang| (among, gang)));
    all.into_iter().find_map(|(among, gang)| {
        let waits = shares::gang_waits_ms(SEED, gang, among);
        let in_time = waits.is_some_and(|ms| ms <= gang.waits_ms_max());
        (!in_time).then(|| format!("a gang that is {gang:?} waits {waits:?} ms among {among:?}"))
    })
}
