//! Input from the underlay and from the host's side (forwarding.md 1.5, 2.2).

use vr_tables::stats::VifCounter;
use vr_tables::vif::{Vif, VifFlags};
use vr_types::{DropReason, Mac};

use super::{Full, Kind, Pkt};
use crate::bytes::array;
use crate::verdict::Stop;

impl Full<'_> {
    pub(super) fn from_fabric(&mut self, pkt: &mut Pkt, vif: &Vif) -> Stop {
        self.stats.received(vif.id, pkt.frame.len());
        self.mirror_received(pkt, vif);
        pkt.force_local = vif.flags.contains(VifFlags::XCONNECT);
        if let Some(sub) = self.demultiplex(pkt, vif) {
            return self.from_sub_interface(pkt, sub);
        }
        self.fabric_input(pkt, vif)
    }

    /// The sub-interface that a tagged frame belongs to.
    pub(super) fn demultiplex<'t>(&self, pkt: &Pkt, vif: &Vif) -> Option<&'t Vif>
    where
        Self: 't,
    {
        if vif.details.sub_interfaces.is_empty() {
            return None;
        }
        let tag = array::<4>(pkt.bytes(), 12)?;
        let vlan = if tag[..2] == [0x81, 0x00] {
            u16::from_be_bytes([tag[2], tag[3]]) & 0xfff
        } else if vif.flags.contains(VifFlags::NATIVE_VLAN_TAG) {
            0
        } else {
            return None;
        };
        let source = pkt.source_mac().unwrap_or(Mac::ZERO);
        self.tables.sub_interface(vif, vlan, source)
    }

    /// Input of frames from underlay and host alike.
    pub(super) fn fabric_input(&mut self, pkt: &mut Pkt, vif: &Vif) -> Stop {
        pkt.vrf = vif.vrf;
        if pkt.classify(0).is_err() {
            self.stats.vif(vif.id, VifCounter::InErrors, 1);
            return Stop::Drop(DropReason::InterfaceDrop);
        }
        if pkt.kind == Kind::Inet6 && !self.tables.roles.inet6_underlay {
            return self.cross_connect(pkt);
        }
        let neighbour = pkt.kind == Kind::Inet6 && super::neighbour::is_neighbour_discovery(pkt);
        if pkt.multicast && pkt.kind != Kind::Arp && !neighbour {
            return self.cross_connect(pkt);
        }
        if let Err(stop) = pkt.pull_to_network() {
            return stop;
        }
        match pkt.kind {
            Kind::Inet => self.inet_input(pkt),
            Kind::Arp => match self.arp_input(pkt) {
                Some(stop) => stop,
                None => self.cross_connect(pkt),
            },
            Kind::Inet6 if neighbour => match self.neighbour_input(pkt) {
                Some(stop) => stop,
                None => self.cross_connect(pkt),
            },
            Kind::Inet6 => self.inet6_input(pkt),
            _ => self.cross_connect(pkt),
        }
    }
}
