//! Programs at the ingress of a device: by tcx, and before Linux 6.6 by a filter of the clsact qdisc.

use crate::{
    device,
    error::{SteerError, errno, refusal},
    object::{load_program, with_causes},
    pins::{Pins, pin_error},
};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions},
    },
};
use std::io;
use steer_abi::program;

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

/// All our programs of this kind. A device has one of them at the most. The link of a pinned one has its name.
const OURS: [&str; 3] = [program::SWALLOW, program::TO_HOST, program::FROM_HOST];

/// One of our programs on a device.
pub(crate) struct Ingress {
    interface: String,
    name: &'static str,
    hold: Hold,
    pins: Option<Pins>,
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

impl Ingress {
    /// Loads the program `name` and attaches it to `interface`, in place of what a predecessor of the same instance
    /// had there. It outlives the process if there are pins.
    pub(crate) fn attach(
        object: &mut Ebpf,
        name: &'static str,
        interface: &str,
        choice: HookChoice,
        pins: Option<Pins>,
    ) -> Result<Self, SteerError> {
        let ifindex = device::index_of(interface)?;
        let program: &mut SchedClassifier = load_program(object, name, SchedClassifier::load)?;
        let target = Target { name, interface, ifindex, pins: pins.as_ref() };
        let hold = attach(program, &target, choice)?;
        if let Some(pins) = &pins {
            remove_links(pins, Some(name))?;
        }
        Ok(Self { interface: interface.to_owned(), name, hold, pins })
    }

    /// Where the program is pinned.
    pub(crate) const fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }

    /// The hook in use.
    pub(crate) const fn hook(&self) -> SwallowHook {
        match self.hold {
            Hold::Link { .. } => SwallowHook::Tcx,
            Hold::Filter { .. } | Hold::StayingFilter => SwallowHook::Clsact,
        }
    }

    /// Takes the program off the device, and removes the pin of its link and folders that are empty then.
    pub(crate) fn detach(self) -> Result<(), SteerError> {
        if let Some(pins) = &self.pins {
            pins.detach_link(self.name)?;
            pins.remove_folders();
        }
        if let Hold::StayingFilter = self.hold {
            remove_filters(&self.interface)?;
        }
        Ok(())
    }
}

/// Takes our programs off a device that needs none any more; one that has none is no error.
pub(crate) fn clear(interface: &str, pins: &Pins) -> Result<(), SteerError> {
    remove_links(pins, None)?;
    // Without a qdisc there is no filter either.
    let _ = remove_filters(interface);
    Ok(())
}

fn remove_links(pins: &Pins, kept: Option<&str>) -> Result<(), SteerError> {
    OURS.iter().filter(|name| Some(**name) != kept).try_for_each(|name| pins.detach_link(name))
}

/// Removes filters of our programs, also those of a predecessor.
pub(crate) fn remove_filters(interface: &str) -> Result<(), SteerError> {
    for name in OURS {
        match tc::qdisc_detach_program(interface, TcAttachType::Ingress, name) {
            Err(tc::TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(describe(interface, &error.into())),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// What goes where.
struct Target<'a> {
    name: &'static str,
    interface: &'a str,
    ifindex: u32,
    pins: Option<&'a Pins>,
}

fn attach(
    program: &mut SchedClassifier,
    target: &Target<'_>,
    choice: HookChoice,
) -> Result<Hold, SteerError> {
    if choice != HookChoice::Clsact {
        match attach_tcx(program, target) {
            Ok(link) => return Ok(Hold::Link { _link: link }),
            // A kernel without tcx does not know the attach type.
            Err(Failure::Kernel(error))
                if choice == HookChoice::Auto && errno(&error) == Some(libc::EINVAL) => {}
            Err(Failure::Kernel(error)) => return Err(describe(target.interface, &error)),
            Err(Failure::Ours(error)) => return Err(error),
        }
    }
    attach_filter(program, target)
}

enum Failure {
    Kernel(ProgramError),
    Ours(SteerError),
}

fn attach_tcx(program: &mut SchedClassifier, target: &Target<'_>) -> Result<FdLink, Failure> {
    let Some(pins) = target.pins else {
        return new_link(program, target.interface).map_err(Failure::Kernel);
    };
    let path = pins.path(target.name);
    match pins.link(target.name).map_err(Failure::Ours)? {
        Some(state) if state.ifindex == target.ifindex => {
            return replace(program, pins, target.name).map_err(Failure::Ours);
        }
        Some(state) if state.ifindex != 0 => {
            return Err(Failure::Ours(SteerError::InstanceInUse { path, ifindex: state.ifindex }));
        }
        // The device of the predecessor is gone.
        Some(_) => pins.remove(target.name).map_err(Failure::Ours)?,
        None => {}
    }
    let link = new_link(program, target.interface).map_err(Failure::Kernel)?;
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

fn replace(program: &mut SchedClassifier, pins: &Pins, name: &str) -> Result<FdLink, SteerError> {
    let path = pins.path(name);
    let failed = |error: &dyn std::error::Error| pin_error(&path, error);
    let link = PinnedLink::from_pin(&path).map_err(|error| failed(&error))?;
    let link = SchedClassifierLink::try_from(FdLink::from(link)).map_err(|error| failed(&error))?;
    let id = program.attach_to_link(link).map_err(|error| failed(&error))?;
    take_link(program, id).map_err(|error| failed(&error))
}

fn attach_filter(program: &mut SchedClassifier, target: &Target<'_>) -> Result<Hold, SteerError> {
    let interface = target.interface;
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
    if target.pins.is_some() {
        // Dropping it would remove the filter; it owns nothing else.
        std::mem::forget(link);
        return Ok(Hold::StayingFilter);
    }
    Ok(Hold::Filter { _filter: link })
}

fn already_there(error: &tc::TcError) -> bool {
    matches!(error, tc::TcError::AlreadyAttached) || errno(error) == Some(libc::EEXIST)
}

fn describe(interface: &str, error: &ProgramError) -> SteerError {
    refusal(errno(error)).unwrap_or_else(|| SteerError::Attach {
        interface: interface.to_owned(),
        reason: format!("tc ingress: {}", with_causes(error)),
    })
}
