//! The planted bugs: in the core's rules, which the core's switches turn on, and in the loop around them, which this
//! model of the loop does wrong on purpose. A simulator that does not catch them is no judge of the real thing.

use croft_core::mutant::Mutant;

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
