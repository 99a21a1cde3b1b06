//! The parts of a model in memory: text encoder, transformer, decoder. Which of them may be there together is a residency's
//! to say; what they do is not known here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::decode::Video;
use super::heap;
use super::networks::{Denoiser, Text};
use crate::error::Error;
use crate::residency::Residency;
use crate::weights::{Reading, Source};

type Build<T> = Box<dyn Fn(&mut Source) -> Result<T, Error> + Send + Sync>;

/// A part that can be built again and again, from files that were opened and checked once.
pub(crate) struct Part<T> {
    source: Source,
    build: Build<T>,
    loaded: Option<Arc<T>>,
}

impl<T> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.loaded.is_some() { "loaded" } else { "in its files" };
        f.debug_struct("Part").field("source", &self.source).field("state", &state).finish()
    }
}

impl<T> Part<T> {
    /// Checks that `build` finds what it needs in `source` and leaves nothing over, and keeps what it builds if it `stays`.
    /// Also gives what `learn` sees of it, which may be built of headers alone.
    pub(super) fn open<F>(
        source: Source,
        stays: bool,
        build: impl Fn(&mut Source) -> Result<T, Error> + Send + Sync + 'static,
        learn: impl FnOnce(&T) -> F,
    ) -> Result<(Self, F), Error> {
        let mut source = source.again(if stays { Reading::All } else { Reading::Headers });
        let built = build(&mut source)?;
        source.finish()?;
        source.release();
        let learnt = learn(&built);
        Ok((Self { source, build: Box::new(build), loaded: stays.then(|| Arc::new(built)) }, learnt))
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Reads it, unless it is there; `spent` grows by what that takes.
    fn load(&mut self, reading: Reading, spent: &mut Duration) -> Result<Arc<T>, Error> {
        if let Some(loaded) = &self.loaded {
            return Ok(Arc::clone(loaded));
        }
        let began = Instant::now();
        let built = Arc::new((self.build)(&mut self.source.again(reading))?);
        // Tensors lie side by side: of each, the edges stay when it lets go of its own pages.
        self.source.release();
        *spent += began.elapsed();
        self.loaded = Some(Arc::clone(&built));
        Ok(built)
    }
}

/// Numbers in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of the text encoder.
    pub text: usize,
    /// Of the transformer's blocks.
    pub blocks: usize,
    /// Of the rest of the transformer.
    pub rest: usize,
    pub decoder: usize,
}

impl Held {
    pub fn all(&self) -> usize {
        self.text + self.blocks + self.rest + self.decoder
    }
}

/// The most numbers that a pipeline has had in memory since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MostHeld {
    /// Of each part, not all at the same time.
    pub each: Held,
    /// Of all parts together.
    pub together: usize,
}

/// The three of them, in the hands of every render: a part that is handed out is let go when it is dropped.
#[derive(Debug)]
pub(crate) struct Parts {
    residency: Residency,
    /// Held while a part is read: whoever wants one as well waits for it here.
    shelf: Mutex<Shelf>,
}

#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) text: Part<Text>,
    pub(super) transformer: Part<Denoiser>,
    pub(super) video: Part<Video>,
    most: MostHeld,
}

/// The part that is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Text,
    Transformer,
    Video,
    Nothing,
}

impl Parts {
    pub(super) fn new(
        residency: Residency,
        text: Part<Text>,
        transformer: Part<Denoiser>,
        video: Part<Video>,
    ) -> Self {
        let shelf = Shelf { text, transformer, video, most: MostHeld::default() };
        Self { residency, shelf: Mutex::new(shelf) }
    }

    pub(super) fn residency(&self) -> Residency {
        self.residency
    }

    /// The text encoder; `spent` grows by what reading it takes.
    ///
    /// # Errors
    /// `OutOfMemory`. Files that lack something were refused when they were opened.
    pub(super) fn text(&self, spent: &mut Duration) -> Result<Arc<Text>, Error> {
        let mut shelf = self.room_for(Wanted::Text);
        let part = shelf.text.load(self.reading(), spent)?;
        shelf.note();
        Ok(part)
    }

    /// # Errors
    /// As `text`.
    pub(super) fn transformer(&self, spent: &mut Duration) -> Result<Arc<Denoiser>, Error> {
        let mut shelf = self.room_for(Wanted::Transformer);
        let part = shelf.transformer.load(self.reading(), spent)?;
        shelf.note();
        Ok(part)
    }

    /// # Errors
    /// As `text`.
    pub(super) fn video(&self, spent: &mut Duration) -> Result<Arc<Video>, Error> {
        let mut shelf = self.room_for(Wanted::Video);
        let part = shelf.video.load(Reading::All, spent)?;
        shelf.note();
        Ok(part)
    }

    /// After a clip was decoded: no clip begins with the decoder.
    pub(super) fn decoded(&self) {
        drop(self.room_for(Wanted::Nothing));
    }

    /// What is in memory.
    pub(super) fn held(&self) -> Held {
        self.shelf().held()
    }

    /// The most that there was so far.
    pub(super) fn most_held(&self) -> MostHeld {
        let mut shelf = self.shelf();
        shelf.note();
        shelf.most
    }

    fn reading(&self) -> Reading {
        match self.residency {
            Residency::Resident | Residency::Sequential => Reading::All,
            Residency::Streamed => Reading::ButBlocks,
        }
    }

    /// Lets go of all but `wanted`, where parts do not stay beside each other.
    fn room_for(&self, wanted: Wanted) -> MutexGuard<'_, Shelf> {
        let mut shelf = self.shelf();
        if self.residency.keeps_all() {
            return shelf;
        }
        // Of blocks that come and go it is only known afterwards how many there were.
        shelf.note();
        let mut went = false;
        if wanted != Wanted::Text {
            went |= shelf.text.loaded.take().is_some();
        }
        if wanted != Wanted::Transformer {
            went |= shelf.transformer.loaded.take().is_some();
        }
        if wanted != Wanted::Video {
            went |= shelf.video.loaded.take().is_some();
        }
        if went {
            heap::give_back();
        }
        shelf
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn held(&self) -> Held {
        let [blocks, rest] = self.transformer.loaded.as_deref().map_or([0; 2], Denoiser::held);
        Held {
            text: self.text.loaded.as_deref().map_or(0, Text::held),
            blocks,
            rest,
            decoder: self.video.loaded.as_ref().map_or(0, |video| video.numbers() as usize),
        }
    }

    fn note(&mut self) {
        let (held, MostHeld { each, together }) = (self.held(), &mut self.most);
        *together = held.all().max(*together);
        *each = Held {
            text: held.text.max(each.text),
            blocks: held.blocks.max(each.blocks),
            rest: held.rest.max(each.rest),
            decoder: held.decoder.max(each.decoder),
        };
    }
}
