//! The XDP program on one fabric device.

mod attach;
mod join;
mod maps;

use crate::{
    device,
    error::{SteerError, errno},
    heartbeat::Heartbeat,
    object::{self, Abi, map_error},
    pins::{Persistence, Pins},
    tc::HookChoice,
};
use aya::programs::links::FdLink;
use join::Join;
use maps::{Maps, PINNED, absent_is_fine};

pub(crate) use maps::sum;
use std::{fmt, net::IpAddr, os::fd::BorrowedFd, path::PathBuf, time::Duration};
use steer_abi::{
    Counter, EndpointKey, MAX_ENDPOINTS, MAX_QUEUES, MAX_SLOTS, QueueSlots, SteerConfig, TunnelSet, flags,
    map,
};

/// Which rungs of the ladder may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModeChoice {
    /// Native, and generic if that fails.
    #[default]
    Auto,
    /// Native or nothing.
    Native,
    /// Generic.
    Generic,
}

/// Which rung was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// The driver runs the program.
    Native,
    /// The kernel runs the program behind the driver.
    Generic,
}

impl AttachMode {
    /// The word for people and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How the program is attached, and why so.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The rung that was reached.
    pub mode: AttachMode,
    /// Why this rung, for people.
    pub reason: String,
    /// The program of a predecessor was replaced, and its endpoints were kept.
    pub replaced: bool,
    /// Where program and maps are pinned; `None` with [`Persistence::Process`].
    pub pins: Option<PathBuf>,
}

/// What to attach, and how.
#[derive(Debug, Clone)]
pub struct SteerOptions {
    /// Name of this daemon among those on the host that share a bpffs: 1 to 64 letters, digits, `-` or `_`.
    pub instance: String,
    /// Rungs to try.
    pub mode: ModeChoice,
    /// Whether the program outlives the process.
    pub persistence: Persistence,
    /// Where a bpffs is, or shall be mounted; `None` takes `/sys/fs/bpf`, or mounts `/run/vrouter-xdp/bpf`.
    pub bpffs: Option<PathBuf>,
    /// With the address of the host on vhost0: the dataplane's end of its pair. Then everything goes to the dataplane,
    /// and while there is none, the fabric device and the pair are joined.
    pub pair: Option<String>,
    /// Which hook the programs that join them take.
    pub hook: HookChoice,
    /// Without a heartbeat for so long, packets no longer go to sockets; zero turns the check off.
    pub heartbeat_timeout: Duration,
}

impl Default for SteerOptions {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            mode: ModeChoice::Auto,
            persistence: Persistence::Pinned,
            bpffs: None,
            pair: None,
            hook: HookChoice::Auto,
            heartbeat_timeout: Duration::from_secs(1),
        }
    }
}

/// The attached program and its maps.
///
/// Dropping it leaves a pinned program on the device, as the death of the process does; [`detach`](Self::detach)
/// removes it.
pub struct Steer {
    attachment: Attachment,
    link: FdLink,
    pins: Option<Pins>,
    maps: Maps,
    join: Option<Join>,
}

impl Steer {
    /// Loads the program and attaches it to `interface` of this network namespace, in place of a predecessor's of
    /// the same instance. The endpoints of that are kept; sockets and queues have to be set.
    pub fn attach(interface: &str, options: &SteerOptions) -> Result<Self, SteerError> {
        let ifindex = device::index_of(interface)?;
        let mut object = object::open()?;
        let pins = Pins::of(options.persistence, options.bpffs.as_deref(), &options.instance, interface)?;
        let timeout_ns = u64::try_from(options.heartbeat_timeout.as_nanos()).unwrap_or(u64::MAX);
        let mut config = SteerConfig::new(timeout_ns);
        if let Some(pair) = &options.pair {
            config = config.with_pair(ifindex, device::index_of(pair)?);
        }
        let target = attach::Target { interface, ifindex, choice: options.mode, pins: pins.as_ref() };
        let (link, attachment) = attach::attach(&mut object, config, &target)?;
        // Before the maps are taken: some of them are then only in memory.
        let joined = join::attach(&mut object, interface, options, pins.as_ref());
        let maps = Maps::take(&mut object, config)?;
        let mut steer = Self { attachment, link, pins, maps, join: None };
        match joined {
            Ok(join) => steer.join = join,
            Err(error) => {
                // Half of it would cut the host off.
                steer.detach()?;
                return Err(error);
            }
        }
        let attachment = &steer.attachment;
        tracing::info!(
            interface,
            mode = attachment.mode.name(),
            reason = attachment.reason,
            replaced = attachment.replaced,
            "steering program attached"
        );
        Ok(steer)
    }

    /// How the program is attached.
    #[must_use]
    pub const fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Whether the address of the host is on vhost0: programs join the device and the pair while no dataplane lives.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        self.join.is_some()
    }

    /// From now on tunnel packets of these kinds to `address` are taken from the kernel.
    pub fn set_endpoint(&mut self, address: IpAddr, tunnels: TunnelSet) -> Result<(), SteerError> {
        self.maps.endpoints.insert(Abi(EndpointKey::new(address)), tunnels.bits(), 0).map_err(|error| {
            match errno(&error) {
                Some(libc::E2BIG | libc::ENOMEM) => SteerError::OutOfRange {
                    what: "the number of local tunnel endpoints",
                    value: MAX_ENDPOINTS + 1,
                    limit: MAX_ENDPOINTS,
                },
                _ => map_error(map::ENDPOINTS)(error),
            }
        })
    }

    /// From now on tunnel packets to `address` go to the kernel. An unknown address is no error.
    pub fn remove_endpoint(&mut self, address: IpAddr) -> Result<(), SteerError> {
        absent_is_fine(self.maps.endpoints.remove(&Abi(EndpointKey::new(address))))
            .map_err(map_error(map::ENDPOINTS))
    }

    /// The local tunnel endpoints, also those kept from a predecessor, in no order.
    pub fn endpoints(&self) -> Result<Vec<(IpAddr, TunnelSet)>, SteerError> {
        self.maps
            .endpoints
            .iter()
            .map(|entry| entry.map(|(Abi(key), bits)| (key.address(), TunnelSet::from_bits(bits))))
            .collect::<Result<_, _>>()
            .map_err(map_error(map::ENDPOINTS))
    }

    /// Puts an `AF_XDP` socket into a slot, in place of what was there. The socket has to be bound to the queue
    /// that the slot belongs to: the kernel drops what it would get from another one. The kernel takes the
    /// socket out when it is closed.
    pub fn set_socket(&mut self, slot: u32, socket: BorrowedFd<'_>) -> Result<(), SteerError> {
        check_range("socket slot", slot, MAX_SLOTS)?;
        self.maps.sockets.set(slot, socket, 0).map_err(map_error(map::SOCKETS))
    }

    /// Empties a slot. An empty one is no error.
    pub fn clear_socket(&mut self, slot: u32) -> Result<(), SteerError> {
        check_range("socket slot", slot, MAX_SLOTS)?;
        absent_is_fine(self.maps.sockets.unset(slot)).map_err(map_error(map::SOCKETS))
    }

    /// Says that receive queue `queue` is served by `count` slots from `first` on; 0 slots stop the queue.
    pub fn set_queue(&mut self, queue: u32, first: u32, count: u32) -> Result<(), SteerError> {
        check_range("receive queue", queue, MAX_QUEUES)?;
        if count != 0 {
            check_range("socket slot", first.saturating_add(count - 1), MAX_SLOTS)?;
        }
        let slots = Abi(QueueSlots { first, count });
        self.maps.queues.set(queue, slots, 0).map_err(map_error(map::QUEUES))
    }

    /// The handle by which workers show that they live.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.maps.heartbeat.clone()
    }

    /// Makes the program pass everything to the kernel, or work again.
    pub fn set_bypass(&mut self, bypass: bool) -> Result<(), SteerError> {
        self.maps.change_config(|config| {
            config.flags = if bypass { config.flags | flags::BYPASS } else { config.flags & !flags::BYPASS };
        })
    }

    /// All counters, summed over the CPUs, in the order of [`Counter::ALL`]. They start at 0 with each attach.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, SteerError> {
        Counter::ALL.iter().map(|&counter| Ok((counter.name(), self.counter(counter)?))).collect()
    }

    /// One counter, summed over the CPUs.
    pub fn counter(&self, counter: Counter) -> Result<u64, SteerError> {
        sum(&self.maps.counters, counter.index()).map_err(map_error(map::COUNTERS))
    }

    /// Takes the programs off the devices and removes their pins: the kernel sees tunnel packets again.
    pub fn detach(self) -> Result<(), SteerError> {
        if let Some(join) = self.join {
            join.detach()?;
        }
        if let Some(pins) = &self.pins {
            pins.detach_link(attach::LINK)?;
            for name in PINNED {
                pins.remove(name)?;
            }
            pins.remove_folders();
        }
        drop(self.link);
        Ok(())
    }
}

impl fmt::Debug for Steer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Steer").field("attachment", &self.attachment).finish_non_exhaustive()
    }
}

fn check_range(what: &'static str, value: u32, limit: u32) -> Result<(), SteerError> {
    if value < limit { Ok(()) } else { Err(SteerError::OutOfRange { what, value, limit }) }
}
