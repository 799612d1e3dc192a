//! The ladder of attach modes, and taking over from a predecessor.

use super::{AttachMode, Attachment, ModeChoice, maps};
use crate::{
    device::{self, ATTACHED_GENERIC, ATTACHED_OFFLOADED, Attached},
    error::{SteerError, errno, refusal},
    object::{load_program, with_causes},
    pins::{Pins, pin_error},
};
use aya::{
    Ebpf,
    programs::{
        ProgramError, Xdp, XdpMode,
        links::{FdLink, LinkError, PinnedLink},
        xdp::{XdpLink, XdpLinkId},
    },
};
use std::io;
use steer_abi::{SteerConfig, program};

/// Name of the pinned link.
pub(super) const LINK: &str = "link";

/// Where to attach, and how.
pub(super) struct Target<'a> {
    pub(super) interface: &'a str,
    pub(super) ifindex: u32,
    pub(super) choice: ModeChoice,
    pub(super) pins: Option<&'a Pins>,
}

/// Writes the configuration, loads the program and attaches it. The maps stay in the object.
pub(super) fn attach(
    object: &mut Ebpf,
    config: SteerConfig,
    target: &Target<'_>,
) -> Result<(FdLink, Attachment), SteerError> {
    maps::write_config(object, config)?;
    let present = device::xdp_program(target.interface, target.ifindex)?;
    let predecessor = find_predecessor(target, present)?;
    if let (None, Some(present)) = (predecessor, present) {
        return Err(foreign(target, present));
    }
    if let Some(pins) = target.pins {
        if predecessor.is_some() {
            maps::inherit_endpoints(object, pins)?;
        }
        maps::pin(object, pins)?;
    }
    let steer: &mut Xdp = load_program(object, program::STEER, Xdp::load)?;
    let pins = target.pins.map(|pins| pins.folder().to_owned());
    match (predecessor, target.pins) {
        (Some(mode), Some(own)) if suits(target.choice, mode) => {
            let reason =
                format!("as the predecessor's program, which was replaced, was attached ({})", mode.name());
            let link = replace(steer, own)?;
            Ok((link, Attachment { mode, reason, replaced: true, pins }))
        }
        _ => {
            if let Some(own) = target.pins {
                own.detach_link(LINK)?;
            }
            let (link, mode, reason) = climb(steer, target)?;
            let link = match target.pins {
                Some(own) => pin(link, own)?,
                None => link,
            };
            Ok((link, Attachment { mode, reason, replaced: predecessor.is_some(), pins }))
        }
    }
}

/// The mode in which a predecessor's pinned program is on the device, if it is.
fn find_predecessor(
    target: &Target<'_>,
    present: Option<Attached>,
) -> Result<Option<AttachMode>, SteerError> {
    let Some(pins) = target.pins else { return Ok(None) };
    let Some(link) = pins.link(LINK)? else { return Ok(None) };
    match present {
        Some(present) if link.program == present.program => Ok(Some(mode_of(present))),
        _ if link.ifindex == 0 => Ok(None),
        _ => Err(SteerError::InstanceInUse { path: pins.path(LINK), ifindex: link.ifindex }),
    }
}

const fn mode_of(present: Attached) -> AttachMode {
    if present.mode == ATTACHED_GENERIC { AttachMode::Generic } else { AttachMode::Native }
}

const fn suits(choice: ModeChoice, mode: AttachMode) -> bool {
    matches!(
        (choice, mode),
        (ModeChoice::Auto, _)
            | (ModeChoice::Native, AttachMode::Native)
            | (ModeChoice::Generic, AttachMode::Generic)
    )
}

fn foreign(target: &Target<'_>, present: Attached) -> SteerError {
    let (mode, off) = match present.mode {
        ATTACHED_GENERIC => ("generic", "xdpgeneric"),
        ATTACHED_OFFLOADED => ("offloaded", "xdpoffload"),
        _ => ("native", "xdpdrv"),
    };
    SteerError::ForeignProgram { interface: target.interface.to_owned(), id: present.program, mode, off }
}

/// Puts our program in place of the predecessor's in one step: no packet passes by.
fn replace(steer: &mut Xdp, pins: &Pins) -> Result<FdLink, SteerError> {
    let path = pins.path(LINK);
    let failed = |error: &dyn std::error::Error| pin_error(&path, error);
    let link = PinnedLink::from_pin(&path).map_err(|error| failed(&error))?;
    let link = XdpLink::try_from(FdLink::from(link)).map_err(|error| failed(&error))?;
    let id = steer.attach_to_link(link).map_err(|error| failed(&error))?;
    take_link(steer, id).map_err(|error| failed(&error))
}

fn pin(link: FdLink, pins: &Pins) -> Result<FdLink, SteerError> {
    let path = pins.path(LINK);
    link.pin(&path).map(FdLink::from).map_err(|error| pin_error(&path, &error))
}

/// Tries the rungs from the top.
fn climb(steer: &mut Xdp, target: &Target<'_>) -> Result<(FdLink, AttachMode, String), SteerError> {
    let mut reason = "it was asked for".to_owned();
    if target.choice != ModeChoice::Generic {
        match attach_at(steer, target, XdpMode::Driver) {
            Ok(link) => return Ok((link, AttachMode::Native, "the driver runs XDP programs".to_owned())),
            Err(error) => reason = explain(target, &error)?,
        }
        if target.choice == ModeChoice::Native {
            return Err(SteerError::Attach { interface: target.interface.to_owned(), reason });
        }
    }
    match attach_at(steer, target, XdpMode::Skb) {
        Ok(link) => Ok((link, AttachMode::Generic, reason)),
        Err(error) => {
            let reason = format!("native: {reason}; generic: {}", explain(target, &error)?);
            Err(SteerError::Attach { interface: target.interface.to_owned(), reason })
        }
    }
}

fn attach_at(steer: &mut Xdp, target: &Target<'_>, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let id = steer.attach_to_if_index(target.ifindex, mode)?;
    take_link(steer, id)
}

fn take_link(steer: &mut Xdp, id: XdpLinkId) -> Result<FdLink, ProgramError> {
    let link = steer.take_link(id)?;
    // Only a kernel older than the program needs attaches in another way than by a link.
    FdLink::try_from(link).map_err(|_: LinkError| {
        ProgramError::IOError(io::Error::other("the kernel has no XDP links, 5.18 or later is needed"))
    })
}

/// Says in words why a rung was not reached; an error that no other rung would avoid is returned as such.
fn explain(target: &Target<'_>, error: &ProgramError) -> Result<String, SteerError> {
    let number = errno(error);
    if let Some(refusal) = refusal(number) {
        return Err(refusal);
    }
    let text = match number {
        Some(libc::EBUSY | libc::EEXIST) => {
            // Somebody was faster than us.
            let present = device::xdp_program(target.interface, target.ifindex)?;
            return Err(present.map_or_else(
                || SteerError::Attach { interface: target.interface.to_owned(), reason: with_causes(error) },
                |present| foreign(target, present),
            ));
        }
        Some(libc::ENODEV) => return Err(SteerError::NoSuchInterface(target.interface.to_owned())),
        Some(libc::EOPNOTSUPP) => "the driver does not run XDP programs".to_owned(),
        Some(libc::ERANGE | libc::E2BIG) => "the driver runs XDP programs only with a smaller MTU".to_owned(),
        Some(libc::ENOMEM | libc::ENOSPC) => {
            "the driver has too few queues or too little memory for XDP".to_owned()
        }
        Some(libc::EINVAL) => {
            "the driver refuses XDP programs in its present setting (MTU, LRO, channels)".to_owned()
        }
        _ => with_causes(error),
    };
    Ok(text)
}
