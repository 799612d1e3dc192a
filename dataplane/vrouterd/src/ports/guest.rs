//! Pods: the host end of a veth, or a TAP that somebody else has made.

use vr_io::{PacketConfig, PacketPort, netdev};
use vr_runtime::{Opened, Queue};
use vr_types::VifId;

use super::error::OpenError;
use super::pods::Pods;
use super::single;

/// Opens a device that is there, and keeps the kernel from handling what it receives.
pub(super) fn open(vif: VifId, device: &str, pods: &mut Pods) -> Result<Opened, OpenError> {
    let opened = open_shared(device)?;
    pods.guard(vif, device)?;
    Ok(opened)
}

/// The same for a device with a program of another kind. Checksum and segmentation state goes along in both
/// directions.
pub(super) fn open_shared(device: &str) -> Result<Opened, OpenError> {
    // The kernel's own router solicitations would go to the pod.
    netdev::set_ipv6_autoconfiguration(device, false)?;
    netdev::set_up(device, true)?;
    let ports = PacketPort::open(&PacketConfig::new(device))?;
    Ok(ports.into_iter().next().map_or_else(Opened::default, |port| single(Queue::new(Box::new(port)))))
}
