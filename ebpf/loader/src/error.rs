//! What can go wrong, each in one sentence that says what to do.

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError, sys::SyscallError};
use std::{error::Error, io, path::PathBuf};

/// Why a program is not attached or a map not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SteerError {
    /// There is no such device in this network namespace.
    #[error(
        "there is no network interface `{0}` in this network namespace; check the configuration and `ip link`"
    )]
    NoSuchInterface(String),

    /// The process lacks capabilities.
    #[error("loading eBPF programs needs {0}; run as root or grant them to the service")]
    NotPermitted(String),

    /// The process has the capabilities, and yet `bpf(2)` is refused.
    #[error(
        "the kernel refuses bpf(2) although the process has the capabilities; allow it in the container's \
         seccomp profile, do not run in a user namespace, and on kernels before 5.11 raise RLIMIT_MEMLOCK"
    )]
    Refused,

    /// `bpf(2)` does not exist.
    #[error(
        "there is no bpf(2) here; use a kernel with CONFIG_BPF_SYSCALL, or allow it in the container's seccomp \
         profile"
    )]
    NoBpf,

    /// The kernel's verifier does not accept the committed object.
    #[error(
        "the kernel's verifier refuses the program `{program}`, please report this with the kernel's version: {log}"
    )]
    Rejected {
        /// Name of the program.
        program: &'static str,
        /// Last lines of the verifier's log.
        log: String,
    },

    /// Another XDP program is on the device.
    #[error(
        "`{interface}` already has an XDP program (id {id}, {mode}) of somebody else; stop its owner (`bpftool net`, \
         `bpftool link`), or remove it with `ip link set dev {interface} {off} off`"
    )]
    ForeignProgram {
        /// The device.
        interface: String,
        /// Id of the program in the kernel.
        id: u32,
        /// How it is attached.
        mode: &'static str,
        /// The word that turns this mode off with `ip link`.
        off: &'static str,
    },

    /// The pinned link of this instance is on another device.
    #[error(
        "the pin `{}` belongs to a program that is attached to another device (index {ifindex}); give each daemon an \
         instance name of its own, or remove the pin",
        path.display()
    )]
    InstanceInUse {
        /// The pin.
        path: PathBuf,
        /// Index of that device in its network namespace.
        ifindex: u32,
    },

    /// No rung of the ladder could be reached.
    #[error("the program cannot be attached to `{interface}`: {reason}")]
    Attach {
        /// The device.
        interface: String,
        /// What was tried, and what the kernel said.
        reason: String,
    },

    /// The instance's name cannot be the name of a folder.
    #[error("the instance name `{0}` is not usable; take 1 to 64 letters, digits, `-` or `_`")]
    BadInstance(String),

    /// There is no bpffs, and none could be mounted.
    #[error(
        "there is no bpffs at `{}` and it cannot be mounted ({source}); run `mount -t bpf bpf {}` before",
        path.display(), path.display()
    )]
    NoBpffs {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },

    /// A pin could not be made, read or removed.
    #[error("the pin `{}` cannot be used ({reason}); check the owner of its folder", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What was said.
        reason: String,
    },

    /// A map could not be read or written.
    #[error("the map {map} cannot be used: {reason}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was said.
        reason: String,
    },

    /// A number is beyond a map's size.
    #[error("{what} {value} is beyond the {limit} that the steering program supports")]
    OutOfRange {
        /// What is numbered.
        what: &'static str,
        /// The number.
        value: u32,
        /// How many there are.
        limit: u32,
    },

    /// The kernel did not answer a question about a device.
    #[error(
        "the state of network interface `{interface}` cannot be read ({source}); is this process allowed to use netlink?"
    )]
    Device {
        /// The device.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },

    /// The committed object is not what this crate expects.
    #[error("the committed eBPF object is broken ({0}); rebuild it with `cargo xtask build-ebpf`")]
    Object(String),
}

/// Number of the error that a system call gave somewhere below `error`.
pub(crate) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        if let Some(SyscallError { io_error, .. }) = error.downcast_ref() {
            return io_error.raw_os_error();
        }
        // These two are transparent: their source is that of the error inside.
        if let Some(ProgramError::SyscallError(inner)) = error.downcast_ref() {
            return inner.io_error.raw_os_error();
        }
        if let Some(PinError::SyscallError(inner)) = error.downcast_ref() {
            return inner.io_error.raw_os_error();
        }
        if let Some(MapError::CreateError { io_error, .. }) = error.downcast_ref() {
            return io_error.raw_os_error();
        }
        if let Some(EbpfError::MapError(inner)) = error.downcast_ref() {
            return errno(inner);
        }
        next = error.source();
    }
    None
}

/// The error for a refused system call, if `number` is one that is about permission at large.
pub(crate) fn refusal(number: Option<i32>) -> Option<SteerError> {
    match number? {
        libc::ENOSYS => Some(SteerError::NoBpf),
        libc::EPERM | libc::EACCES => Some(match missing_capabilities() {
            Some(names) => SteerError::NotPermitted(names),
            None => SteerError::Refused,
        }),
        _ => None,
    }
}

/// What loading and attaching needs, as bits of the set of capabilities (`linux/capability.h`).
const NEEDED: [(&str, u64); 3] = [("CAP_NET_ADMIN", 1 << 12), ("CAP_PERFMON", 1 << 38), ("CAP_BPF", 1 << 39)];
/// Does instead of each of them.
const SYS_ADMIN: u64 = 1 << 21;

/// The capabilities that this thread lacks, if any.
pub(crate) fn missing_capabilities() -> Option<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let held = u64::from_str_radix(bits.trim(), 16).ok()?;
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(_, bit)| held & (bit | SYS_ADMIN) == 0).map(|(name, _)| *name).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}
