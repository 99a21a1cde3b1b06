//! Hands out tensors by name and remembers which: a model must use all of its file and find all it needs in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use safetensors::Dtype;

use super::safetensors::{Entry, Layout, open};
use super::tensor::Tensor;
use crate::error::Error;
use crate::files::Files;

/// How much of the files is read while a model is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    All,
    /// All but the blocks of a network, which come one by one when they are needed.
    ButBlocks,
    /// Names, shapes and lengths: what is built can be dropped and nothing else.
    Headers,
}

/// What a model is built from.
#[derive(Debug)]
pub struct Source {
    layout: Arc<Layout>,
    /// What errors that concern no single file name.
    place: String,
    reading: Reading,
    taken: BTreeSet<String>,
    parameters: u64,
}

impl Source {
    /// The weights `stem.safetensors`, or `stem.safetensors.index.json` and its files, with their data.
    ///
    /// # Errors
    /// `Missing`, `Truncated`, `Io`, or `Config` for an index that cannot be read.
    pub fn open(files: &Files, stem: &str) -> Result<Self, Error> {
        let layout = open(files, stem)?;
        let place = if layout.files.len() == 1 {
            layout.files[0].0.clone()
        } else {
            format!("{stem}.safetensors.index.json")
        };
        Ok(Self {
            layout: Arc::new(layout),
            place,
            reading: Reading::All,
            taken: BTreeSet::new(),
            parameters: 0,
        })
    }

    /// The same weights, of which only names, shapes and lengths are looked at: the tensors it gives are empty, so
    /// what is built from it can be dropped and nothing else.
    ///
    /// # Errors
    /// As `open`.
    pub fn headers(files: &Files, stem: &str) -> Result<Self, Error> {
        Ok(Self { reading: Reading::Headers, ..Self::open(files, stem)? })
    }

    /// A list of names and shapes without data, called `place` in errors.
    pub fn shapes(place: &str, tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let entries: BTreeMap<_, _> = tensors
            .into_iter()
            .map(|(name, shape)| (name, Entry { file: 0, dtype: Dtype::F32, shape, range: 0..0 }))
            .collect();
        let layout = Arc::new(Layout { files: vec![(place.to_owned(), None)], entries });
        let (place, taken) = (place.to_owned(), BTreeSet::new());
        Self { layout, place, reading: Reading::Headers, taken, parameters: 0 }
    }

    /// The same files from the beginning, without opening them again: what they were found to hold cannot have changed
    /// by another file in their place.
    #[must_use]
    pub(crate) fn again(&self, reading: Reading) -> Self {
        let (layout, place) = (Arc::clone(&self.layout), self.place.clone());
        Self { layout, place, reading, taken: BTreeSet::new(), parameters: 0 }
    }

    pub(crate) fn reading(&self) -> Reading {
        self.reading
    }

    /// Takes tensor `name`, which must have exactly `shape`. A tensor may be taken more than once.
    ///
    /// # Errors
    /// `MissingTensor`, `WrongShape`, `WrongDtype`.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let Some(entry) = self.layout.entries.get(name) else {
            return Err(Error::MissingTensor { file: self.place.clone(), tensor: name.to_owned() });
        };
        let (file, bytes) = &self.layout.files[entry.file];
        if entry.shape != shape {
            return Err(Error::WrongShape {
                file: file.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            });
        }
        if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(Error::WrongDtype {
                file: file.clone(),
                tensor: name.to_owned(),
                dtype: format!("{:?}", entry.dtype),
            });
        }
        if self.taken.insert(name.to_owned()) {
            self.parameters += shape.iter().product::<usize>() as u64;
        }
        let bytes = bytes
            .as_ref()
            .filter(|_| self.reading != Reading::Headers)
            .map(|b| (b.clone(), entry.range.clone()));
        Ok(Tensor::new(shape.to_vec(), entry.dtype, bytes))
    }

    /// Builds something whose data is not wanted here: it can be dropped and nothing else.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn without_data<T>(&mut self, build: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let reading = std::mem::replace(&mut self.reading, Reading::Headers);
        let built = build(self);
        self.reading = reading;
        built
    }

    /// Whether there is a tensor of that name; for the few that some releases have and others lack.
    pub fn has(&self, name: &str) -> bool {
        self.layout.entries.contains_key(name)
    }

    /// The names that begin with `prefix`.
    pub fn root(&mut self) -> Scope<'_> {
        Scope { source: self, prefix: String::new() }
    }

    /// Numbers in the tensors taken so far.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// The files, with their folder.
    pub fn file_names(&self) -> impl Iterator<Item = String> + '_ {
        self.layout.files.iter().map(|(name, _)| name.clone())
    }

    /// Lets go of the memory that holds what was read of the files: what is needed of it was copied, or is read again.
    pub(crate) fn release(&self) {
        for bytes in self.layout.files.iter().filter_map(|(_, bytes)| bytes.as_ref()) {
            bytes.release(0..bytes.get().len());
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.layout.files.iter().filter_map(|(_, bytes)| bytes.as_ref()).map(|b| b.get().len() as u64).sum()
    }

    /// Ends the walk.
    ///
    /// # Errors
    /// `Unused` when tensors are left that nobody took.
    pub fn finish(&self) -> Result<(), Error> {
        let left: Vec<String> =
            self.layout.entries.keys().filter(|name| !self.taken.contains(*name)).cloned().collect();
        if left.is_empty() { Ok(()) } else { Err(Error::Unused { file: self.place.clone(), tensors: left }) }
    }
}

/// The tensors whose names begin with one prefix.
#[derive(Debug)]
pub struct Scope<'a> {
    source: &'a mut Source,
    prefix: String,
}

impl Scope<'_> {
    /// The tensors below `name`, a part or several of them joined by dots.
    pub fn at(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        Scope { prefix: format!("{}{name}.", self.prefix), source: self.source }
    }

    /// As `Source::take`, with `name` counted from here.
    ///
    /// # Errors
    /// As `Source::take`.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        self.source.take(&format!("{}{name}", self.prefix), shape)
    }

    /// As `Source::has`, with `name` counted from here.
    pub fn has(&self, name: &str) -> bool {
        self.source.has(&format!("{}{name}", self.prefix))
    }

    /// Takes a tensor that belongs to the file but is not used here: an encoder beside its decoder.
    ///
    /// # Errors
    /// As `Source::take`.
    pub fn skip(&mut self, name: &str, shape: &[usize]) -> Result<(), Error> {
        self.take(name, shape).map(drop)
    }
}
