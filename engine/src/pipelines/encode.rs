//! From a prompt to text states: words to numbers, the text encoder, and a bounded memory of what was encoded last.

use std::sync::Arc;

use tokenizers::{Tokenizer, TruncationParams};

use super::spiece;
use crate::error::Error;
use crate::files::Files;
use crate::models::text::T5;
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
        let read = if file == JSON { Tokenizer::from_bytes(&bytes) } else { spiece::tokenizer(&bytes) };
        let mut tokenizer = read.map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);
        let pad = tokenizer.token_to_id("<pad>").ok_or_else(|| bad("it has no token `<pad>`".into()))?;
        Ok(Self { file, tokenizer, pad })
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
    pub(crate) fn heads(&self) -> usize {
        self.t5.heads()
    }

    pub(crate) fn layers(&self) -> usize {
        self.t5.layers()
    }

    /// Numbers that the text encoder holds.
    pub(crate) fn held(&self) -> usize {
        self.t5.held()
    }

    pub(crate) fn new(words: Words, t5: T5) -> Self {
        Self { words, t5, remembered: Vec::new() }
    }

    /// States of the tokens of `text` that count, `(tokens, width)`.
    ///
    /// The encoder sees the padding, as in diffusers; the transformer must not, so its states are dropped here.
    pub(crate) fn encode(
        &mut self,
        text: &str,
        length: usize,
        group: &mut Group,
    ) -> Result<Arc<[f32]>, Error> {
        let key = Key { text: text.to_owned(), length };
        let at = self.remembered.iter().position(|(k, _)| *k == key);
        // Ranks with different pasts remember different prompts; they encode together or not at all.
        let mut knowing = [if at.is_some() { 1.0_f32 } else { 0.0 }];
        group.all_reduce(&mut knowing)?;
        if let Some(at) = at.filter(|_| knowing[0] as usize == group.ranks()) {
            let entry = self.remembered.remove(at);
            let states = Arc::clone(&entry.1);
            self.remembered.push(entry);
            return Ok(states);
        }
        self.remembered.retain(|(k, _)| *k != key);
        let (numbers, used) = self.words.numbers(text, length)?;
        let mut states = self.t5.encode(&numbers, group)?;
        states.truncate(states.len() / length * used);
        let states: Arc<[f32]> = states.into();
        if self.remembered.len() == REMEMBERED {
            self.remembered.remove(0);
        }
        self.remembered.push((key, Arc::clone(&states)));
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::models::text::T5Config;
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

    #[test]
    fn what_was_encoded_last_is_remembered_and_no_more_than_that() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/numerics/golden/ltx/pipe");
        let files = Files::Folder(golden);
        let settings = Settings::read(&files, "text_encoder/config.json").unwrap();
        let mut source = Source::open(&files, "text_encoder/model").unwrap();
        let t5 = T5::load(T5Config::read(&settings).unwrap(), &mut source, &Split::whole()).unwrap();
        let mut encoder = Encoder::new(Words::read(&files).unwrap(), t5);
        let mut group = Group::solo();
        let mut encode =
            |encoder: &mut Encoder, text: &str, length| encoder.encode(text, length, &mut group).unwrap();
        let first = encode(&mut encoder, "0", 8);
        for i in 1..REMEMBERED {
            encode(&mut encoder, &i.to_string(), 8);
        }
        assert!(Arc::ptr_eq(&first, &encode(&mut encoder, "0", 8)), "still there, and now the last used");
        assert!(!Arc::ptr_eq(&first, &encode(&mut encoder, "0", 9)), "another length is another entry");
        encode(&mut encoder, "one more", 8);
        assert_eq!(encoder.remembered.len(), REMEMBERED);
        assert!(
            encoder.remembered.iter().all(|(key, _)| key.text != "1" && key.text != "2"),
            "the oldest went"
        );
        assert!(Arc::ptr_eq(&first, &encode(&mut encoder, "0", 8)));
    }
}
