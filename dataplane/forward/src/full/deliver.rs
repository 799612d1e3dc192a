//! Transmission by an interface: what each type does to a frame before its port gets it (forwarding.md 1.3
//! to 1.6).

use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{DropReason, VifId};

use super::pkt::TAGS;
use super::{Full, Kind, Pkt};
use crate::bytes::{array, be16, put};
use crate::verdict::{Step, Stop};

/// Shortest frames whose ARP or neighbour solicitation is looked at on the way to a guest.
const SHORTEST_ARP: usize = 28;
const SHORTEST_SOLICITATION: usize = 40 + 8 + 16 + 2 + 6;

impl Full<'_> {
    /// Sends the frame in the packet's window by an interface.
    pub(super) fn send(&mut self, pkt: &mut Pkt, id: VifId) -> Stop {
        let Some(vif) = self.tables.vif(id) else { return Stop::Drop(DropReason::InterfaceTxDiscard) };
        let prepared = match vif.kind {
            VifKind::Host => self.prepare_for_host(pkt, vif),
            VifKind::XenLinkLocal => {
                put(pkt.frame.bytes_mut(), 0, vif.mac.0);
                Ok(())
            }
            VifKind::Virtual => {
                if let Some(stop) = self.plug_neighbour(pkt) {
                    return stop;
                }
                Ok(())
            }
            VifKind::VirtualVlan => return self.send_tagged(pkt, vif),
            _ => Ok(()),
        };
        if let Err(stop) = prepared {
            return stop;
        }
        self.mirror_sent(pkt, vif);
        let tunnelled = matches!(pkt.kind, Kind::InetInTunnel | Kind::Inet6InTunnel | Kind::OtherInTunnel);
        let ours = tunnelled || pkt.mirror_copy;
        if ours && vif.kind == VifKind::Physical && pkt.frame.len() > vif.mtu as usize {
            return self.fragment(pkt, vif);
        }
        self.stats.sent(vif.id, pkt.frame.len());
        Stop::Send(vif.id)
    }

    /// The host gets untagged frames, and frames of guests under its own MAC: they were addressed to the
    /// virtual router.
    fn prepare_for_host(&mut self, pkt: &mut Pkt, vif: &Vif) -> Step {
        for _ in 0..TAGS {
            if array(pkt.bytes(), 12) != Some([0x81, 0x00]) {
                break;
            }
            super::guest::strip_tag(pkt)?;
        }
        if self.ingress_kind(pkt).is_some_and(VifKind::is_guest) {
            put(pkt.frame.bytes_mut(), 0, vif.mac.0);
        }
        Ok(())
    }

    /// Unicast ARP requests and neighbour solicitations for a guest may be answered on its behalf
    /// (forwarding.md 7.6).
    fn plug_neighbour(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        if pkt.destination_mac().is_none_or(vr_types::Mac::is_group) || pkt.flow_done && pkt.kind == Kind::Arp
        {
            return None;
        }
        // The frame starts at its Ethernet header here; the answer is built from the body.
        let length = pkt.frame.len().checked_sub(pkt.offset(pkt.network))?;
        match pkt.kind {
            Kind::Arp if length >= SHORTEST_ARP => {
                pkt.pull_to_network().ok()?;
                let handled = self.arp_input(pkt);
                if handled.is_none() {
                    let _ = pkt.restore_l2();
                }
                handled
            }
            Kind::Inet6 if length >= SHORTEST_SOLICITATION && super::neighbour::is_solicitation(pkt) => {
                pkt.pull_to_network().ok()?;
                let handled = self.neighbour_input(pkt);
                if handled.is_none() {
                    let _ = pkt.restore_l2();
                }
                handled
            }
            _ => None,
        }
    }

    /// A sub-interface pushes its tag and sends by its parent, whose counters know of it only on the underlay.
    fn send_tagged(&mut self, pkt: &mut Pkt, sub: &Vif) -> Stop {
        self.stats.sent(sub.id, pkt.frame.len());
        let untagged_mirror = sub.flags.contains(VifFlags::MIRROR_NOTAG);
        if untagged_mirror {
            self.mirror_sent(pkt, sub);
        }
        if let Err(stop) = tag(pkt, sub) {
            return stop;
        }
        if !untagged_mirror {
            self.mirror_sent(pkt, sub);
        }
        let Some(parent) = self.tables.vif(sub.parent) else { return Stop::Drop(DropReason::InvalidIf) };
        self.mirror_sent(pkt, parent);
        if parent.kind == VifKind::Physical {
            self.stats.sent(parent.id, pkt.frame.len());
        }
        Stop::Send(parent.id)
    }
}

/// Pushes the tag of a sub-interface. A tagged frame gets a second one only if the guest tagged it; without a tag to
/// push, the priority goes into the tag that is there.
fn tag(pkt: &mut Pkt, sub: &Vif) -> Step {
    let priority = u16::from(pkt.priority.unwrap_or(0)) << 13;
    let tagged = array(pkt.bytes(), 12) == Some([0x81, 0x00]);
    if sub.outer_vlan == 0 {
        if let (true, Some(control)) = (tagged, be16(pkt.bytes(), 14)) {
            put(pkt.frame.bytes_mut(), 14, (control | priority).to_be_bytes());
        }
        return Ok(());
    }
    if tagged && pkt.vlan.is_none() {
        return Ok(());
    }
    let macs = array::<12>(pkt.bytes(), 0).ok_or(DropReason::Pull)?;
    pkt.push(4)?;
    let bytes = pkt.frame.bytes_mut();
    put(bytes, 0, macs);
    put(bytes, 12, 0x8100u16.to_be_bytes());
    put(bytes, 14, (priority | sub.outer_vlan & 0xfff).to_be_bytes());
    Ok(())
}
