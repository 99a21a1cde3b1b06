//! What a rank's process says on its standard streams: kept in a file of bounded size, forwarded to the worker's own log,
//! and its last lines remembered for the message of a crash. A log that cannot be written costs no render.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::logs::Logs;

/// A file that would grow beyond this becomes the `.old` one, and what was `.old` goes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// A longer line is cut into several: a process that never ends its line takes no more memory than this.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// Lines that a crash shows.
const LINES_KEPT: usize = 8;

/// The log of one rank.
#[derive(Debug)]
pub(super) struct Log {
    device: u32,
    logs: Arc<Logs>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `None` when it could not be opened or written.
    file: Option<(File, u64)>,
    last: VecDeque<String>,
}

impl Log {
    /// Appends to `rank-DEVICE.log` in the folder of `logs`, which hears all lines.
    pub(super) fn open(logs: &Arc<Logs>, device: u32) -> Self {
        let path = logs.folder().join(format!("rank-{device}.log"));
        let file = appending(&path).inspect_err(|error| unwritable(&path, error)).ok();
        let inner = Mutex::new(Inner { path, file, last: VecDeque::new() });
        Self { device, logs: Arc::clone(logs), inner }
    }

    /// Takes lines until the stream ends.
    pub(super) async fn read(&self, from: impl AsyncRead + Unpin) {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.line(String::from_utf8_lossy(&line).trim_end()),
            }
        }
    }

    /// Its last lines in one, or nothing.
    pub(super) fn last(&self) -> String {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = inner.last.iter().map(String::as_str).collect();
        lines.join(" | ")
    }

    fn line(&self, line: &str) {
        tracing::info!(target: "croft_rank", device = self.device, rank = 0, "{line}");
        self.logs.line(self.device, line);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.write(line);
        if inner.last.len() == LINES_KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(line.to_owned());
    }
}

impl Inner {
    /// A line is short and the system buffers it, so no thread waits for it long.
    fn write(&mut self, line: &str) {
        let Some((file, bytes)) = &mut self.file else { return };
        let more = line.len() as u64 + 1;
        if *bytes + more <= FILE_BYTES_MAX {
            *bytes += more;
            if let Err(error) = writeln!(file, "{line}") {
                unwritable(&self.path, &error);
                self.file = None;
            }
            return;
        }
        let turned =
            fs::rename(&self.path, self.path.with_extension("log.old")).and_then(|()| appending(&self.path));
        self.file = turned.inspect_err(|error| unwritable(&self.path, error)).ok();
        if self.file.is_some() {
            self.write(line);
        }
    }
}

fn appending(path: &Path) -> io::Result<(File, u64)> {
    let file = File::options().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn unwritable(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "a rank's log is not written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_an_end_or_of_no_text_is_taken_in_pieces() {
        let dir = tempfile::tempdir().expect("scratch");
        let log = Log::open(&Arc::new(Logs::new(dir.path())), 3);
        let mut said = vec![0xff; 3 * LINE_BYTES_MAX as usize];
        said.extend(b"\nlast words");
        log.read(&said[..]).await;
        assert!(log.last().ends_with(" | last words"));
        assert_eq!(
            log.inner.lock().expect("whole").last.len(),
            5,
            "three pieces, the line's end, the last line"
        );
        let kept = fs::read_to_string(dir.path().join("rank-3.log")).expect("a file");
        assert!(kept.ends_with("last words\n"));
    }

    #[test]
    fn a_log_keeps_to_its_size() {
        let dir = tempfile::tempdir().expect("scratch");
        let log = Log::open(&Arc::new(Logs::new(dir.path())), 0);
        let line = "x".repeat(LINE_BYTES_MAX as usize - 1);
        let lines = 3 * FILE_BYTES_MAX / LINE_BYTES_MAX;
        for _ in 0..lines {
            log.inner.lock().expect("whole").write(&line);
        }
        let size = |name: &str| fs::metadata(dir.path().join(name)).expect(name).len();
        assert_eq!((size("rank-0.log"), size("rank-0.log.old")), (FILE_BYTES_MAX, FILE_BYTES_MAX));
    }
}
