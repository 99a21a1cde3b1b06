//! One connection: frames of bytes, numbered, read with a deadline and written by a thread of their own.
//!
//! Two ranks may send each other more than the system buffers; if both wrote before they read, both would wait for ever.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::super::{Broken, Fault};

/// Frames that wait to be written. A rank is never more than two ahead of another.
const WAITING: usize = 4;
/// A frame is refused beyond this: no activation is as large.
const FRAME_MAX: u64 = 4 << 30;
const HEAD: usize = 16;
/// A write that moves nothing for this long ends the connection; a rank that still loads reads nothing meanwhile.
const STUCK: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Link {
    rank: usize,
    stream: TcpStream,
    /// Frames so far, each way.
    sent: u64,
    taken: u64,
    frames: Option<SyncSender<Vec<u8>>>,
    /// Ends when the stream is shut down.
    writer: Option<JoinHandle<()>>,
}

impl Link {
    pub(super) fn new(rank: usize, stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(STUCK))?;
        let mut out = stream.try_clone()?;
        let (frames, waiting) = sync_channel::<Vec<u8>>(WAITING);
        let writer = std::thread::Builder::new().name(format!("to-rank-{rank}")).spawn(move || {
            for frame in waiting {
                if out.write_all(&frame).is_err() {
                    // Whoever reads from the other side sees the end.
                    let _ = out.shutdown(Shutdown::Both);
                    return;
                }
            }
        })?;
        Ok(Self { rank, stream, sent: 0, taken: 0, frames: Some(frames), writer: Some(writer) })
    }

    pub(super) fn stream(&self) -> Option<TcpStream> {
        self.stream.try_clone().ok()
    }

    /// How the connection ended, if it did: what is still to be read counts as life.
    #[cfg(feature = "nccl")]
    pub(super) fn gone(&self) -> Option<Broken> {
        let lost = |why: &dyn std::fmt::Display| Some(Broken::lost(self.rank, why));
        // The shortest time that the system knows: sockets that do not block would not do so for the writer either.
        if let Err(error) = self.stream.set_read_timeout(Some(Duration::from_micros(1))) {
            return lost(&error);
        }
        match self.stream.peek(&mut [0]) {
            Ok(0) => lost(&"its connection was closed"),
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                lost(&error)
            }
            Ok(_) | Err(_) => None,
        }
    }

    pub(super) fn send(&mut self, part: Vec<u8>, wait: Duration) -> Result<(), Broken> {
        let mut frame = Vec::with_capacity(HEAD + part.len());
        self.sent += 1;
        frame.extend(self.sent.to_le_bytes());
        frame.extend((part.len() as u64).to_le_bytes());
        frame.extend(part);
        let frames = self.frames.as_ref().expect("taken only when it is dropped");
        frames.try_send(frame).map_err(|error| match error {
            TrySendError::Full(_) => Broken { rank: self.rank, fault: Fault::Late(wait) },
            TrySendError::Disconnected(_) => Broken::lost(self.rank, "its connection was closed"),
        })
    }

    /// The next frame.
    pub(super) fn take(&mut self, until: Instant, wait: Duration) -> Result<Vec<u8>, Broken> {
        let mut head = [0; HEAD];
        self.fill(&mut head, until, wait)?;
        let (number, length) = head.split_at(8);
        let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        self.taken += 1;
        let turn = self.taken;
        if number != turn || length > FRAME_MAX {
            let told = format!("its turn {number} with {length} bytes came in turn {turn}");
            return Err(Broken::out_of_step(self.rank, told));
        }
        let mut part = vec![0; length as usize];
        self.fill(&mut part, until, wait)?;
        Ok(part)
    }

    fn fill(&mut self, mut into: &mut [u8], until: Instant, wait: Duration) -> Result<(), Broken> {
        while !into.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Broken { rank: self.rank, fault: Fault::Late(wait) });
            }
            let lost = |error: std::io::Error| Broken::lost(self.rank, error);
            self.stream.set_read_timeout(Some(left)).map_err(lost)?;
            match self.stream.read(into) {
                Ok(0) => return Err(Broken::lost(self.rank, "its connection was closed")),
                Ok(read) => into = &mut into[read..],
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }
}

impl Drop for Link {
    /// What was handed over is written first: it may be the last part of a sum that the other waits for. A gang that broke
    /// was shut down before, and its writers have ended.
    fn drop(&mut self) {
        drop(self.frames.take());
        if std::thread::panicking() {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
