use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::{AfXdpConfig, XdpHook, XskBackend};
use crate::PortError;

/// How long a queue may stay taken that nobody has any more.
const LETTING_GO: Duration = Duration::from_millis(200);

/// How frames get between the device and the socket, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// The device writes into our buffers.
    ZeroCopy,
    /// The driver runs the program; the kernel copies.
    NativeCopy,
    /// The kernel runs the program behind the driver, and copies.
    Generic,
}

impl Rung {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::NativeCopy => "native copy",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rung that was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRung {
    /// Which.
    pub rung: Rung,
    /// Why, for people.
    pub reason: String,
}

/// How a socket is bound, and why so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfXdpReport {
    /// The device.
    pub interface: String,
    /// Which of its queues.
    pub queue: u32,
    /// Which implementation drives the socket.
    pub backend: XskBackend,
    /// The rung that was reached.
    pub rung: Rung,
    /// The rungs above it.
    pub refused: Vec<RefusedRung>,
    /// How many frames the kernel sends in one system call.
    pub frames_per_kick: u32,
}

impl fmt::Display for AfXdpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, queue, rung, .. } = self;
        write!(f, "{interface} queue {queue}: {rung}, {}", self.backend.name())?;
        for RefusedRung { rung, reason } in &self.refused {
            write!(f, "; no {rung}: {reason}")?;
        }
        Ok(())
    }
}

/// Tries the rungs of the ladder from above; `attempt` opens and binds a socket in zero-copy mode or not.
///
/// # Errors
/// Those of `attempt` that no other rung would cure, and those that are left when all rungs are refused.
pub(super) fn climb<S>(
    config: &AfXdpConfig,
    mut attempt: impl FnMut(bool) -> Result<S, Refusal>,
) -> Result<(S, Rung, Vec<RefusedRung>), PortError> {
    let mut refused = Vec::new();
    let copy = match &config.hook {
        XdpHook::Native => Rung::NativeCopy,
        XdpHook::Generic { reason } => {
            for rung in [Rung::ZeroCopy, Rung::NativeCopy] {
                refused.push(RefusedRung { rung, reason: reason.clone() });
            }
            Rung::Generic
        }
    };
    if copy == Rung::NativeCopy {
        if config.zero_copy {
            match patiently(|| attempt(true)) {
                Ok(socket) => return Ok((socket, Rung::ZeroCopy, refused)),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Bind(error)) => {
                    refused.push(RefusedRung { rung: Rung::ZeroCopy, reason: why(&error, config) });
                }
            }
        } else {
            let reason = "the configuration says so".to_owned();
            refused.push(RefusedRung { rung: Rung::ZeroCopy, reason });
        }
    }
    match patiently(|| attempt(false)) {
        Ok(socket) => Ok((socket, copy, refused)),
        Err(Refusal::Final(error)) => Err(error),
        Err(Refusal::Bind(error)) => Err(no_rung(config, &error, &refused)),
    }
}

/// A queue whose socket was just closed stays taken until the kernel has done with that, in a work item.
fn patiently<S>(mut attempt: impl FnMut() -> Result<S, Refusal>) -> Result<S, Refusal> {
    let end = Instant::now() + LETTING_GO;
    loop {
        match attempt() {
            Err(Refusal::Bind(error))
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end =>
            {
                thread::sleep(LETTING_GO / 20);
            }
            done => return done,
        }
    }
}

/// Why a socket could not be opened in one mode.
pub(super) enum Refusal {
    /// The device does not take it in this mode.
    Bind(io::Error),
    /// Another mode would not help.
    Final(PortError),
}

fn why(error: &io::Error, config: &AfXdpConfig) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => format!("the driver of `{}` cannot do it", config.interface),
        Some(libc::EBUSY) => "the queue has a socket already".to_owned(),
        _ => error.to_string(),
    }
}

fn no_rung(config: &AfXdpConfig, error: &io::Error, refused: &[RefusedRung]) -> PortError {
    let (interface, queue) = (config.interface.clone(), config.queue);
    match error.raw_os_error() {
        Some(libc::EBUSY) => PortError::QueueBusy { interface, queue },
        Some(libc::ENODEV) => PortError::NoSuchInterface(interface),
        _ => {
            let mut reasons = format!("copy mode: {}", why(error, config));
            for RefusedRung { rung, reason } in refused {
                reasons.extend(["; ", rung.name(), ": ", reason]);
            }
            PortError::NoRung { interface, queue, reasons }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Rung, climb};
    use crate::PortError;
    use crate::afxdp::{AfXdpConfig, XdpHook};
    use std::io;

    fn refuse(code: i32) -> Refusal {
        Refusal::Bind(io::Error::from_raw_os_error(code))
    }

    #[test]
    fn the_highest_rung_that_goes_is_taken() {
        let config = AfXdpConfig::new("eth0", 3);
        let (zero_copy, rung, refused) = climb(&config, Ok).unwrap();
        assert!(zero_copy && rung == Rung::ZeroCopy && refused.is_empty());

        let only_copy = |zero_copy| if zero_copy { Err(refuse(libc::EOPNOTSUPP)) } else { Ok(()) };
        let ((), rung, refused) = climb(&config, only_copy).unwrap();
        assert_eq!((rung, refused.len()), (Rung::NativeCopy, 1));
        assert!(refused[0].reason.contains("eth0"), "{refused:?}");
    }

    #[test]
    fn a_generic_program_leaves_one_rung() {
        let hook = XdpHook::Generic { reason: "the driver has no XDP".to_owned() };
        let config = AfXdpConfig { hook, ..AfXdpConfig::new("eth0", 3) };
        let (zero_copy, rung, refused) = climb(&config, Ok).unwrap();
        assert!(!zero_copy && rung == Rung::Generic);
        assert!(refused.iter().all(|refused| refused.reason == "the driver has no XDP"));
        assert_eq!(refused.len(), 2);
    }

    #[test]
    fn what_is_left_says_what_to_do() {
        let config = AfXdpConfig::new("eth0", 3);
        let error = climb::<()>(&config, |_| Err(refuse(libc::EBUSY))).unwrap_err();
        assert!(matches!(error, PortError::QueueBusy { queue: 3, .. }), "{error}");
        let error = climb::<()>(&config, |_| Err(refuse(libc::EINVAL))).unwrap_err();
        assert!(
            error.to_string().contains("zero-copy: ") && error.to_string().contains("copy mode: "),
            "{error}"
        );
        let mut tries = 0;
        let memlock = |_| {
            tries += 1;
            Err(Refusal::Final(PortError::Memlock { bytes: 1 }))
        };
        assert!(matches!(climb::<()>(&config, memlock), Err(PortError::Memlock { .. })));
        assert_eq!(tries, 1, "another mode needs as much memory");
    }
}
