//! Input from pods and VMs (forwarding.md 1.6, 2.3).

use vr_tables::stats::VifCounter;
use vr_tables::vif::{Vif, VifFlags};
use vr_types::{DropReason, VrfId};

use super::{Full, Kind, Pkt, Resume};
use crate::bytes::array;
use crate::verdict::Stop;

impl Full<'_> {
    pub(super) fn from_guest(&mut self, pkt: &mut Pkt, vif: &Vif) -> Stop {
        self.mirror_received(pkt, vif);
        if let Some(sub) = self.demultiplex(pkt, vif) {
            return self.from_sub_interface(pkt, sub);
        }
        self.stats.received(vif.id, pkt.frame.len());
        let mut vrf = vif.vrf;
        if vif.flags.contains(VifFlags::SERVICE_IF) {
            let tag = array::<4>(pkt.bytes(), 12).filter(|tag| tag[..2] == [0x81, 0x00]);
            let vlan = tag.map(|tag| u16::from_be_bytes([tag[2], tag[3]]) & 0xfff);
            if let Some(vlan) = vlan.filter(|vlan| *vlan < 1024) {
                let entry = vif.details.service_vlans.get(usize::from(vlan)).copied().flatten();
                vrf = entry.map_or(VrfId::NONE, |entry| entry.vrf);
            }
        }
        self.guest_input(pkt, vrf)
    }

    /// A frame whose outermost tag names a sub-interface.
    pub(super) fn from_sub_interface(&mut self, pkt: &mut Pkt, sub: &Vif) -> Stop {
        pkt.vif = sub.id;
        let notag = sub.flags.contains(VifFlags::MIRROR_NOTAG);
        if !notag {
            self.mirror_received(pkt, sub);
        }
        if let Some([0x81, 0x00, control, _]) = array::<4>(pkt.bytes(), 12) {
            pkt.priority = Some(control >> 5);
            if let Err(stop) = strip_tag(pkt) {
                return stop;
            }
        }
        self.stats.received(sub.id, pkt.frame.len());
        if notag {
            self.mirror_received(pkt, sub);
        }
        self.guest_input(pkt, sub.vrf)
    }

    /// Input of a guest's frame in a VRF: flow, then bridging.
    pub(super) fn guest_input(&mut self, pkt: &mut Pkt, vrf: VrfId) -> Stop {
        pkt.vrf = vrf;
        if pkt.classify(0).is_err() {
            self.stats.vif(pkt.vif, VifCounter::InErrors, 1);
            return Stop::Drop(DropReason::InterfaceDrop);
        }
        if pkt.multicast && pkt.kind != Kind::Arp && self.ingress_has(pkt, VifFlags::SERVICE_IF) {
            return Stop::Drop(DropReason::InterfaceDrop);
        }
        if let Err(stop) = self.flow(pkt, Resume::Bridge) {
            return stop;
        }
        self.bridge_input(pkt)
    }
}

/// Removes the outermost VLAN tag.
pub(super) fn strip_tag(pkt: &mut Pkt) -> Result<(), Stop> {
    let Some(macs) = array::<12>(pkt.bytes(), 0) else { return Err(Stop::Drop(DropReason::Pull)) };
    pkt.pull(4)?;
    if !crate::bytes::put(pkt.frame.bytes_mut(), 0, macs) {
        return Err(Stop::Drop(DropReason::Pull));
    }
    pkt.received = (pkt.frame.headroom() as u16, pkt.frame.len() as u32);
    Ok(())
}
