//! A connection by TLS 1.3 between two that have the gang's key, for one thread that writes and one that reads.
//!
//! rustls has one state for both directions, so the two share it, and hold it only while they seal or open what is in memory:
//! neither ever waits for the socket with it, or two ranks that write to each other would wait for ever. Only the writer
//! takes out what is to be sent, so that records leave in the order in which they were sealed; what the reader has to answer
//! (new traffic keys) goes with the next that is written. rustls changes the keys by itself before they are worn out, after
//! 2^24 records.

use std::{
    io::{Error, ErrorKind, Read, Result, Write},
    net::TcpStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustls::{ClientConnection, Connection, ServerConnection, pki_types::ServerName};

use super::trust::Trust;

/// Sealed at once: four whole records. What is held for longer keeps the other thread from its half.
const SEALED_AT_ONCE: usize = 64 << 10;
/// Read at once.
const READ_AT_ONCE: usize = 128 << 10;

/// Before it is split.
#[derive(Debug)]
pub(super) struct Sealed {
    stream: TcpStream,
    tls: Connection,
}

impl Sealed {
    /// Shows the gang's key to whoever answers, and is shown it.
    pub(super) fn dial(stream: TcpStream, trust: &Trust, until: Instant) -> Result<Self> {
        // No name is sent: the key says all.
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        let tls = ClientConnection::new(Arc::clone(&trust.dials), name).map_err(Error::other)?;
        Self::shake_hands(stream, tls.into(), until)
    }

    /// Is shown the gang's key by whoever dialled, and shows it.
    pub(super) fn answer(stream: TcpStream, trust: &Trust, until: Instant) -> Result<Self> {
        let tls = ServerConnection::new(Arc::clone(&trust.answers)).map_err(Error::other)?;
        Self::shake_hands(stream, tls.into(), until)
    }

    fn shake_hands(stream: TcpStream, mut tls: Connection, until: Instant) -> Result<Self> {
        stream.set_nodelay(true)?;
        let mut by = Until { stream: &stream, until };
        match tls.complete_io(&mut by) {
            Ok(_) => Ok(Self { stream, tls }),
            Err(error) => Err(match error.downcast::<rustls::Error>() {
                Ok(rustls::Error::InvalidCertificate(_)) => {
                    let why = "it is of another gang, generation or version";
                    Error::new(ErrorKind::PermissionDenied, why)
                }
                Ok(other) => invalid(other),
                Err(error) => error,
            }),
        }
    }

    pub(super) fn say(&mut self, bytes: &[u8], until: Instant) -> Result<()> {
        self.tls.writer().write_all(bytes)?;
        let mut by = Until { stream: &self.stream, until };
        while self.tls.wants_write() {
            self.tls.write_tls(&mut by)?;
        }
        Ok(())
    }

    pub(super) fn hear(&mut self, mut bytes: &mut [u8], until: Instant) -> Result<()> {
        let mut by = Until { stream: &self.stream, until };
        while !bytes.is_empty() {
            match self.tls.reader().read(bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => bytes = &mut bytes[read..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.tls.read_tls(&mut by)?;
                    self.tls.process_new_packets().map_err(invalid)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is written from now on, what is read, and the connection below.
    pub(super) fn split(self) -> Result<(Outward, Inward, TcpStream)> {
        let Self { stream, tls } = self;
        stream.set_read_timeout(None)?;
        let tls = Arc::new(Mutex::new(tls));
        let out = Outward { tls: Arc::clone(&tls), stream: stream.try_clone()?, sealed: Vec::new() };
        let came = vec![0; READ_AT_ONCE].into_boxed_slice();
        let inward = Inward { tls, stream: stream.try_clone()?, came, at: 0, end: 0 };
        Ok((out, inward, stream))
    }
}

/// The half of the thread that writes.
#[derive(Debug)]
pub(super) struct Outward {
    tls: Arc<Mutex<Connection>>,
    stream: TcpStream,
    sealed: Vec<u8>,
}

impl Outward {
    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let next = &bytes[..bytes.len().min(SEALED_AT_ONCE)];
            let taken = self.pass(|tls| tls.writer().write(next))?;
            if taken == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub(super) fn close(&mut self) -> Result<()> {
        self.pass(|tls| {
            tls.send_close_notify();
            Ok(())
        })
    }

    pub(super) fn shut_down(&self) {
        // One that is closed already needs no closing.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Seals with the state, and writes without it.
    fn pass<T>(&mut self, seal: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        self.sealed.clear();
        let mut tls = lock(&self.tls);
        let done = seal(&mut tls)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.sealed)?;
        }
        drop(tls);
        self.stream.write_all(&self.sealed)?;
        Ok(done)
    }
}

/// The half of the thread that reads.
#[derive(Debug)]
pub(super) struct Inward {
    tls: Arc<Mutex<Connection>>,
    stream: TcpStream,
    /// What the socket gave.
    came: Box<[u8]>,
    /// What of it lies between here and `end` is not opened yet.
    at: usize,
    end: usize,
}

impl Inward {
    /// Some bytes, each as it was written by the other; none once it has ended, or was cut off.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        loop {
            if let Some(read) = self.open(into)? {
                return Ok(read);
            }
            self.end = match self.stream.read(&mut self.came) {
                Ok(0) => return Ok(0),
                Ok(came) => came,
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            self.at = 0;
        }
    }

    /// Opens what came, as far as there is room for it; nothing if more must come first.
    fn open(&mut self, into: &mut [u8]) -> Result<Option<usize>> {
        let mut tls = lock(&self.tls);
        let mut read = 0;
        loop {
            match tls.reader().read(&mut into[read..]) {
                // There is no room, or nothing more comes.
                Ok(0) => return Ok(Some(read)),
                Ok(more) => {
                    read += more;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.at == self.end {
                return Ok((read > 0).then_some(read));
            }
            self.at += tls.read_tls(&mut &self.came[self.at..self.end])?;
            tls.process_new_packets().map_err(invalid)?;
        }
    }
}

fn invalid(error: rustls::Error) -> Error {
    Error::new(ErrorKind::InvalidData, error)
}

/// Whoever panicked with it has ended its own thread and with it the link.
fn lock(tls: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that is waited for until then, however little comes at a time.
struct Until<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Until<'_> {
    fn left(&self) -> Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// The system says of a wait that has ended that it would block.
fn ended(error: Error) -> Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

impl Read for Until<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(into).map_err(ended)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(ended)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
