//! The parts of a model in memory: text encoder, transformer, decoder. Which of them may be there together is a residency's
//! to say; what they do is not known here.

use std::fmt;
use std::time::{Duration, Instant};

use super::decode::Video;
use super::heap;
use crate::error::Error;
use crate::models::text::T5;
use crate::models::transformers::ltx::Transformer;
use crate::residency::Residency;
use crate::weights::{Reading, Source};

type Build<T> = Box<dyn Fn(&mut Source) -> Result<T, Error> + Send + Sync>;

/// A part that can be built again and again, from files that were opened and checked once.
pub(crate) struct Part<T> {
    source: Source,
    build: Build<T>,
    loaded: Option<T>,
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
        let learnt = learn(&built);
        Ok((Self { source, build: Box::new(build), loaded: stays.then_some(built) }, learnt))
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Reads it, unless it is there; says how long that took.
    fn load(&mut self, reading: Reading) -> Result<Duration, Error> {
        if self.loaded.is_some() {
            return Ok(Duration::ZERO);
        }
        let began = Instant::now();
        self.loaded = Some((self.build)(&mut self.source.again(reading))?);
        Ok(began.elapsed())
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

/// The three of them.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(super) residency: Residency,
    pub(super) text: Part<T5>,
    pub(super) transformer: Part<Transformer>,
    pub(super) video: Part<Video>,
    pub(super) most: MostHeld,
    /// How long parts were read since it was last asked.
    pub(super) loading: Duration,
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
    /// The text encoder.
    ///
    /// # Errors
    /// `OutOfMemory`. Files that lack something were refused when they were opened.
    pub(super) fn text(&mut self) -> Result<&T5, Error> {
        self.make_room(Wanted::Text);
        self.loading += self.text.load(self.reading())?;
        self.note();
        Ok(self.text.loaded.as_ref().expect("it was just loaded"))
    }

    /// # Errors
    /// As `text`.
    pub(super) fn transformer(&mut self) -> Result<&Transformer, Error> {
        self.make_room(Wanted::Transformer);
        self.loading += self.transformer.load(self.reading())?;
        self.note();
        Ok(self.transformer.loaded.as_ref().expect("it was just loaded"))
    }

    /// # Errors
    /// As `text`.
    pub(super) fn video(&mut self) -> Result<&Video, Error> {
        self.make_room(Wanted::Video);
        self.loading += self.video.load(Reading::All)?;
        self.note();
        Ok(self.video.loaded.as_ref().expect("it was just loaded"))
    }

    /// After a clip was decoded: no clip begins with the decoder.
    pub(super) fn decoded(&mut self) {
        self.make_room(Wanted::Nothing);
    }

    /// What is in memory.
    pub(super) fn held(&self) -> Held {
        let [blocks, rest] = self.transformer.loaded.as_ref().map_or([0; 2], Transformer::held);
        Held {
            text: self.text.loaded.as_ref().map_or(0, T5::held),
            blocks,
            rest,
            decoder: self.video.loaded.as_ref().map_or(0, |video| video.numbers() as usize),
        }
    }

    /// The most that there was so far.
    pub(super) fn most_held(&mut self) -> MostHeld {
        self.note();
        self.most
    }

    fn reading(&self) -> Reading {
        match self.residency {
            Residency::Resident | Residency::Sequential => Reading::All,
            Residency::Streamed => Reading::ButBlocks,
        }
    }

    /// Lets go of all but `wanted`, where parts do not stay beside each other.
    fn make_room(&mut self, wanted: Wanted) {
        if self.residency.keeps_all() {
            return;
        }
        // Of blocks that come and go it is only known afterwards how many there were.
        self.note();
        let mut went = false;
        if wanted != Wanted::Text {
            went |= self.text.loaded.take().is_some();
        }
        if wanted != Wanted::Transformer {
            went |= self.transformer.loaded.take().is_some();
        }
        if wanted != Wanted::Video {
            went |= self.video.loaded.take().is_some();
        }
        if went {
            heap::give_back();
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
