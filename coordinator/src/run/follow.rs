//! Following: questions are answered from the store's records, and everything else is the leader's.

use std::time::{Duration, Instant};

use croft_core::{farm::Farm, step::Event};

use super::Loop;
use crate::{
    handle::{Input, Refusal},
    state::Standing,
};

/// A follower looks at the store this often at most.
const EVERY: Duration = Duration::from_secs(1);
/// And spends this part of its time on it at most.
const SHARE: u32 = 10;

/// Lines for the book that a follower keeps until it leads.
const UNBOOKED: usize = 1_000;

/// What a follower saw last.
#[derive(Debug)]
pub(crate) struct Looked {
    at: Instant,
    took: Duration,
    /// `None` before the first look that went well.
    revision: Option<u64>,
}

impl Loop {
    pub(super) fn follow(&mut self, batch: &mut Vec<Input>) {
        if batch.iter().any(|input| matches!(input, Input::Asked { event: None, .. })) {
            self.look_at_store();
        }
        for input in batch.drain(..) {
            match input {
                Input::Asked { event: None, look } => match &self.looked {
                    Some(Looked { revision: Some(_), .. }) => look(Ok(&mut self.desk)),
                    // Nothing is known yet, and an empty answer would be a wrong one.
                    Some(_) | None => look(Err(Refusal::Stalled {
                        why: self
                            .desk
                            .trouble
                            .clone()
                            .unwrap_or_else(|| "the state is not read yet".to_owned()),
                    })),
                },
                Input::Asked { event: Some(_), look } | Input::Happened { look: Some(look), .. } => {
                    let refusal = self.desk.leads().err();
                    look(Err(refusal.unwrap_or(Refusal::NotLeader { leader: None })));
                }
                // Whom a follower sent away is entered once it leads.
                Input::Happened { look: None, event } => {
                    if let Some(Event::Noted(mut entry)) = event(&self.desk.farm)
                        && self.unbooked.len() < UNBOOKED
                    {
                        entry.at = self.desk.clock.now();
                        self.unbooked.push_back(entry);
                    }
                }
                Input::Tick | Input::Stop => {}
            }
        }
    }

    /// Brings the follower's farm up to date, when it is time and something has changed. A store that does not answer
    /// leaves the farm as it was: old answers are better than none, and the status says what is the matter.
    fn look_at_store(&mut self) {
        let began = Instant::now();
        if let Some(looked) = &self.looked
            && looked.at.elapsed() < EVERY.max(looked.took * SHARE)
        {
            return;
        }
        let seen = self.looked.as_ref().and_then(|looked| looked.revision);
        let recovered = self.seat.store.revision().and_then(|revision| {
            let records = if seen == Some(revision) { None } else { Some(self.seat.store.load()?) };
            Ok((revision, records))
        });
        let revision = match recovered {
            Ok((revision, None)) => Some(revision),
            Ok((revision, Some(records))) => {
                let now = self.desk.clock.now();
                match Farm::recover(self.config.clone(), self.desk.clock.seed(), now, &records) {
                    Ok(farm) => {
                        self.desk.farm = farm;
                        self.desk.trouble = None;
                        Some(revision)
                    }
                    Err(error) => {
                        self.desk.trouble = Some(error.to_string());
                        seen
                    }
                }
            }
            Err(error) => {
                self.desk.trouble = Some(error.to_string());
                seen
            }
        };
        debug_assert!(
            matches!(self.desk.standing, Standing::Follower { .. }),
            "leaders know without looking"
        );
        self.looked = Some(Looked { at: Instant::now(), took: began.elapsed(), revision });
    }
}
