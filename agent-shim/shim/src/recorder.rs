//! What clients ask and what they are answered, in a file: `vrctl replay` sends it again.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Bytes that may wait to be written. A disk that is slower ends the recording.
const MOST_WAITING: usize = 16 << 20;
/// How long the end of a recording may take.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Bytes of a recording.
const MOST_RECORDED: u64 = 1 << 30;

/// Writes a recording, one JSON object a line: `at`, seconds since it began; `connection`, a number for each
/// client; `request`, the netlink message in hex; `reply`, the netlink messages that answer it, in hex.
///
/// The file is written by a thread of its own, to which the control thread hands lines. When something is in
/// its way (a full disk, a slow one, a gibibyte) it says so in the log and the recording ends; serving goes on.
pub struct Recorder {
    lines: Option<Sender<String>>,
    waiting: Arc<AtomicUsize>,
    begin: Instant,
}

impl Recorder {
    /// Begins a recording at the end of the file, which is made if it is missing.
    ///
    /// # Errors
    /// The file cannot be opened, or there can be no further thread.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (lines, received) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let recording = Recording { path: path.to_owned(), waiting: Arc::clone(&waiting) };
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || recording.write(file, &received))?;
        Ok(Self { lines: Some(lines), waiting, begin: Instant::now() })
    }

    /// Notes a request and what answers it.
    pub(crate) fn note(&mut self, connection: u64, request: &[u8], reply: &[u8]) {
        let Some(lines) = &self.lines else { return };
        let line = line(self.begin.elapsed().as_secs_f64(), connection, request, reply);
        let length = line.len();
        if self.waiting.fetch_add(length, Relaxed) + length > MOST_WAITING {
            tracing::warn!("the recording ends: the disk is too slow");
            self.lines = None;
        } else if lines.send(line).is_err() {
            // The thread has said why.
            self.lines = None;
        }
    }
}

impl Drop for Recorder {
    /// What waits is written, unless that takes long.
    fn drop(&mut self) {
        let recording = self.lines.take().is_some();
        let begin = Instant::now();
        while recording && self.waiting.load(Relaxed) > 0 && begin.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn line(at: f64, connection: u64, request: &[u8], reply: &[u8]) -> String {
    let mut line = String::with_capacity(80 + 2 * (request.len() + reply.len()));
    // Writing to a String cannot fail.
    let _ = write!(line, "{{\"at\": {at:.6}, \"connection\": {connection}, \"request\": \"");
    hex(&mut line, request);
    line.push_str("\", \"reply\": \"");
    hex(&mut line, reply);
    line.push_str("\"}\n");
    line
}

fn hex(line: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    line.extend(
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(|digit| DIGITS[usize::from(digit)]),
    );
}

/// The writing side.
struct Recording {
    path: PathBuf,
    waiting: Arc<AtomicUsize>,
}

impl Recording {
    fn write(self, file: File, lines: &Receiver<String>) {
        let path = self.path.display();
        let mut file = BufWriter::new(file);
        let mut recorded = 0;
        while let Ok(line) = lines.recv() {
            recorded += line.len() as u64;
            let is_last_for_now = self.waiting.load(Relaxed) == line.len();
            let written = file
                .write_all(line.as_bytes())
                .and_then(|()| if is_last_for_now { file.flush() } else { Ok(()) });
            self.waiting.fetch_sub(line.len(), Relaxed);
            if let Err(error) = written {
                tracing::warn!(%path, %error, "the recording ends");
                // What waits in the buffer would be tried once more.
                let _ = file.into_parts();
                return;
            }
            if recorded > MOST_RECORDED {
                tracing::warn!(%path, "the recording ends: it has {recorded} bytes");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Recorder, line};
    use std::path::Path;
    use std::time::{Duration, Instant};

    #[test]
    fn a_line_is_json() {
        assert_eq!(
            line(1.5, 3, &[0, 0xab], &[]),
            "{\"at\": 1.500000, \"connection\": 3, \"request\": \"00ab\", \"reply\": \"\"}\n"
        );
    }

    #[test]
    fn a_full_disk_ends_the_recording_and_nothing_else() {
        let mut recorder = Recorder::begin(Path::new("/dev/full")).unwrap();
        let begin = Instant::now();
        while recorder.lines.is_some() {
            recorder.note(0, &[1; 1000], &[2; 1000]);
            std::thread::sleep(Duration::from_millis(1));
            assert!(begin.elapsed() < Duration::from_secs(10), "the recording goes on");
        }
        recorder.note(0, &[1], &[2]);
    }
}
