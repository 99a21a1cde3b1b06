//! Messages over a byte stream: four bytes of length, little-endian, then the message. Blocking for a rank,
//! asynchronous for its worker. Nothing larger than [`BYTES_MAX`] is sent or taken.

use std::io::{self, Read, Write};

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest message, bytes: a prompt of the largest size fits, frames of a clip do not travel here.
pub const BYTES_MAX: usize = 4 << 20;

const LENGTH_BYTES: usize = 4;

/// Why a stream is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("a message of {bytes} bytes; {BYTES_MAX} are taken at most")]
    TooLarge { bytes: usize },
    #[error("a message that cannot be read: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
}

/// Writes one message.
pub fn write(to: &mut impl Write, message: &impl Message) -> Result<(), Error> {
    Ok(to.write_all(&frame(message)?)?)
}

/// Reads one message; `None` when the stream ended between two.
pub fn read<M: Message + Default>(from: &mut impl Read) -> Result<Option<M>, Error> {
    let mut length = [0; LENGTH_BYTES];
    match from.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut length[1..])?,
    }
    let mut bytes = vec![0; checked(length)?];
    from.read_exact(&mut bytes)?;
    Ok(Some(M::decode(&*bytes)?))
}

/// Writes one message without blocking the thread.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> Result<(), Error> {
    Ok(to.write_all(&frame(message)?).await?)
}

/// Reads one message without blocking the thread; `None` when the stream ended between two.
///
/// Dropped half-way it loses what it has read: give it a task of its own.
pub async fn receive<M: Message + Default>(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<M>, Error> {
    let mut length = [0; LENGTH_BYTES];
    match from.read(&mut length[..1]).await? {
        0 => return Ok(None),
        _ => from.read_exact(&mut length[1..]).await?,
    };
    let mut bytes = vec![0; checked(length)?];
    from.read_exact(&mut bytes).await?;
    Ok(Some(M::decode(&*bytes)?))
}

fn frame(message: &impl Message) -> Result<Vec<u8>, Error> {
    let bytes = message.encoded_len();
    if bytes > BYTES_MAX {
        return Err(Error::TooLarge { bytes });
    }
    let length = u32::try_from(bytes).expect("the bound is far below");
    let mut frame = Vec::with_capacity(LENGTH_BYTES + bytes);
    frame.extend(length.to_le_bytes());
    frame.extend(message.encode_to_vec());
    Ok(frame)
}

fn checked(length: [u8; LENGTH_BYTES]) -> Result<usize, Error> {
    let bytes = u32::from_le_bytes(length) as usize;
    if bytes > BYTES_MAX { Err(Error::TooLarge { bytes }) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{FromRank, RankReady, from_rank};

    fn ready() -> FromRank {
        let ready = RankReady { protocol: 1, engine_version: "0.1.0".to_owned() };
        FromRank { what: Some(from_rank::What::Ready(ready)) }
    }

    #[test]
    fn what_is_written_is_read_and_the_end_is_an_end() {
        let mut stream = Vec::new();
        write(&mut stream, &ready()).expect("small");
        write(&mut stream, &FromRank::default()).expect("empty is a message as well");
        let mut from = &stream[..];
        assert_eq!(read::<FromRank>(&mut from).expect("whole"), Some(ready()));
        assert_eq!(read::<FromRank>(&mut from).expect("whole"), Some(FromRank::default()));
        assert_eq!(read::<FromRank>(&mut from).expect("the end"), None);
    }

    #[test]
    fn a_stream_cut_in_a_message_is_broken() {
        let mut stream = Vec::new();
        write(&mut stream, &ready()).expect("small");
        for cut in [2, stream.len() - 1] {
            assert!(matches!(read::<FromRank>(&mut &stream[..cut]), Err(Error::Io(_))), "{cut}");
        }
    }

    #[test]
    fn a_length_beyond_the_bound_takes_no_memory() {
        let stream = u32::MAX.to_le_bytes();
        assert!(matches!(read::<FromRank>(&mut &stream[..]), Err(Error::TooLarge { .. })));
        let large = RankReady { protocol: 1, engine_version: "x".repeat(BYTES_MAX) };
        assert!(matches!(write(&mut Vec::new(), &large), Err(Error::TooLarge { .. })));
    }

    #[tokio::test]
    async fn both_sides_speak_the_same() {
        let (mut near, mut far) = tokio::io::duplex(64);
        send(&mut near, &ready()).await.expect("small");
        drop(near);
        assert_eq!(receive::<FromRank>(&mut far).await.expect("whole"), Some(ready()));
        assert_eq!(receive::<FromRank>(&mut far).await.expect("the end"), None);
    }
}
