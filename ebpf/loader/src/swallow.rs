//! The tc program on the host end of a pod's veth.
//!
//! An `AF_PACKET` socket gets a copy of a packet, and the kernel goes on with the packet itself: it might answer
//! ARP, or forward. The copy is made before tc, so a tc program that drops everything on ingress leaves the
//! packet to the socket alone.

use crate::{
    device,
    error::{SteerError, errno, refusal},
    object::{load_program, map_error, open, take_map, with_causes},
    pins::{Persistence, Pins, pin_error},
    steer::sum,
};
use aya::{
    maps::{MapData, PerCpuArray},
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions},
    },
};
use std::{fmt, io, path::PathBuf};
use steer_abi::{SwallowCounter, map, program};

/// Which hooks may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HookChoice {
    /// tcx, and clsact if the kernel has none (before 6.6).
    #[default]
    Auto,
    /// tcx or nothing.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

/// Which hook is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwallowHook {
    /// A tcx link.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

/// How to attach.
#[derive(Debug, Clone)]
pub struct SwallowOptions {
    /// Name of this daemon, as in [`SteerOptions`](crate::SteerOptions).
    pub instance: String,
    /// Hooks to try.
    pub hook: HookChoice,
    /// Whether the program outlives the process. If not, the kernel handles the pod's packets once it ends.
    pub persistence: Persistence,
    /// Where a bpffs is, as in [`SteerOptions`](crate::SteerOptions).
    pub bpffs: Option<PathBuf>,
}

impl Default for SwallowOptions {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            hook: HookChoice::Auto,
            persistence: Persistence::Pinned,
            bpffs: None,
        }
    }
}

/// The attached program, which drops and counts everything that the device receives.
///
/// Dropping it leaves a pinned program on the device, as the death of the process does; [`detach`](Self::detach)
/// removes it.
pub struct Swallow {
    interface: String,
    hold: Hold,
    pins: Option<Pins>,
    counters: PerCpuArray<MapData, u64>,
}

/// What keeps the program attached. Fields are held, not read.
enum Hold {
    Link {
        _link: FdLink,
    },
    /// A filter that is removed when this is dropped.
    Filter {
        _filter: SchedClassifierLink,
    },
    /// A filter that stays, as the kernel keeps filters anyway.
    StayingFilter,
}

const LINK: &str = "swallow";
const PINNED_COUNTERS: &str = "swallowed";

impl Swallow {
    /// Loads the program and attaches it to the ingress of `interface`, in place of a predecessor's of the same
    /// instance.
    pub fn attach(interface: &str, options: &SwallowOptions) -> Result<Self, SteerError> {
        let ifindex = device::index_of(interface)?;
        let mut object = open()?;
        let pins = match options.persistence {
            Persistence::Pinned => Some(Pins::open(options.bpffs.as_deref(), &options.instance, interface)?),
            Persistence::Process => None,
        };
        let program: &mut SchedClassifier =
            load_program(&mut object, program::SWALLOW, SchedClassifier::load)?;
        let hold = attach(program, interface, ifindex, options.hook, pins.as_ref())?;
        if let Some(pins) = &pins {
            let counters = object.map(map::SWALLOWED);
            let counters =
                counters.ok_or_else(|| SteerError::Object(format!("no map {}", map::SWALLOWED)))?;
            pins.remove(PINNED_COUNTERS)?;
            let path = pins.path(PINNED_COUNTERS);
            counters.pin(&path).map_err(|error| pin_error(&path, &error))?;
        }
        let counters = take_map(&mut object, map::SWALLOWED)?;
        Ok(Self { interface: interface.to_owned(), hold, pins, counters })
    }

    /// The hook in use.
    #[must_use]
    pub const fn hook(&self) -> SwallowHook {
        match self.hold {
            Hold::Link { .. } => SwallowHook::Tcx,
            Hold::Filter { .. } | Hold::StayingFilter => SwallowHook::Clsact,
        }
    }

    /// All counters, summed over the CPUs. They start at 0 with each attach.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, SteerError> {
        SwallowCounter::ALL.iter().map(|&counter| Ok((counter.name(), self.counter(counter)?))).collect()
    }

    /// One counter, summed over the CPUs.
    pub fn counter(&self, counter: SwallowCounter) -> Result<u64, SteerError> {
        sum(&self.counters, counter.index()).map_err(map_error(map::SWALLOWED))
    }

    /// Takes the program off the device: the kernel handles what it receives.
    pub fn detach(self) -> Result<(), SteerError> {
        if let Some(pins) = &self.pins {
            pins.detach_link(LINK)?;
            pins.remove(PINNED_COUNTERS)?;
            pins.remove_folders();
        }
        if let Hold::StayingFilter = self.hold {
            remove_filters(&self.interface)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Swallow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = self.hook();
        formatter
            .debug_struct("Swallow")
            .field("interface", &self.interface)
            .field("hook", &hook)
            .finish_non_exhaustive()
    }
}

fn attach(
    program: &mut SchedClassifier,
    interface: &str,
    ifindex: u32,
    choice: HookChoice,
    pins: Option<&Pins>,
) -> Result<Hold, SteerError> {
    if choice != HookChoice::Clsact {
        match attach_tcx(program, interface, ifindex, pins) {
            Ok(link) => return Ok(Hold::Link { _link: link }),
            // A kernel without tcx does not know the attach type.
            Err(Failure::Kernel(error))
                if choice == HookChoice::Auto && errno(&error) == Some(libc::EINVAL) => {}
            Err(Failure::Kernel(error)) => return Err(describe(interface, &error)),
            Err(Failure::Ours(error)) => return Err(error),
        }
    }
    attach_filter(program, interface, pins.is_some())
}

enum Failure {
    Kernel(ProgramError),
    Ours(SteerError),
}

fn attach_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    ifindex: u32,
    pins: Option<&Pins>,
) -> Result<FdLink, Failure> {
    let Some(pins) = pins else {
        return new_link(program, interface).map_err(Failure::Kernel);
    };
    let path = pins.path(LINK);
    match pins.link(LINK).map_err(Failure::Ours)? {
        Some(state) if state.ifindex == ifindex => {
            return replace(program, pins).map_err(Failure::Ours);
        }
        Some(state) if state.ifindex != 0 => {
            return Err(Failure::Ours(SteerError::InstanceInUse { path, ifindex: state.ifindex }));
        }
        // The device of the predecessor is gone.
        Some(_) => pins.remove(LINK).map_err(Failure::Ours)?,
        None => {}
    }
    let link = new_link(program, interface).map_err(Failure::Kernel)?;
    link.pin(&path).map(FdLink::from).map_err(|error| Failure::Ours(pin_error(&path, &error)))
}

fn new_link(program: &mut SchedClassifier, interface: &str) -> Result<FdLink, ProgramError> {
    // Before anybody else's, who would see packets that are not for this kernel.
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(interface, TcAttachType::Ingress, order)?;
    take_link(program, id)
}

fn take_link(program: &mut SchedClassifier, id: SchedClassifierLinkId) -> Result<FdLink, ProgramError> {
    let link = program.take_link(id)?;
    FdLink::try_from(link).map_err(|error| ProgramError::IOError(io::Error::other(error)))
}

fn replace(program: &mut SchedClassifier, pins: &Pins) -> Result<FdLink, SteerError> {
    let path = pins.path(LINK);
    let failed = |error: &dyn std::error::Error| pin_error(&path, error);
    let link = PinnedLink::from_pin(&path).map_err(|error| failed(&error))?;
    let link = SchedClassifierLink::try_from(FdLink::from(link)).map_err(|error| failed(&error))?;
    let id = program.attach_to_link(link).map_err(|error| failed(&error))?;
    take_link(program, id).map_err(|error| failed(&error))
}

fn attach_filter(program: &mut SchedClassifier, interface: &str, stays: bool) -> Result<Hold, SteerError> {
    match tc::qdisc_add_clsact(interface) {
        Err(error) if !already_there(&error) => return Err(describe(interface, &error.into())),
        _ => {}
    }
    let failed = |error: &ProgramError| describe(interface, error);
    remove_filters(interface)?;
    let options = TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() });
    let id = program
        .attach_with_options(interface, TcAttachType::Ingress, options)
        .map_err(|error| failed(&error))?;
    let link = program.take_link(id).map_err(|error| failed(&error))?;
    if stays {
        // Dropping it would remove the filter; it owns nothing else.
        std::mem::forget(link);
        return Ok(Hold::StayingFilter);
    }
    Ok(Hold::Filter { _filter: link })
}

fn already_there(error: &tc::TcError) -> bool {
    matches!(error, tc::TcError::AlreadyAttached) || errno(error) == Some(libc::EEXIST)
}

/// Removes filters of our program, also those of a predecessor.
pub(crate) fn remove_filters(interface: &str) -> Result<(), SteerError> {
    match tc::qdisc_detach_program(interface, TcAttachType::Ingress, program::SWALLOW) {
        Err(tc::TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(describe(interface, &error.into())),
        Ok(()) => Ok(()),
    }
}

fn describe(interface: &str, error: &ProgramError) -> SteerError {
    refusal(errno(error)).unwrap_or_else(|| SteerError::Attach {
        interface: interface.to_owned(),
        reason: format!("tc ingress: {}", with_causes(error)),
    })
}
