//! Output to local interfaces and underlay neighbours (forwarding.md 4.7 to 4.9).

use vr_tables::nexthop::{Encap, Nexthop, NexthopFamily, NexthopFlags};
use vr_tables::stats::VrfCounter;
use vr_tables::vif::{Vif, VifKind};
use vr_types::{DropReason, Mac, Release, Trap, TrapReason};

use super::{Full, Pkt};
use crate::bytes::{array, be16, put};
use crate::verdict::{Step, Stop};

impl Full<'_> {
    pub(super) fn encap(&mut self, pkt: &mut Pkt, nexthop: &Nexthop, encap: &Encap) -> Stop {
        // An interface that is gone discards what surviving nexthops send it.
        let Some(vif) = self.tables.vif(encap.vif) else { return Stop::Drop(DropReason::InterfaceTxDiscard) };
        let result = match nexthop.family {
            NexthopFamily::Bridge => {
                self.count_vrf(pkt.vrf, VrfCounter::L2Encaps);
                Ok(())
            }
            _ if nexthop.flags.contains(NexthopFlags::MCAST) => self.encap_group(pkt, vif),
            _ => self.encap_routed(pkt, vif, encap),
        };
        match result {
            Ok(()) => self.send(pkt, vif.id),
            Err(stop) => stop,
        }
    }

    fn encap_routed(&mut self, pkt: &mut Pkt, vif: &Vif, encap: &Encap) -> Step {
        if !matches!(pkt.bytes().first().map(|byte| byte >> 4), Some(4 | 6)) {
            return Err(DropReason::InvalidProtocol.into());
        }
        let inet6 = pkt.bytes()[0] >> 4 == 6;
        if vif.kind == VifKind::Agent {
            return Err(self.to_agent(pkt));
        }
        if self.keeps_host_header(pkt, vif) {
            pkt.rewind();
        } else {
            push_rewrite(pkt, &encap.rewrite, inet6).map_err(|_| DropReason::RewriteFail)?;
        }
        if pkt.diagnostic {
            self.count_vrf(pkt.vrf, VrfCounter::Diags);
            pkt.vif = vif.id;
            return Err(Stop::Trap(Trap::with(TrapReason::Diag, u32::from(vif.id.0))));
        }
        self.count_vrf(pkt.vrf, VrfCounter::Encaps);
        Ok(())
    }

    /// A packet routed to the agent: it gets the frame as it was received.
    fn to_agent(&mut self, pkt: &Pkt) -> Stop {
        let bytes = pkt.bytes();
        let header = usize::from(bytes[0] & 0xf) * 4;
        let bfd = bytes[0] >> 4 == 4 && bytes.get(9) == Some(&17) && be16(bytes, header + 2) == Some(3784);
        self.count_vrf(pkt.vrf, VrfCounter::Encaps);
        // R2.20 knows no reason for BFD.
        let bfd = bfd && self.tables.options.release == Release::Current;
        Stop::Trap(match bytes.get(header + 9).filter(|_| bfd) {
            Some(state) => Trap::with(TrapReason::Bfd, u32::from(state & 0xc0)),
            None => Trap::new(TrapReason::Nexthop),
        })
    }

    /// Traffic of the host keeps the Ethernet header that its kernel wrote (forwarding.md 1.5).
    fn keeps_host_header(&self, pkt: &Pkt, vif: &Vif) -> bool {
        if vif.kind != VifKind::Physical || pkt.mirror_copy || pkt.ecmp_source != -1 || !pkt.kind.is_ip() {
            return false;
        }
        let Some(host) = self.tables.vif(pkt.vif).filter(|vif| vif.kind == VifKind::Host) else {
            return false;
        };
        let written = pkt.frame.buffer_bytes(usize::from(pkt.received.0), 6).and_then(Mac::from_slice);
        written.is_some_and(|mac| mac != host.mac)
    }

    /// Multicast IPv4 to a local interface.
    fn encap_group(&mut self, pkt: &mut Pkt, vif: &Vif) -> Step {
        let bytes = pkt.bytes();
        if bytes.first().map(|byte| byte >> 4) != Some(4) {
            return Err(DropReason::InvalidProtocol.into());
        }
        let [_, b, c, d] = array::<4>(bytes, 16).ok_or(DropReason::Pull)?;
        let mac = Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]);
        self.count_vrf(pkt.vrf, VrfCounter::Encaps);
        push_ethernet(pkt, mac, vif.mac, 0x0800)
    }
}

/// Writes a nexthop's layer 2 header in front of an IP packet.
pub(super) fn push_rewrite(pkt: &mut Pkt, rewrite: &[u8], inet6: bool) -> Step {
    if rewrite.is_empty() {
        return Ok(());
    }
    pkt.push(rewrite.len())?;
    let bytes = pkt.frame.bytes_mut();
    bytes[..rewrite.len()].copy_from_slice(rewrite);
    let ethertype: u16 = if inet6 { 0x86dd } else { 0x0800 };
    if let Some(at) = rewrite.len().checked_sub(2) {
        put(bytes, at, ethertype.to_be_bytes());
    }
    Ok(())
}

/// Writes an Ethernet header in front of the packet.
pub(super) fn push_ethernet(pkt: &mut Pkt, destination: Mac, source: Mac, ethertype: u16) -> Step {
    pkt.push(14)?;
    let bytes = pkt.frame.bytes_mut();
    put(bytes, 0, destination.0);
    put(bytes, 6, source.0);
    put(bytes, 12, ethertype.to_be_bytes());
    Ok(())
}
