//! Last stage: does the packet fit its nexthop, then rewrite, count, send.

use vr_frame::{BATCH, Offload, Packet};
use vr_tables::bridge::BridgeCounting;
use vr_tables::flow::Marks;
use vr_tables::nexthop::{Encap, Nexthop, NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot, Tunnel};
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{BridgeIndex, VifId, VrfId};
use vr_wire::checksum;
use vr_wire::encap::{Patch, entropy_port};
use vr_wire::ipv4::{self, Ipv4};

use super::meta::{Egress, PktMeta};
use super::tally::Tally;
use super::{Lane, flow, positions, translate};
use crate::full::Full;

/// Nexthops with these flags need the full path.
const SPECIAL: NexthopFlags = NexthopFlags::TUNNEL_UNDERLAY_ECMP
    .union(NexthopFlags::CRYPT_TRAFFIC)
    .union(NexthopFlags::L3_VXLAN)
    .union(NexthopFlags::MCAST);

/// Ethernet header of a guest's frame.
const ETHERNET: usize = 14;
/// IPv4 header without options.
const INET: usize = ipv4::LEN;

/// A nexthop that was looked over for packets that leave in one way.
#[derive(Clone, Copy)]
struct Way<'a> {
    nexthop: u32,
    egress: Egress,
    to: VifId,
    leave: Leave<'a>,
}

#[derive(Clone, Copy)]
enum Leave<'a> {
    /// To a guest; the Ethernet header of routed packets.
    Guest([u8; ETHERNET]),
    /// Into a tunnel that takes packets of so many bytes.
    Tunnel(&'a Tunnel, usize),
}

/// Sends the packets of a batch, which came from the fabric or from a guest.
pub(super) struct Departures<'a, const FROM_FABRIC: bool> {
    full: &'a Full<'a>,
    tally: &'a mut Tally,
    marks: Marks<'a>,
    bridge: BridgeCounting<'a>,
    /// The way of the packet before: the next one often has the same.
    way: Option<Way<'a>>,
}

impl<'a, const FROM_FABRIC: bool> Departures<'a, FROM_FABRIC> {
    pub(super) fn new(full: &'a Full<'a>, tally: &'a mut Tally) -> Self {
        let (marks, bridge) = (full.flows.marks_of(full.worker), full.bridge.counting(full.worker));
        Self { full, tally, marks, bridge, way: None }
    }

    /// Sends the packets that their nexthop can take as they are: rewrites and counts them, and notes where they
    /// go. The others are not touched. Gives the packets that were sent.
    pub(super) fn forward(&mut self, lane: Lane, meta: &mut [PktMeta; BATCH], batch: &mut [Packet]) -> Lane {
        let mut sent = lane;
        for position in positions(lane) {
            if self.forward_one(&mut meta[position], &mut batch[position]).is_none() {
                sent &= !(1 << position);
            }
        }
        sent
    }

    #[inline]
    fn forward_one(&mut self, meta: &mut PktMeta, packet: &mut Packet) -> Option<()> {
        if !self.way.as_ref().is_some_and(|way| way.nexthop == meta.nexthop && way.egress == meta.egress) {
            self.way = Some(find_way(self.full, meta)?);
        }
        let Way { to, ref leave, .. } = *self.way.as_ref()?;
        let received = packet.frame.len();
        if meta.translated && !translate::fits(meta, packet) {
            return None;
        }
        match *leave {
            Leave::Guest(ref ethernet) => {
                let ethernet = *ethernet;
                self.to_guest(meta, packet, &ethernet);
            }
            // What came from the fabric never goes back to it here.
            Leave::Tunnel(..) if FROM_FABRIC => return None,
            Leave::Tunnel(tunnel, longest) if meta.egress == Egress::Bridged => {
                self.into_tunnel::<0>(meta, packet, tunnel, longest)?;
            }
            Leave::Tunnel(tunnel, longest) => self.into_tunnel::<ETHERNET>(meta, packet, tunnel, longest)?,
        }
        self.tally.received(received);
        self.tally.sent(self.full.stats, to, packet.frame.len());
        meta.to = to;
        Some(())
    }

    /// Counts what the packet passes before its nexthop; for routed packets one off the TTL.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "measured: called for every packet, in three places")]
    fn pass_tables(&mut self, meta: &PktMeta, packet: &mut Packet) {
        let Self { full, tally, marks, bridge, .. } = self;
        tally.enter(full.stats, VrfId(meta.vrf));
        let inner = if FROM_FABRIC { usize::from(meta.inner) } else { 0 };
        if meta.bridge != BridgeIndex::NONE.0 {
            bridge.count(BridgeIndex(meta.bridge));
            tally.vrf.translates += u32::from(FROM_FABRIC);
        }
        if meta.policy {
            flow::count(full, *marks, meta, packet.frame.len() - inner);
            if meta.is_tcp() {
                let ethernet = if meta.egress.is_delivered() { 0 } else { ETHERNET };
                flow::acknowledge(full, meta, packet.frame.bytes(), inner + ethernet + INET);
            }
        }
        if meta.translated {
            translate::translate(full, meta, packet);
        }
        if meta.egress.is_by_member() {
            tally.vrf.balanced += 1;
        }
        if !FROM_FABRIC && meta.egress.is_routed() {
            // What goes on in another VRF is routed whatever its MAC.
            tally.vrf.l2_receives += u32::from(meta.bridge != BridgeIndex::NONE.0);
            if let Some(header) = inet_header(packet) {
                Ipv4::<&mut [u8; INET]>::new(header).decrement_ttl();
            }
        }
    }

    #[inline]
    fn to_guest(&mut self, meta: &PktMeta, packet: &mut Packet, ethernet: &[u8; ETHERNET]) {
        self.pass_tables(meta, packet);
        let inner = usize::from(meta.inner);
        // The stage that parsed the packet saw that many bytes. A partial checksum stays where it is: only frames of
        // guests have one here, and those lose nothing in front.
        let _ = packet.frame.pull(if meta.egress.is_delivered() { inner - ETHERNET } else { inner });
        if meta.egress == Egress::Bridged {
            self.tally.vrf.l2_encaps += 1;
            return;
        }
        self.tally.vrf.encaps += 1;
        if let Some(header) = packet.frame.bytes_mut().first_chunk_mut() {
            *header = *ethernet;
        }
    }

    /// Sends a guest's packet into a tunnel that takes packets of so many bytes. `CUT` bytes stay behind: a routed
    /// packet leaves without the guest's Ethernet header.
    #[inline]
    fn into_tunnel<const CUT: usize>(
        &mut self,
        meta: &PktMeta,
        packet: &mut Packet,
        tunnel: &Tunnel,
        longest: usize,
    ) -> Option<()> {
        let payload = packet.frame.len() - CUT;
        let header = inet_header(packet)?;
        let id = u16::from_be_bytes([header[4], header[5]]);
        if meta.label == PktMeta::NO_LABEL || payload > longest {
            return None;
        }
        let ttl = if CUT == 0 { 64 } else { meta.ttl };
        let source_port = entropy_port(meta.hash[1]);
        let patch = Patch { payload, id, label: meta.label, ttl, source_port };
        // The first thing that changes anything is also the last one that may fail.
        tunnel.template.write(packet.frame.before_mut(CUT)?, patch);
        self.pass_tables(meta, packet);
        if packet.offload.needs_csum {
            complete_checksum(packet);
        }
        self.tally.vrf.tunnels[tunnel.kind as usize] += 1;
        // There is more room than that: it was written to.
        let _ = packet.frame.push(tunnel.template.len() - CUT);
        Some(())
    }
}

/// Completes a partial checksum, for nobody behind a tunnel could. The stage that parsed the packet saw that it can be.
fn complete_checksum(packet: &mut Packet) {
    let (start, field) = (packet.offload.csum_start, packet.offload.csum_offset);
    let complete = checksum::complete(packet.frame.bytes_mut(), usize::from(start), usize::from(field));
    debug_assert!(complete, "the field lies in the frame");
    packet.offload = Offload { needs_csum: false, csum_start: 0, csum_offset: 0, ..packet.offload };
}

/// The header of a guest's packet.
#[inline]
fn inet_header(packet: &mut Packet) -> Option<&mut [u8; INET]> {
    packet.frame.bytes_mut().get_mut(ETHERNET..)?.first_chunk_mut()
}

/// Looks a nexthop over: can it take packets that leave like this one?
#[inline(never)]
fn find_way<'a>(full: &Full<'a>, meta: &PktMeta) -> Option<Way<'a>> {
    let nexthop = full.tables.nexthop(NexthopSlot(meta.nexthop))?;
    if !nexthop.flags.contains(NexthopFlags::VALID) || nexthop.flags.intersects(SPECIAL) {
        return None;
    }
    let (to, leave) = match &nexthop.action {
        NexthopAction::Encap(encap) => (encap.vif, way_to_guest(full, meta.egress, nexthop, encap)?),
        NexthopAction::Tunnel(tunnel) => (tunnel.vif, way_into_tunnel(full, tunnel)?),
        _ => return None,
    };
    Some(Way { nexthop: meta.nexthop, egress: meta.egress, to, leave })
}

fn way_to_guest<'a>(full: &Full<'a>, egress: Egress, nexthop: &Nexthop, encap: &Encap) -> Option<Leave<'a>> {
    let bridged = egress == Egress::Bridged;
    let mut ethernet = [0; ETHERNET];
    if !bridged {
        ethernet = *encap.rewrite.first_chunk().filter(|_| encap.rewrite.len() == ETHERNET)?;
        [ethernet[12], ethernet[13]] = [0x08, 0x00];
    }
    let family_fits = (nexthop.family == NexthopFamily::Bridge) == bridged;
    (family_fits && takes_plain(full.tables.vif(encap.vif)?, VifKind::Virtual))
        .then_some(Leave::Guest(ethernet))
}

fn way_into_tunnel<'a>(full: &Full<'a>, tunnel: &'a Tunnel) -> Option<Leave<'a>> {
    let vif = full.tables.vif(tunnel.vif)?;
    let longest = Full::mtu(vif).checked_sub(tunnel.kind.overhead())?;
    (takes_plain(vif, VifKind::Physical) && tunnel.transport_label.is_none())
        .then_some(Leave::Tunnel(tunnel, longest))
}

fn takes_plain(vif: &Vif, kind: VifKind) -> bool {
    vif.kind == kind && !vif.flags.intersects(VifFlags::MIRROR_TX | VifFlags::MONITORED)
}
