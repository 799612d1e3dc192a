//! `vrouterd` as a process in a namespace.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Namespace;

/// What may differ between daemons.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `host` in the configuration.
    pub host: &'static str,
    /// Number of workers.
    pub workers: usize,
    /// Further sections.
    pub more: &'static str,
}

impl Settings {
    /// One worker, and the defaults for everything else.
    pub const DEFAULT: Self = Self { host: "nic", workers: 1, more: "" };

    /// Small tables and few buffers, which start quickly.
    pub const SMALL: Self = Self {
        more: "[tables]\nnexthops = 1024\nlabels = 1024\nvrfs = 16\ninterfaces = 64\nflows = 65536\n\
               flow_overflow = 1024\nbridge = 1024\nbridge_overflow = 256\n\
               [buffers]\npackets = 4096\nsuper_frames = 128\n",
        ..Self::DEFAULT
    };
}

/// Where one daemon has its files.
#[derive(Clone, Debug)]
pub struct Place {
    /// The program.
    pub program: PathBuf,
    /// The namespace that it runs in.
    pub namespace: Namespace,
    /// The directory for configuration, log and sockets.
    pub directory: PathBuf,
}

impl Place {
    /// The directory of its sockets.
    pub fn sockets(&self) -> PathBuf {
        self.directory.join("sockets")
    }

    /// The file that its standard error goes to.
    pub fn log(&self) -> PathBuf {
        self.directory.join("vrouterd.log")
    }

    /// Writes the configuration of a daemon on a fabric device.
    pub fn configure(&self, instance: &str, device: &str, settings: &Settings) -> Result<()> {
        std::fs::create_dir_all(self.sockets())?;
        let text = format!(
            "socket_dir = \"{}\"\ninstance = \"{instance}\"\n\n[fabric]\ndevice = \"{device}\"\nhost = \"{}\"\n\n\
             [workers]\ncount = {}\n\n[log]\nlevel = \"info\"\n\n{}",
            self.sockets().display(),
            settings.host,
            settings.workers,
            settings.more
        );
        std::fs::write(self.directory.join("vrouterd.toml"), text).context("writing the configuration")
    }

    /// Starts the daemon, in a process group of its own so that Ctrl-C does not reach it.
    pub fn start(&self) -> Result<Daemon> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let program = self.program.to_str().context("a path that is not UTF-8")?;
        let mut command = self.namespace.command(program);
        command.arg("--config").arg(self.directory.join("vrouterd.toml")).process_group(0);
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {program}"))?;
        std::fs::write(self.directory.join("pid"), child.id().to_string())?;
        Ok(Daemon { child, log: self.log() })
    }
}

/// A running daemon. It is ended when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Fails with the daemon's own words if it has ended.
    pub fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(
            ended.is_none(),
            "vrouterd has ended ({}): {}",
            ended.unwrap_or_default(),
            last_lines(&self.log)
        );
        Ok(())
    }

    /// Memory of the process that is in use, in KiB.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Waits until the control socket accepts connections.
    pub fn wait_ready(&mut self, sockets: &Path, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            self.check()?;
            match std::os::unix::net::UnixStream::connect(sockets.join("dpdk_netlink")) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error)
                        .with_context(|| format!("vrouterd is not ready: {}", last_lines(&self.log)));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Kills it without notice.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and kills it when it does not.
    pub fn end(&mut self) {
        let _asked = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _killed = self.kill();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
