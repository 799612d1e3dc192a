//! Programs with a time limit. Their output is kept, and one sees that they go on.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Lets an interrupt end the programs that [`run`] runs, and not this one, which has to clean up.
pub(crate) fn take_interrupts() -> anyhow::Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signal_hook::flag::register(signal as i32, Arc::clone(&INTERRUPTED))?;
    }
    Ok(())
}

/// How a program ended.
pub(crate) struct Ended {
    /// Nothing if it was ended because its time was over.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs a program to its end, or to the end of the time that `progress` shows.
///
/// # Errors
/// When the program cannot be started, or the user interrupts.
pub(crate) fn run(command: &mut Command, progress: &mut Progress) -> anyhow::Result<Ended> {
    let outputs = [kept_output()?, kept_output()?];
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(outputs[0].try_clone()?)
        .stderr(outputs[1].try_clone()?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        let interrupted = INTERRUPTED.load(Ordering::Relaxed);
        if interrupted || progress.left().is_zero() {
            killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
            child.wait()?;
            if interrupted {
                bail!("interrupted");
            }
            break None;
        }
        progress.show(|| outputs.iter().find_map(last_line).unwrap_or_default());
        std::thread::sleep(
            (start.elapsed() / 10).clamp(Duration::from_millis(1), Duration::from_millis(100)),
        );
    };
    let [stdout, stderr] = outputs.map(|output| read_from(&output, 0));
    Ok(Ended { status, stdout, stderr })
}

/// A file in memory. Reading it by position leaves alone where the program writes.
fn kept_output() -> anyhow::Result<File> {
    Ok(memfd_create("output", MFdFlags::MFD_CLOEXEC)?.into())
}

fn read_from(file: &File, position: u64) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len().saturating_sub(position));
    let mut bytes = vec![0; length as usize];
    let read = file.read_at(&mut bytes, position).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// The last line that is meant for people; cargo's messages to programs are not.
fn last_line(file: &File) -> Option<String> {
    let start = file.metadata().ok()?.len().saturating_sub(2048);
    let text = read_from(file, start);
    let whole = if start == 0 { text.as_str() } else { text.split_once('\n')?.1 };
    let line = whole.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with('{'))?;
    Some(line.to_owned())
}

/// What one sees of a job while it runs: one line that changes on a terminal, a line now and then elsewhere.
pub(crate) struct Progress {
    label: &'static str,
    start: Instant,
    limit: Duration,
    next: Duration,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(label: &'static str, limit: Duration) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { label, start: Instant::now(), limit, next: Self::pause(terminal), terminal }
    }

    /// Time since the job was begun.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time that the job still has.
    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.elapsed())
    }

    fn pause(terminal: bool) -> Duration {
        if terminal { Duration::from_millis(200) } else { Duration::from_secs(30) }
    }

    fn show(&mut self, doing: impl FnOnce() -> String) {
        let elapsed = self.elapsed();
        if elapsed < self.next {
            return;
        }
        self.next = elapsed + Self::pause(self.terminal);
        let doing: String = doing().chars().filter(|c| !c.is_control()).take(56).collect();
        let (begin, end) = if self.terminal { ("\r\x1b[2K", "") } else { ("", "\n") };
        print!("{begin}{:<15}{:>4}/{} s  {doing}{end}", self.label, elapsed.as_secs(), self.limit.as_secs());
        // A terminal that is gone takes no progress, which must not end the job.
        let _ = std::io::stdout().flush();
    }

    /// Removes the changing line.
    pub(crate) fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, run};
    use std::process::Command;
    use std::time::{Duration, Instant};

    fn shell(script: &str, limit: Duration) -> super::Ended {
        run(Command::new("sh").args(["-c", script]), &mut Progress::new("test", limit)).unwrap()
    }

    #[test]
    fn both_outputs_and_the_status_are_kept() {
        let ended = shell("echo one; echo two >&2; echo three; exit 3", Duration::from_secs(10));
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("one\nthree\n", "two\n"));
        assert_eq!(ended.status.unwrap().code(), Some(3));
        assert!(!ended.success());
    }

    #[test]
    fn the_whole_group_ends_with_its_time() {
        let ended = shell("sleep 100 & echo $!; wait", Duration::from_millis(300));
        assert!(ended.status.is_none());
        let stat = format!("/proc/{}/stat", ended.stdout.trim());
        let is_dead = || std::fs::read_to_string(&stat).map_or(true, |state| state.contains(" Z "));
        // A killed process takes a moment to die.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !is_dead() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_dead(), "the sleeper must be dead");
    }
}
