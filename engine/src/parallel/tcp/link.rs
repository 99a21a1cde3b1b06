//! One connection: numbered frames of bytes, sealed and written by a thread of their own, read and opened by another.
//!
//! Two ranks may send each other more than the system buffers; if both wrote before they read, both would wait for ever.
//! And what comes while a rank computes is there when it asks for it.
//!
//! A rank that waits says so twice a second. So whoever says nothing for longer than a step takes either computes too long
//! or is gone, and one that only waits for others, or for its turn on its device, is not blamed.

use std::{
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    super::{Broken, Fault, SIGN},
    sealed::{Inward, Sealed},
};

/// Frames that wait to be written, or to be taken. A rank is never more than a step ahead of another.
const WAITING: usize = 4;
/// A frame is refused beyond this: no activation is as large.
const FRAME_MAX: u64 = 4 << 30;
const HEAD: usize = 16;
/// The number of a frame that only says that its rank waits.
const WAITS: u64 = 0;
/// A write that moves nothing for this long ends the connection; a rank that still loads reads nothing meanwhile.
const STUCK: Duration = Duration::from_secs(120);
/// What the other gets to read to the end what was said to it. A connection that is closed over words that were not read
/// takes back those that are on their way.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Link {
    rank: usize,
    stream: TcpStream,
    /// Frames so far.
    sent: u64,
    out: Option<SyncSender<Vec<u8>>>,
    /// Frames that are not written yet.
    unwritten: Arc<AtomicUsize>,
    came: Receiver<Result<Vec<u8>, Broken>>,
    life: Arc<Mutex<Life>>,
    /// How it ended, as soon as that is seen.
    #[cfg(feature = "nccl")]
    gone: Arc<std::sync::OnceLock<Broken>>,
    /// They end when the stream does.
    writer: Option<JoinHandle<()>>,
    reader: Option<JoinHandle<()>>,
}

/// When the other was heard last.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// Of anything.
    heard: Instant,
    /// That it waits.
    waited: Instant,
}

impl Link {
    pub(super) fn new(rank: usize, sealed: Sealed) -> std::io::Result<Self> {
        let (mut to, from, stream) = sealed.split()?;
        stream.set_write_timeout(Some(STUCK))?;
        let unwritten = Arc::new(AtomicUsize::new(0));
        let (out, waiting) = sync_channel::<Vec<u8>>(WAITING);
        let left = Arc::clone(&unwritten);
        let writer = std::thread::Builder::new().name(format!("to-rank-{rank}")).spawn(move || {
            for frame in waiting {
                if to.write_all(&frame).is_err() {
                    // Whoever reads from the other side sees the end.
                    to.shut_down();
                    return;
                }
                left.fetch_sub(1, Ordering::Relaxed);
            }
            // One that the other has closed already needs no end.
            let _ = to.close();
        })?;
        let now = Instant::now();
        let life = Arc::new(Mutex::new(Life { heard: now, waited: now }));
        let (take, came) = sync_channel(WAITING);
        #[cfg(feature = "nccl")]
        let gone = Arc::<std::sync::OnceLock<Broken>>::default();
        #[cfg(feature = "nccl")]
        let seen = Arc::clone(&gone);
        let mut from = Frames { rank, from, taken: 0, life: Arc::clone(&life) };
        let reader = std::thread::Builder::new().name(format!("from-rank-{rank}")).spawn(move || {
            loop {
                let next = from.next();
                let is_last = next.is_err();
                #[cfg(feature = "nccl")]
                if let Err(broken) = &next {
                    let _ = seen.set(broken.clone());
                }
                // Nobody takes any more, or nothing more comes.
                if take.send(next).is_err() || is_last {
                    return;
                }
            }
        })?;
        let (writer, reader) = (Some(writer), Some(reader));
        Ok(Self {
            rank,
            stream,
            sent: 0,
            out: Some(out),
            unwritten,
            came,
            life,
            #[cfg(feature = "nccl")]
            gone,
            writer,
            reader,
        })
    }

    pub(super) fn stream(&self) -> Option<TcpStream> {
        self.stream.try_clone().ok()
    }

    /// How the connection ended, if it did.
    #[cfg(feature = "nccl")]
    pub(super) fn gone(&self) -> Option<Broken> {
        self.gone.get().cloned()
    }

    pub(super) fn send(&mut self, part: &[u8], wait: Duration) -> Result<(), Broken> {
        self.sent += 1;
        self.put(frame(self.sent, part)).map_err(|error| match error {
            TrySendError::Full(_) => Broken { rank: self.rank, fault: Fault::Late(wait) },
            TrySendError::Disconnected(_) => self.closed(),
        })
    }

    /// Says that this rank waits. Where something is on its way already, that says as much.
    pub(super) fn waits(&self) {
        if self.unwritten.load(Ordering::Relaxed) == 0 {
            let _ = self.put(frame(WAITS, &[]));
        }
    }

    fn put(&self, frame: Vec<u8>) -> Result<(), TrySendError<Vec<u8>>> {
        let Some(out) = &self.out else { return Err(TrySendError::Disconnected(frame)) };
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        out.try_send(frame).inspect_err(|_| {
            self.unwritten.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// The next frame, if it is there.
    pub(super) fn try_take(&mut self) -> Option<Result<Vec<u8>, Broken>> {
        match self.came.try_recv() {
            Ok(frame) => Some(frame),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(self.closed())),
        }
    }

    /// The next frame, unless nothing is heard for `wait`; `waits` is called now and then.
    pub(super) fn take(&mut self, wait: Duration, mut waits: impl FnMut()) -> Result<Vec<u8>, Broken> {
        let began = Instant::now();
        loop {
            let left = wait.saturating_sub(self.life().heard.max(began).elapsed());
            match self.came.recv_timeout(left.min(SIGN)) {
                Ok(frame) => return frame,
                Err(RecvTimeoutError::Disconnected) => return Err(self.closed()),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    return Err(Broken { rank: self.rank, fault: Fault::Late(wait) });
                }
                Err(RecvTimeoutError::Timeout) => waits(),
            }
        }
    }

    /// Until when it is known to have waited itself.
    pub(super) fn waited(&self) -> Instant {
        self.life().waited
    }

    /// Nothing more will be said here: what was, is written, and then the end of it.
    pub(super) fn finish(&mut self) {
        drop(self.out.take());
        if std::thread::panicking() {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    fn life(&self) -> Life {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> Broken {
        Broken::lost(self.rank, "its connection was closed")
    }
}

impl Drop for Link {
    /// What was handed over is written first: it may be the last part of a sum that the other waits for. A gang that broke
    /// was shut down before, and its threads have ended.
    fn drop(&mut self) {
        self.finish();
        let until = Instant::now() + LINGER;
        while let Ok(Ok(_)) = self.came.recv_timeout(until.saturating_duration_since(Instant::now())) {}
        let _ = self.stream.shutdown(Shutdown::Both);
        // A reader that cannot hand on what it has read ends as well.
        self.came = sync_channel(0).1;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn frame(number: u64, part: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + part.len());
    frame.extend(number.to_le_bytes());
    frame.extend((part.len() as u64).to_le_bytes());
    frame.extend(part);
    frame
}

/// What comes over a connection.
struct Frames {
    rank: usize,
    from: Inward,
    taken: u64,
    life: Arc<Mutex<Life>>,
}

impl Frames {
    /// The next one that is not a mere sign of life.
    fn next(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            let mut head = [0; HEAD];
            self.fill(&mut head)?;
            let (number, length) = head.split_at(8);
            let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
            let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
            if (number, length) == (WAITS, 0) {
                self.note(|life, now| life.waited = now);
                continue;
            }
            self.taken += 1;
            let turn = self.taken;
            if number != turn || length > FRAME_MAX {
                let told = format!("its turn {number} with {length} bytes came in turn {turn}");
                return Err(Broken::out_of_step(self.rank, told));
            }
            let mut part = vec![0; length as usize];
            self.fill(&mut part)?;
            return Ok(part);
        }
    }

    fn fill(&mut self, mut into: &mut [u8]) -> Result<(), Broken> {
        while !into.is_empty() {
            match self.from.read(into) {
                Ok(0) => return Err(Broken::lost(self.rank, "its connection was closed")),
                Ok(read) => {
                    into = &mut into[read..];
                    self.note(|_, _| ());
                }
                Err(error) => return Err(Broken::lost(self.rank, error)),
            }
        }
        Ok(())
    }

    fn note(&self, also: impl FnOnce(&mut Life, Instant)) {
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        life.heard = Instant::now();
        let now = life.heard;
        also(&mut life, now);
    }
}
