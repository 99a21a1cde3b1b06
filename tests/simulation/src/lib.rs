//! The farm in a world of chance. A seed gives a world: coordinators with the real core and a model of the loop around
//! it, workers, a network, a state store, an object store, people; and everything that can go wrong with them. Checkers
//! watch every step; a violation names the seed that shows it again.
//!
//! Nothing here reads a clock or draws a number from elsewhere: the same seed gives the same history on any machine.

mod agenda;
mod catalogue;
mod chance;
mod checks;
mod diary;
mod faults;
pub mod hall;
mod ledger;
mod mutants;
mod node;
mod objects;
mod people;
mod publication;
mod report;
pub mod scale;
pub mod shares;
mod store;
mod weather;
mod wires;
mod worker;
mod world;

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use croft_core::mutant;
pub use diary::Tally;
pub use mutants::{Loop, Planted, is_caught};
pub use report::{Report, simulate_all};

use crate::{catalogue::Catalogue, world::World};

/// Events told with a violation.
pub const WORDS: usize = 40;

/// Which world, and how closely it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    pub planted: Option<Planted>,
    /// Whole farms are looked at after every so many batches.
    pub look_every: u64,
    /// How many of the last events are kept in words; with 0 a world that breaks a rule is lived a second time, with
    /// [`WORDS`].
    pub words: usize,
}

impl Options {
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self { seed, planted: None, look_every: 12, words: 0 }
    }
}

/// A rule that was broken, and all that it takes to see it again.
#[derive(Debug, Clone)]
pub struct Violation {
    pub seed: u64,
    pub what: String,
    /// Which event of the world it was.
    pub step: u64,
    pub at_ms: u64,
    /// The last events in words, oldest first.
    pub diary: Vec<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.diary {
            writeln!(f, "{line}")?;
        }
        let (seed, step) = (self.seed, self.step);
        let seconds = self.at_ms as f64 / 1e3;
        writeln!(f, "seed {seed}, event {step}, after {seconds:.3} simulated seconds: {}", self.what)?;
        write!(f, "again: cargo run --release -p croft-simulation -- --seed {seed}")
    }
}

/// Lives one world to its end.
///
/// # Errors
/// The first rule that was broken. The world is lived a second time for the words.
pub fn simulate(options: &Options) -> Result<Tally, Box<Violation>> {
    match live(options) {
        Err(violation) if options.words == 0 => {
            let told = live(&Options { words: WORDS, ..*options });
            Err(told.err().unwrap_or(violation))
        }
        lived => lived,
    }
}

thread_local! {
    /// What the core's last assertion said on this thread, when a world runs on it.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn live(options: &Options) -> Result<Tally, Box<Violation>> {
    listen_to_panics();
    mutant::plant(options.planted.and_then(Planted::core));
    let mut world = World::new(options, Catalogue::shared());
    PANICKED.set(Some(String::new()));
    let lived = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let said = PANICKED.take();
    mutant::plant(None);
    if lived.is_err() {
        world.accuse(format!("the core's own assertion failed: {}", said.unwrap_or_default()));
    }
    match world.violation.take() {
        None => Ok(world.tally),
        Some(what) => Err(Box::new(Violation {
            seed: options.seed,
            what,
            step: world.tally.events,
            at_ms: world.now,
            diary: world.diary.lines(),
        })),
    }
}

/// An assertion inside a world is a violation, to be told with its history and not on standard error.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let inside =
                PANICKED.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()).is_some());
            if !inside {
                usual(info);
            }
        }));
    });
}
