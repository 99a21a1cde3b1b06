//! What a seed's world is like: how many machines, which kinds of trouble, how often. Each world has only some of the
//! kinds, so that rare ones are not always drowned by common ones.

use crate::{chance::Chance, faults::Kind};

#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) nodes: usize,
    pub(crate) workers: usize,
    pub(crate) jobs: usize,
    /// How long things break.
    pub(crate) trouble_ms: u64,
    /// Pauses between two strikes.
    pub(crate) strike_ms: (u64, u64),
    /// Pauses between two ideas of people.
    pub(crate) people_ms: (u64, u64),
    pub(crate) kinds: Vec<Kind>,
    /// Of 1,000 attempts, how many fail by themselves, and how many hang.
    pub(crate) fail: u64,
    pub(crate) hang: u64,
    /// Two devices make different bytes of one task.
    pub(crate) frames_differ: bool,
    pub(crate) step_ms: (u64, u64),
}

impl Weather {
    pub(crate) fn of(chance: &mut Chance) -> Self {
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|_| chance.per_mille(450)).collect();
        let pause = chance.between(250, 4_000);
        Self {
            nodes: 1 + chance.below(3),
            workers: 2 + chance.below(5),
            jobs: 3 + chance.below(8),
            trouble_ms: chance.between(20_000, 120_000),
            strike_ms: (pause / 4, pause * 2),
            people_ms: (200, chance.between(1_000, 8_000)),
            kinds,
            fail: match chance.below(4) {
                0 => 0,
                1 => chance.between(10, 50),
                2 => chance.between(50, 200),
                _ => chance.between(200, 500),
            },
            hang: if chance.per_mille(400) { chance.between(5, 40) } else { 0 },
            frames_differ: chance.per_mille(100),
            step_ms: (40, chance.between(200, 1_800)),
        }
    }
}
