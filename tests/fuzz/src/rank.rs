//! The stream between a worker and a rank: bytes are frames or an end, whoever reads them, and a frame that was read is
//! written and read as the same. What is asked of a rank becomes a request or is refused.
//!
//! The first byte says who speaks.

use std::sync::LazyLock;

use croft_engine::card::{Card, card};
use croft_proto::{
    frame::{self, BYTES_MAX, Error},
    v1::{FromRank, ToRank, to_rank::What},
};
use prost::Message;

/// Of the model that is built in.
static CARD: LazyLock<Card> = LazyLock::new(|| card("builtin://shapes").expect("the built-in model"));

pub fn run(input: &[u8]) {
    let Some((kind, stream)) = input.split_first() else { return };
    if kind % 4 == 0 {
        heard::<FromRank>(stream);
        return;
    }
    for message in heard::<ToRank>(stream) {
        if let Some(What::Render(render)) = message.what {
            // Refused or not, it ends.
            let _ = croft_rank::understood(&render, &CARD);
        }
    }
}

fn heard<M: Message + Default>(stream: &[u8]) -> Vec<M> {
    let (mut left, mut whole) = (stream, true);
    let mut messages = Vec::new();
    loop {
        match frame::read::<M>(&mut left) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => break,
            Err(error) => {
                whole = false;
                if let Error::TooLarge { bytes } = error {
                    assert!(bytes > BYTES_MAX);
                }
                break;
            }
        }
    }
    let mut written = Vec::new();
    for message in &messages {
        frame::write(&mut written, message).expect("no larger than it came");
    }
    let mut from = &written[..];
    for message in &messages {
        let again = frame::read::<M>(&mut from).expect("what was written").expect("is read");
        assert_eq!(again.encode_to_vec(), message.encode_to_vec());
    }
    assert!(from.is_empty());
    // Without blocking it is the same.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut left = stream;
        for message in &messages {
            let again = frame::receive::<M>(&mut left).await.expect("what was read").expect("is received");
            assert_eq!(again.encode_to_vec(), message.encode_to_vec());
        }
        assert_eq!(matches!(frame::receive::<M>(&mut left).await, Ok(None)), whole);
    });
    messages
}
