//! Cards that were made before, as long as nothing in their model's folder has changed. Bounded.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use croft_core::model_card::ModelCard;
use tokio::{sync::Semaphore, task};

use super::{
    Error,
    print::{self, Print},
};

/// Cards remembered.
const CARDS: usize = 64;
/// Models whose bytes are read at once; more would only seek.
const READERS: usize = 2;
/// Requests that may wait for a reader.
const WAITING: usize = 64;

/// The coordinator's registry. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cards: Mutex<Cards>,
    queue: Semaphore,
    readers: Semaphore,
}

#[derive(Debug, Default)]
struct Cards {
    known: BTreeMap<String, Known>,
    uses: u64,
}

#[derive(Debug)]
struct Known {
    print: Option<Print>,
    card: ModelCard,
    used: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self { cards: Mutex::default(), queue: Semaphore::new(WAITING), readers: Semaphore::new(READERS) }
    }
}

impl Registry {
    /// The card of `name`, see [`super::card`].
    pub(crate) async fn card(&self, name: &str) -> Result<ModelCard, Error> {
        let busy = || Error::Busy { name: name.to_owned() };
        let _place = self.0.queue.try_acquire().map_err(|_| busy())?;
        let _reader = self.0.readers.acquire().await.map_err(|_| busy())?;
        let (this, owned) = (self.clone(), name.to_owned());
        task::spawn_blocking(move || this.look(&owned)).await.map_err(|_| busy())?
    }

    fn look(&self, name: &str) -> Result<ModelCard, Error> {
        let print = if name.starts_with('/') { print::of(Path::new(name)) } else { None };
        let may_know = print.is_some() || name.starts_with("builtin://");
        if let Some(card) = self.known(name, print.as_ref()).filter(|_| may_know) {
            return Ok(card);
        }
        let card = super::card(name)?;
        if may_know {
            self.remember(name, print, card.clone());
        }
        Ok(card)
    }

    fn known(&self, name: &str, print: Option<&Print>) -> Option<ModelCard> {
        let mut cards = self.0.cards.lock().unwrap_or_else(PoisonError::into_inner);
        cards.uses += 1;
        let used = cards.uses;
        let known = cards.known.get_mut(name).filter(|known| known.print.as_ref() == print)?;
        known.used = used;
        Some(known.card.clone())
    }

    /// A folder that changed while it was read has another print next time, and is read again.
    fn remember(&self, name: &str, print: Option<Print>, card: ModelCard) {
        let mut cards = self.0.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let used = cards.uses;
        cards.known.insert(name.to_owned(), Known { print, card, used });
        if cards.known.len() > CARDS {
            let oldest = cards.known.iter().min_by_key(|(_, known)| known.used).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                cards.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_folder_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("a.json"), "1").unwrap();
        let registry = Registry::default();
        let print = print::of(folder.path());
        registry.remember(name, print.clone(), super::super::card(super::super::NOOP).unwrap());
        assert!(registry.known(name, print.as_ref()).is_some());
        std::fs::write(folder.path().join("a.json"), "22").unwrap();
        assert_eq!(registry.known(name, print::of(folder.path()).as_ref()), None);
    }

    #[test]
    fn the_card_used_longest_ago_goes_first() {
        let registry = Registry::default();
        let card = super::super::card(super::super::NOOP).unwrap();
        registry.remember("first", None, card.clone());
        for n in 1..CARDS {
            registry.remember(&n.to_string(), None, card.clone());
            assert!(registry.known("first", None).is_some());
        }
        registry.remember("one more", None, card);
        assert!(registry.known("first", None).is_some());
        assert_eq!(registry.0.cards.lock().unwrap().known.len(), CARDS);
    }
}
