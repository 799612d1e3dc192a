use std::io;
use std::path::PathBuf;

/// Why a port cannot be opened or a device not be set up: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// There is no such device in this network namespace.
    #[error(
        "there is no network interface `{0}` in this network namespace; check the configuration and `ip link`"
    )]
    NoSuchInterface(String),

    /// The name cannot be that of a device.
    #[error("`{0}` is no name of a network interface; take 1 to 15 bytes without `/` and spaces")]
    BadName(String),

    /// The process lacks a capability.
    #[error("{doing} needs {capability}; run as root or grant it to the service")]
    NotPermitted {
        /// What was tried.
        doing: String,
        /// What it needs.
        capability: &'static str,
    },

    /// The process has the capability, and yet the system call is refused.
    #[error(
        "{doing} is refused although the process has {capability}; allow it in the container's seccomp profile"
    )]
    Refused {
        /// What was tried.
        doing: String,
        /// What it needs.
        capability: &'static str,
    },

    /// The kernel does not know `AF_XDP`, or a filter says so.
    #[error(
        "there are no AF_XDP sockets here ({0}); use a kernel with CONFIG_XDP_SOCKETS, or allow socket(AF_XDP) in the \
         container's seccomp profile, or choose AF_PACKET for this device"
    )]
    NoAfXdp(io::Error),

    /// Somebody else has the queue.
    #[error(
        "queue {queue} of `{interface}` already has an AF_XDP socket; stop the other process that uses this device"
    )]
    QueueBusy {
        /// The device.
        interface: String,
        /// Which of its queues.
        queue: u32,
    },

    /// The device has fewer queues.
    #[error(
        "`{interface}` has {queues} queues, so there is no queue {queue}; use fewer workers on it, or raise the number \
         with `ethtool -L {interface} combined N`"
    )]
    NoSuchQueue {
        /// The device.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// How many it has.
        queues: u32,
    },

    /// The packet buffers cannot be pinned.
    #[error(
        "{bytes} bytes of packet buffers cannot be locked in memory; grant CAP_IPC_LOCK to the service, or raise \
         RLIMIT_MEMLOCK above that, or lower the number of buffers in the configuration"
    )]
    Memlock {
        /// What would be locked.
        bytes: usize,
    },

    /// No rung of the ladder could be reached.
    #[error("`{interface}` cannot be used with AF_XDP on queue {queue} ({reasons}); choose AF_PACKET for it")]
    NoRung {
        /// The device.
        interface: String,
        /// Which of its queues.
        queue: u32,
        /// What was tried, and what the kernel said.
        reasons: String,
    },

    /// The library xsk-rs was left out.
    #[error(
        "this program was built without xsk-rs; build it with the feature `xsk-rs`, or choose the backend `ring`"
    )]
    NoXskRs,

    /// Rings cannot have this size.
    #[error("{0} is no size of a ring; take a power of two from 64 to 32768")]
    BadRingSize(u32),

    /// There is no `/dev/net/tun`.
    #[error("TAP devices need /dev/net/tun ({0}); load the module `tun`, or give the container this device")]
    NoTun(io::Error),

    /// A device of that name exists and is something else, or has other properties.
    #[error(
        "`{0}` exists and is no TAP device, or one with another number of queues; remove it with `ip link delete {0}` \
         or choose another name"
    )]
    NotTap(String),

    /// Another process has the TAP device.
    #[error("the TAP device `{0}` is used by another process; stop it, or choose another name")]
    TapBusy(String),

    /// A path does not fit into a socket address.
    #[error("the socket path `{}` is longer than {longest} bytes; choose a shorter socket directory", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// What fits.
        longest: usize,
    },

    /// Another process receives on the socket.
    #[error(
        "another process receives on `{}`; stop the other daemon, or give each a socket directory of its own",
        .0.display()
    )]
    SocketInUse(PathBuf),

    /// A file cannot be used.
    #[error("`{}` cannot be used ({source}); check that its folder exists and who owns it", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A file is not in pcap format.
    #[error("`{}` is no pcap file ({reason}); convert it with `editcap -F pcap`", path.display())]
    NotPcap {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Anything else that the kernel refuses.
    #[error("{doing} fails: {source}; see `dmesg` and whether this kernel and device support it")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Number of `CAP_NET_ADMIN` (`linux/capability.h`).
const NET_ADMIN: (&str, u32) = ("CAP_NET_ADMIN", 12);
/// Number of `CAP_NET_RAW`.
const NET_RAW: (&str, u32) = ("CAP_NET_RAW", 13);

impl PortError {
    /// The error for something that needs `CAP_NET_RAW`.
    pub(crate) fn raw(doing: impl Into<String>, source: io::Error) -> Self {
        Self::privileged(doing.into(), NET_RAW, source)
    }

    /// The error for something that needs `CAP_NET_ADMIN`.
    pub(crate) fn admin(doing: impl Into<String>, source: io::Error) -> Self {
        Self::privileged(doing.into(), NET_ADMIN, source)
    }

    fn privileged(doing: String, (capability, bit): (&'static str, u32), source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if holds(bit) => Self::Refused { doing, capability },
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { doing, capability },
            _ => Self::System { doing, source },
        }
    }

    /// The error for something about the device `interface` that needs `CAP_NET_ADMIN`.
    pub(crate) fn device(interface: &str, doing: &str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Self::NoSuchInterface(interface.to_owned()),
            _ => Self::admin(format!("{doing} `{interface}`"), source),
        }
    }
}

/// Whether this thread has a capability in effect; presumes it when nothing can be found out.
fn holds(bit: u32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/thread-self/status") else { return true };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_none_or(|held| held & (1 << bit) != 0)
}
