//! A render halfway, as a file: what another process needs to go on where this one was.
//!
//! A safetensors file with one tensor, the latents, and in its header what they belong to. The random numbers of a render
//! are a function of its seed, and its noise levels of its steps, so the step is all that must be remembered of them.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::{card::Card, pipelines::Halfway, request::Request};

/// Of the form of the file.
const VERSION: &str = "1";
/// Of the arithmetic: another one would go on to another picture.
const ARITHMETIC: &str = "1";
const TENSOR: &str = "latents";

/// A render after one of its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Whose it is: `identity`.
    pub identity: String,
    /// The attempt that made it.
    pub attempt: u32,
    pub halfway: Halfway,
}

/// Why a file is not gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    #[error("it is no whole checkpoint: {0}")]
    Damaged(String),
    #[error("it is of another render, model or version")]
    OfAnother,
}

/// What makes two renders the same: the model's bytes and every field of the request. A checkpoint of one is one of the
/// other.
pub fn identity(card: &Card, request: &Request) -> String {
    let told = format!("{ARITHMETIC} {} {request:?}", card.digest);
    hex(&Sha256::digest(told))
}

impl Checkpoint {
    /// # Panics
    /// Never: a tensor of this shape is always one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let values: Vec<u8> = self.halfway.latents.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut header = HashMap::from([
            ("version".to_owned(), VERSION.to_owned()),
            ("identity".to_owned(), self.identity.clone()),
            ("attempt".to_owned(), self.attempt.to_string()),
            ("step".to_owned(), self.halfway.step.to_string()),
        ]);
        header.insert("digest".to_owned(), digest(&header, &values));
        let shape = vec![self.halfway.latents.len()];
        let tensor = TensorView::new(Dtype::F32, shape, &values).expect("as many bytes as values");
        safetensors::serialize([(TENSOR, tensor)], Some(header)).expect("one tensor with a header of text")
    }

    /// # Errors
    /// When a byte is not as it was written, or it is not of `identity`.
    pub fn from_bytes(bytes: &[u8], identity: &str) -> Result<Self, Unusable> {
        let damaged = |what: &str| Unusable::Damaged(what.to_owned());
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e.to_string()))?;
        let mut header = metadata.metadata().clone().ok_or_else(|| damaged("it has no header"))?;
        let told = header.remove("digest").ok_or_else(|| damaged("it has no digest"))?;
        let latents = file.tensor(TENSOR).map_err(|e| damaged(&e.to_string()))?;
        if told != digest(&header, latents.data()) {
            return Err(damaged("its digest is another"));
        }
        let field = |name: &str| header.get(name).map_or("", String::as_str);
        if field("version") != VERSION || field("identity") != identity {
            return Err(Unusable::OfAnother);
        }
        let number = |name: &str| field(name).parse().map_err(|_| damaged(&format!("no {name}")));
        let values = latents.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        Ok(Self {
            identity: identity.to_owned(),
            attempt: number("attempt")?,
            halfway: Halfway { step: number("step")?, latents: values.collect() },
        })
    }
}

fn digest(header: &HashMap<String, String>, values: &[u8]) -> String {
    let mut lines: Vec<String> = header.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    lines.sort_unstable();
    hex(&Sha256::new().chain_update(lines.concat()).chain_update(values).finalize())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let halfway = Halfway { step: 12, latents: vec![0.5, -1.25, f32::MIN_POSITIVE, 3e7] };
        Checkpoint { identity: "ab".into(), attempt: 2, halfway }
    }

    #[test]
    fn it_comes_back_as_it_was() {
        let bytes = checkpoint().to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes, "ab"), Ok(checkpoint()));
        assert_eq!(Checkpoint::from_bytes(&bytes, "cd"), Err(Unusable::OfAnother));
    }

    #[test]
    fn no_byte_of_it_may_be_another_and_none_may_be_missing() {
        let bytes = checkpoint().to_bytes();
        for at in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..at], "ab").is_err(), "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            // Spaces that pad the header may be others; nothing is read from them.
            let read = Checkpoint::from_bytes(&flipped, "ab");
            assert!(read.is_err() || read == Ok(checkpoint()), "flipped at {at}");
        }
    }
}
