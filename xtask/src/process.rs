//! Running a program with a time budget.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// How a program ended.
pub(crate) struct Ended {
    /// It ended by itself with success.
    pub(crate) success: bool,
    /// It was ended because its time was over.
    pub(crate) timed_out: bool,
    /// What it printed, both streams in order.
    pub(crate) output: String,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Runs a program to its end or for `budget`, whichever comes first.
pub(crate) fn run(command: &mut Command, budget: Duration) -> anyhow::Result<Ended> {
    let mut file = tempfile()?;
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file.try_clone()?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > budget {
            end_group(child.id());
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut output = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut output)?;
    Ok(Ended {
        success: status.is_some_and(|status| status.success()),
        timed_out: status.is_none(),
        output: String::from_utf8_lossy(&output).into_owned(),
        took: start.elapsed(),
    })
}

/// A file without a name.
fn tempfile() -> anyhow::Result<std::fs::File> {
    let path = std::env::temp_dir().join(format!("vrx-xtask-{}", std::process::id()));
    let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Ends a process group that this program started.
fn end_group(leader: u32) {
    // SAFETY: a signal to a group whose leader is our child, which has not been waited for yet.
    #[allow(unsafe_code, reason = "the standard library cannot signal a process group")]
    unsafe {
        libc::kill(-(leader as i32), libc::SIGKILL);
    }
}
