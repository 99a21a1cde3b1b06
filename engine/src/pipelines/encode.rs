//! From a prompt to text states: words to numbers, the text encoder, and a bounded memory of what was encoded last.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokenizers::{NormalizerWrapper, Tokenizer, TruncationParams};

use super::spiece;
use crate::error::Error;
use crate::files::Files;
use crate::parallel::Group;

const JSON: &str = "tokenizer/tokenizer.json";
const PIECES: &str = "tokenizer/spiece.model";
/// Prompts that are remembered: takes of one shot share theirs, and all share the negative one.
const REMEMBERED: usize = 32;

/// A tokenizer that pads.
#[derive(Debug)]
pub(crate) struct Words {
    /// The file it was read from.
    pub(super) file: &'static str,
    tokenizer: Tokenizer,
    pad: u32,
}

impl Words {
    pub(crate) fn read(files: &Files) -> Result<Self, Error> {
        let file = if files.has(JSON) || !files.has(PIECES) { JSON } else { PIECES };
        let bad = |message: String| Error::Config { file: file.into(), key: String::new(), message };
        let bytes = files.read(file)?;
        let read = || if file == JSON { Tokenizer::from_bytes(&bytes) } else { spiece::tokenizer(&bytes) };
        let mut tokenizer = guarded(read).map_err(|why| bad(why.in_words()))?;
        if !tokenizer.get_normalizer().is_none_or(is_tame) {
            return Err(bad("its normalizer makes texts too long".into()));
        }
        tokenizer.with_padding(None);
        let pad = tokenizer.token_to_id("<pad>").ok_or_else(|| bad("it has no token `<pad>`".into()))?;
        Ok(Self { file, tokenizer, pad })
    }

    /// The numbers of `text`, cut to `length` or padded to it, and how many are not padding.
    fn numbers(&mut self, text: &str, length: usize) -> Result<(Vec<u32>, usize), Error> {
        let cut = TruncationParams { max_length: length, ..TruncationParams::default() };
        let (tokenizer, file) = (&mut self.tokenizer, self.file);
        let encoded = guarded(|| tokenizer.with_truncation(Some(cut))?.encode(text, true));
        let encoded = encoded.map_err(|why| match why {
            Why::Refused(_) => crate::request::bad("prompt", why.in_words(), "use other words"),
            Why::Panicked => Error::Config { file: file.into(), key: String::new(), message: why.in_words() },
        })?;
        let mut numbers = encoded.get_ids().to_vec();
        let used = numbers.len().min(length);
        numbers.resize(length, self.pad);
        Ok((numbers, used))
    }
}

/// Why a tokenizer did not do what it was asked.
enum Why {
    Refused(tokenizers::Error),
    /// The library takes files at their word.
    Panicked,
}

impl Why {
    fn in_words(&self) -> String {
        match self {
            Self::Refused(error) => error.to_string(),
            Self::Panicked => "the tokenizer contradicts itself".to_owned(),
        }
    }
}

/// Does what a tokenizer's file may make the library panic over: the file comes from outside.
fn guarded<T>(work: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, Why> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Why::Refused),
        Err(_) => Err(Why::Panicked),
    }
}

/// Steps of a normalizer that may make a text longer, and bytes that one writes for what it finds: a few lines that double
/// a text would do so thirty times.
const GROWING_MAX: usize = 4;
const WRITTEN_BYTES_MAX: usize = 4;

/// Whether no text becomes a thousand times as long.
fn is_tame(normalizer: &NormalizerWrapper) -> bool {
    growing(normalizer).is_some_and(|steps| steps <= GROWING_MAX)
}

/// How many of its steps may make a text longer; `None` when one writes too much.
fn growing(normalizer: &NormalizerWrapper) -> Option<usize> {
    use NormalizerWrapper as N;
    match normalizer {
        N::Sequence(steps) => steps.as_ref().iter().map(growing).sum(),
        N::Replace(replace) => (replace.content.len() <= WRITTEN_BYTES_MAX).then_some(1),
        N::Prepend(prepend) => (prepend.prepend.len() <= WRITTEN_BYTES_MAX).then_some(1),
        N::Precompiled(_) | N::ByteLevel(_) | N::BertNormalizer(_) | N::NFD(_) | N::NFKC(_) | N::NFKD(_) => {
            Some(1)
        }
        N::StripNormalizer(_) | N::StripAccents(_) | N::NFC(_) | N::Lowercase(_) | N::Nmt(_) => Some(0),
    }
}

/// The numbers that the tokenizer of a model's folder makes of `text`: what a render begins with, and no more of it.
///
/// # Errors
/// `Missing`, `Io`, `Config`; `BadRequest` for a text that it cannot read.
#[doc(hidden)]
pub fn tokens(files: &Files, text: &str, length: usize) -> Result<Vec<u32>, Error> {
    Ok(Words::read(files)?.numbers(text, length)?.0)
}

/// A tokenizer, and the memory of what the text encoder made of its numbers.
#[derive(Debug)]
pub(crate) struct Encoder {
    words: Mutex<Words>,
    memory: Mutex<Memory>,
}

/// What was encoded last.
#[derive(Debug, Default)]
struct Memory {
    /// The last used at the end.
    entries: Vec<(Key, Arc<[f32]>)>,
}

impl Memory {
    /// What is remembered of `key`, which is thereby the last used.
    fn find(&mut self, key: &Key) -> Option<Arc<[f32]>> {
        let at = self.entries.iter().position(|(k, _)| k == key)?;
        let entry = self.entries.remove(at);
        let states = Arc::clone(&entry.1);
        self.entries.push(entry);
        Some(states)
    }

    fn keep(&mut self, key: Key, states: Arc<[f32]>) {
        self.entries.retain(|(k, _)| *k != key);
        if self.entries.len() == REMEMBERED {
            self.entries.remove(0);
        }
        self.entries.push((key, states));
    }
}

#[derive(Debug, PartialEq)]
struct Key {
    text: String,
    length: usize,
}

impl Encoder {
    pub(crate) fn new(words: Words) -> Self {
        Self { words: Mutex::new(words), memory: Mutex::default() }
    }

    /// States of the tokens of `text` that count, `(tokens, width)`.
    ///
    /// `run` is the text encoder, which is not asked where all ranks remember its answer. It sees the padding, as in
    /// diffusers; the transformer must not, so its states are dropped here.
    pub(crate) fn encode(
        &self,
        text: &str,
        length: usize,
        group: &mut Group,
        run: impl FnOnce(&[u32], &mut Group) -> Result<Vec<f32>, Error>,
    ) -> Result<Arc<[f32]>, Error> {
        let key = Key { text: text.to_owned(), length };
        let known = self.memory().find(&key);
        // Ranks with different pasts remember different prompts; they encode together or not at all.
        let mut knowing = [if known.is_some() { 1.0_f32 } else { 0.0 }];
        group.all_reduce(&mut knowing)?;
        if let Some(states) = known.filter(|_| knowing[0] as usize == group.ranks()) {
            return Ok(states);
        }
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).numbers(text, length);
        let (numbers, used) = words?;
        let mut states = run(&numbers, group)?;
        states.truncate(states.len() / length * used);
        let states: Arc<[f32]> = states.into();
        self.memory().keep(key, Arc::clone(&states));
        Ok(states)
    }

    /// Held for a moment only, and never while other ranks are waited for: other renders look into it as well.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::models::text::{T5, T5Config};
    use crate::parallel::Split;
    use crate::settings::Settings;
    use crate::weights::Source;

    #[derive(Deserialize)]
    struct Encoded {
        text: String,
        ids: Vec<u32>,
    }

    /// A model trained with T5's settings; the numbers are those of transformers' T5Tokenizer.
    #[test]
    fn pieces_give_the_numbers_of_transformers() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/numerics/golden/t5_pieces");
        let mut pieces = Vec::new();
        let packed = std::fs::File::open(golden.join("spiece.model.gz")).unwrap();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut pieces).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tokenizer")).unwrap();
        std::fs::write(folder.path().join(PIECES), pieces).unwrap();
        let mut words = Words::read(&Files::Folder(folder.path().to_owned())).unwrap();
        let encoded: Vec<Encoded> =
            serde_json::from_slice(&std::fs::read(golden.join("ids.json")).unwrap()).unwrap();
        for Encoded { text, ids } in encoded {
            let (numbers, used) = words.numbers(&text, 300).unwrap();
            assert_eq!(numbers[..used], ids, "{text:?}");
            assert!(numbers[used..].iter().all(|&n| n == 0));
            let (cut, used) = words.numbers(&text, 3).unwrap();
            assert_eq!(cut.len(), 3);
            if ids.len() > 3 {
                assert_eq!((&cut[..2], cut[2], used), (&ids[..2], 1, 3), "{text:?} keeps its end when cut");
            }
        }
    }

    /// The golden tokenizer with another normalizer.
    fn with_normalizer(normalizer: serde_json::Value) -> Result<Vec<u32>, Error> {
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/numerics/golden/ltx/pipe").join(JSON);
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
        json["normalizer"] = normalizer;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tokenizer")).unwrap();
        std::fs::write(folder.path().join(JSON), json.to_string()).unwrap();
        tokens(&Files::Folder(folder.path().to_owned()), "a square", 8)
    }

    #[test]
    fn a_file_over_which_the_library_panics_is_refused_as_any_other() {
        assert_eq!(with_normalizer(serde_json::json!({ "type": "NFKC" })).unwrap().len(), 8);
        // No trie at all, and one that leads out of itself.
        for map in [serde_json::json!(null), "".into(), "BAAAAP////8=".into()] {
            let broken = serde_json::json!({ "type": "Precompiled", "precompiled_charsmap": map });
            let error = with_normalizer(broken).unwrap_err();
            assert!(matches!(&error, Error::Config { file, .. } if file == JSON), "{map}: {error}");
        }
    }

    #[test]
    fn a_normalizer_that_doubles_a_text_thirty_times_is_refused_before_it_does() {
        let doubles = serde_json::json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aa" });
        let some = |steps: usize| serde_json::json!({ "type": "Sequence", "normalizers": vec![doubles.clone(); steps] });
        assert!(with_normalizer(some(2)).is_ok());
        let error = with_normalizer(some(31)).unwrap_err().to_string();
        assert!(error.contains("makes texts too long"), "{error}");
    }

    #[test]
    fn what_was_encoded_last_is_remembered_and_no_more_than_that() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/numerics/golden/ltx/pipe");
        let files = Files::Folder(golden);
        let settings = Settings::read(&files, "text_encoder/config.json").unwrap();
        let mut source = Source::open(&files, "text_encoder/model").unwrap();
        let t5 = T5::load(T5Config::read(&settings).unwrap(), &mut source, &Split::whole()).unwrap();
        let encoder = Encoder::new(Words::read(&files).unwrap());
        let mut group = Group::solo();
        let mut encode = |text: &str, length| {
            encoder.encode(text, length, &mut group, |numbers, group| t5.encode(numbers, group)).unwrap()
        };
        let first = encode("0", 8);
        for i in 1..REMEMBERED {
            encode(&i.to_string(), 8);
        }
        assert!(Arc::ptr_eq(&first, &encode("0", 8)), "still there, and now the last used");
        assert!(!Arc::ptr_eq(&first, &encode("0", 9)), "another length is another entry");
        encode("one more", 8);
        assert_eq!(encoder.memory().entries.len(), REMEMBERED);
        assert!(
            encoder.memory().entries.iter().all(|(key, _)| key.text != "1" && key.text != "2"),
            "the oldest went"
        );
        assert!(Arc::ptr_eq(&first, &encode("0", 8)));
    }
}
