//! From a prompt to text states: words to numbers, the text encoder, and a bounded memory of what was encoded last.

use std::sync::Arc;

use tokenizers::{Tokenizer, TruncationParams};

use crate::error::Error;
use crate::files::Files;
use crate::models::text::T5;

const FILE: &str = "tokenizer/tokenizer.json";
/// Prompts that are remembered: takes of one shot share theirs, and all share the negative one.
const REMEMBERED: usize = 32;

/// A tokenizer that pads.
#[derive(Debug)]
pub(crate) struct Words {
    tokenizer: Tokenizer,
    pad: u32,
}

impl Words {
    pub(crate) fn read(files: &Files) -> Result<Self, Error> {
        if !files.has(FILE) && files.has("tokenizer/spiece.model") {
            return Err(Error::Unsupported {
                what: "a tokenizer of spiece.model without tokenizer.json".into(),
                remedy: "make tokenizer.json once with transformers: \
                         AutoTokenizer.from_pretrained('tokenizer').save_pretrained('tokenizer')"
                    .into(),
            });
        }
        let bad = |message: String| Error::Config { file: FILE.into(), key: String::new(), message };
        let mut tokenizer =
            Tokenizer::from_bytes(files.read(FILE)?).map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);
        let pad = tokenizer.token_to_id("<pad>").ok_or_else(|| bad("it has no token `<pad>`".into()))?;
        Ok(Self { tokenizer, pad })
    }

    /// The numbers of `text`, cut to `length` or padded to it, and how many are not padding.
    fn numbers(&mut self, text: &str, length: usize) -> Result<(Vec<u32>, usize), Error> {
        let bad =
            |error: tokenizers::Error| crate::request::bad("prompt", error.to_string(), "use other words");
        let cut = TruncationParams { max_length: length, ..TruncationParams::default() };
        self.tokenizer.with_truncation(Some(cut)).map_err(bad)?;
        let mut numbers = self.tokenizer.encode(text, true).map_err(bad)?.get_ids().to_vec();
        let used = numbers.len().min(length);
        numbers.resize(length, self.pad);
        Ok((numbers, used))
    }
}

/// A text encoder with its tokenizer and its memory.
#[derive(Debug)]
pub(crate) struct Encoder {
    words: Words,
    t5: T5,
    /// The last used at the end.
    remembered: Vec<(Key, Arc<[f32]>)>,
}

#[derive(Debug, PartialEq)]
struct Key {
    text: String,
    length: usize,
}

impl Encoder {
    pub(crate) fn new(words: Words, t5: T5) -> Self {
        Self { words, t5, remembered: Vec::new() }
    }

    /// States of the tokens of `text` that count, `(tokens, width)`.
    ///
    /// The encoder sees the padding, as in diffusers; the transformer must not, so its states are dropped here.
    pub(crate) fn encode(&mut self, text: &str, length: usize) -> Result<Arc<[f32]>, Error> {
        let key = Key { text: text.to_owned(), length };
        if let Some(at) = self.remembered.iter().position(|(k, _)| *k == key) {
            let entry = self.remembered.remove(at);
            let states = Arc::clone(&entry.1);
            self.remembered.push(entry);
            return Ok(states);
        }
        let (numbers, used) = self.words.numbers(text, length)?;
        let mut states = self.t5.encode(&numbers)?;
        states.truncate(states.len() / length * used);
        let states: Arc<[f32]> = states.into();
        if self.remembered.len() == REMEMBERED {
            self.remembered.remove(0);
        }
        self.remembered.push((key, Arc::clone(&states)));
        Ok(states)
    }
}
