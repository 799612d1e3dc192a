//! One packet on the full path: its frame and everything known about it (forwarding.md 0.1).

use std::net::IpAddr;

use vr_frame::{Frame, Offload, Packet};
use vr_tables::epochs::NexthopGroup;
use vr_tables::flow::{State, Translation};
use vr_tables::nexthop::NexthopSlot;
use vr_types::{BridgeIndex, DropReason, FlowIndex, Mac, NexthopId, VifId, VrfId};

use crate::bytes::{array, be16};
use crate::verdict::Stop;

/// What a packet is, seen from its current header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Arp,
    Inet,
    Inet6,
    /// Tunnelled, with an IPv4 packet inside.
    InetInTunnel,
    /// Tunnelled, with an IPv6 packet inside.
    Inet6InTunnel,
    /// Tunnelled, with something else inside.
    OtherInTunnel,
    /// Injected by the agent to be sent as it is.
    Agent,
    Unknown,
}

impl Kind {
    pub(crate) const fn of_ethertype(ethertype: u16) -> Self {
        match ethertype {
            0x0800 => Self::Inet,
            0x86dd => Self::Inet6,
            0x0806 => Self::Arp,
            _ => Self::Unknown,
        }
    }

    /// Whether flows and routes apply.
    pub(crate) const fn is_ip(self) -> bool {
        matches!(self, Self::Inet | Self::Inet6)
    }
}

/// Where a packet goes on after its flow has let it pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Guest input: bridging.
    Bridge,
    /// IP input: routing.
    Route,
    /// Output of this nexthop.
    Nexthop(Target),
    /// Local receive after a relaxed policy check.
    Local,
}

/// A nexthop, described so that it is found again when a packet has waited: its slot may have changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) slot: NexthopSlot,
    pub(crate) id: NexthopId,
    pub(crate) vif: Option<VifId>,
    /// Epoch of the slot when it was right.
    pub(crate) epoch: u32,
}

/// What is compiled of a flow besides the way of its packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compilable {
    /// State of the entry when it let the packet pass.
    pub(crate) state: State,
    /// Group of the nexthop that checked the packet's source.
    pub(crate) checked_by: NexthopGroup,
    /// What was written into the packet, if its flow is translated.
    pub(crate) translation: Option<Translation>,
    /// The nexthop that led to the flow, or the one that the packet takes in its place.
    pub(crate) way: Option<NexthopSlot>,
    /// Whether it is the latter: the packet got another destination and VRF.
    pub(crate) moved: bool,
    /// The ECMP composite that the packet went through, and the position of its member that the flow names.
    pub(crate) member: Option<(NexthopSlot, u8)>,
}

/// A packet with its state.
#[derive(Debug)]
pub(crate) struct Pkt {
    pub(crate) frame: Frame,
    /// Checksum and segmentation state; `csum_start` of a partial checksum counts from the start of the *buffer*
    /// here.
    pub(crate) offload: Offload,
    /// Interface that it came from; injected packets take the one that the agent names.
    pub(crate) vif: VifId,
    /// Window of the frame as received: headroom and length.
    pub(crate) received: (u16, u32),
    pub(crate) kind: Kind,
    /// Position of the current layer 3 header in the buffer.
    pub(crate) network: u16,
    /// Position of the innermost layer 3 header in the buffer.
    pub(crate) inner_network: u16,
    /// VRF in which lookups are made now.
    pub(crate) vrf: VrfId,
    pub(crate) flow: Option<FlowIndex>,
    /// Packets and bytes that an evicted flow has left in the entry that this packet made.
    pub(crate) left: (u64, u64),
    /// Label or VNI: on ingress the received one, on egress the one to push.
    pub(crate) label: Option<u32>,
    pub(crate) label_is_vni: bool,
    /// Source of the tunnel header that the packet came in.
    pub(crate) outer_source: Option<IpAddr>,
    /// Outermost VLAN of the frame.
    pub(crate) vlan: Option<u16>,
    /// Chosen member of a composite and the member that the source check found, -1 for none.
    pub(crate) ecmp: i8,
    pub(crate) ecmp_source: i8,
    /// Underlay link that the flow says, negative for none.
    pub(crate) underlay: i8,
    /// Source port of the outer header, 0 if not chosen yet.
    pub(crate) udp_source_port: u16,
    /// Nexthop that is being processed.
    pub(crate) nexthop: Option<NexthopSlot>,
    /// Working TTL.
    pub(crate) ttl: u8,
    pub(crate) multicast: bool,
    /// Addressed to us on layer 2, or its VRF was translated: must be routed.
    pub(crate) to_me: bool,
    /// Came to an address of the host by a port of a link-local service.
    pub(crate) for_service: bool,
    /// Force local receive (cross-connect mode).
    pub(crate) force_local: bool,
    pub(crate) flow_done: bool,
    pub(crate) flow_wanted: bool,
    /// A copy made by mirroring.
    pub(crate) mirror_copy: bool,
    pub(crate) diagnostic: bool,
    /// Answered with the interface's own MAC.
    pub(crate) own_mac: bool,
    /// Push a control word in front of the frame.
    pub(crate) control_word: bool,
    /// Priority of the VLAN tag that a sub-interface took off.
    pub(crate) priority: Option<u8>,
    /// The packet's flow is simple: what is found out now may be compiled.
    pub(crate) compilable: Option<Compilable>,
    /// Bridge entry that the packet passed.
    pub(crate) bridge: BridgeIndex,
    /// How often local receive may still route it.
    pub(crate) local_ttl: u8,
    /// How many more nexthops it may pass.
    pub(crate) hops: u8,
    /// Length of the frame in front of the layer 3 header that was pulled, to be restored.
    pub(crate) l2_len: u16,
}

/// Bound on the nexthops that one packet passes; tables that lead in a circle end here.
const HOPS: u8 = 24;

/// VLAN tags that are looked behind. Positions behind all that a super-frame has room for would not be in sixteen bits.
pub(super) const TAGS: usize = 4;

impl Pkt {
    pub(crate) fn new(packet: Packet, vif: VifId, vrf: VrfId) -> Self {
        let Packet { frame, mut offload } = packet;
        if offload.needs_csum {
            offload.csum_start = offload.csum_start.wrapping_add(frame.headroom() as u16);
        }
        Self {
            received: (frame.headroom() as u16, frame.len() as u32),
            network: frame.headroom() as u16,
            inner_network: frame.headroom() as u16,
            frame,
            offload,
            vif,
            kind: Kind::Unknown,
            vrf,
            flow: None,
            left: (0, 0),
            label: None,
            label_is_vni: false,
            outer_source: None,
            vlan: None,
            ecmp: -1,
            ecmp_source: -1,
            underlay: -1,
            udp_source_port: 0,
            nexthop: None,
            ttl: 64,
            multicast: false,
            to_me: false,
            for_service: false,
            force_local: false,
            flow_done: false,
            flow_wanted: false,
            mirror_copy: false,
            diagnostic: false,
            own_mac: false,
            control_word: false,
            priority: None,
            compilable: None,
            bridge: BridgeIndex::NONE,
            local_ttl: 4,
            hops: HOPS,
            l2_len: 0,
        }
    }

    /// A copy of the packet in another frame that holds the same bytes in the same window.
    pub(crate) fn with_frame(&self, frame: Frame, offload: Offload) -> Self {
        // The copy's buffer is laid out like the original's, so positions stay.
        Self { frame, offload, ..*self }
    }

    /// The packet as ports take it.
    pub(crate) fn into_packet(self) -> Packet {
        let mut offload = self.offload;
        if offload.needs_csum {
            offload.csum_start = offload.csum_start.wrapping_sub(self.frame.headroom() as u16);
        }
        Packet { frame: self.frame, offload }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.frame.bytes()
    }

    /// Offset of a buffer position in the current window.
    pub(crate) fn offset(&self, position: u16) -> usize {
        usize::from(position).wrapping_sub(self.frame.headroom())
    }

    /// Bytes from the current layer 3 header on.
    pub(crate) fn l3(&self) -> &[u8] {
        self.frame.bytes().get(self.offset(self.network)..).unwrap_or_default()
    }

    pub(crate) fn l3_mut(&mut self) -> &mut [u8] {
        let at = self.offset(self.network);
        self.frame.bytes_mut().get_mut(at..).unwrap_or_default()
    }

    /// Removes the bytes in front of the layer 3 header.
    pub(crate) fn pull_to_network(&mut self) -> Result<(), Stop> {
        let count = self.offset(self.network);
        self.l2_len = count as u16;
        self.pull(count)
    }

    /// Brings back what [`Pkt::pull_to_network`] removed.
    pub(crate) fn restore_l2(&mut self) -> Result<(), Stop> {
        let count = usize::from(std::mem::take(&mut self.l2_len));
        self.push(count)
    }

    pub(crate) fn pull(&mut self, count: usize) -> Result<(), Stop> {
        self.frame.pull(count).ok_or(Stop::Drop(DropReason::Pull))
    }

    pub(crate) fn push(&mut self, count: usize) -> Result<(), Stop> {
        self.frame.push(count).map(|_| ()).ok_or(Stop::Drop(DropReason::Push))
    }

    /// Back to the window as received; bytes that were changed in place stay changed.
    pub(crate) fn rewind(&mut self) {
        let (headroom, len) = self.received;
        let fits = self.frame.set_window(usize::from(headroom), len as usize);
        debug_assert!(fits.is_some(), "a window that was received fits its buffer");
    }

    pub(crate) fn destination_mac(&self) -> Option<Mac> {
        array(self.bytes(), 0).map(Mac)
    }

    pub(crate) fn source_mac(&self) -> Option<Mac> {
        array(self.bytes(), 6).map(Mac)
    }

    /// Classifies the Ethernet frame at `offset` of the window (forwarding.md 2.1). What stands behind more than four
    /// VLAN tags is unknown.
    pub(crate) fn classify(&mut self, offset: usize) -> Result<(), Malformed> {
        let bytes = self.frame.bytes();
        let first = *bytes.get(offset).ok_or(Malformed)?;
        self.multicast = first & 1 != 0;
        let mut at = offset + 12;
        let mut ethertype = be16(bytes, at).ok_or(Malformed)?;
        let end = at + 4 * TAGS;
        while ethertype == 0x8100 && at < end {
            let tag = be16(bytes, at + 2).ok_or(Malformed)?;
            if self.vlan.is_none() {
                self.vlan = Some(tag & 0xfff);
            }
            at += 4;
            ethertype = be16(bytes, at).ok_or(Malformed)?;
        }
        self.kind = Kind::of_ethertype(ethertype);
        self.network = (self.frame.headroom() + at + 2) as u16;
        self.inner_network = self.network;
        Ok(())
    }

    /// Classifies the IP packet at the start of the window by its version.
    pub(crate) fn classify_ip(&mut self) -> Result<(), Stop> {
        self.kind = match self.frame.bytes().first().map(|byte| byte >> 4) {
            Some(4) => Kind::Inet,
            Some(6) => Kind::Inet6,
            _ => return Err(Stop::Drop(DropReason::InvalidProtocol)),
        };
        self.network = self.frame.headroom() as u16;
        self.inner_network = self.network;
        Ok(())
    }
}

/// A frame that ends inside its Ethernet header.
#[derive(Debug)]
pub(crate) struct Malformed;

#[cfg(test)]
mod tests {
    use vr_frame::{Packet, PoolSet, PoolSizes};
    use vr_types::{VifId, VrfId};

    use super::{Kind, Pkt};

    #[test]
    fn what_is_behind_many_tags_is_unknown() {
        let mut pool = PoolSet::new(1, PoolSizes { packets: 64, supers: 1 }).unwrap().1.remove(0);
        for (tags, kind) in [(0, Kind::Inet), (4, Kind::Inet), (5, Kind::Unknown), (16_330, Kind::Unknown)] {
            let mut bytes = vec![2; 12];
            bytes.extend([0x81, 0, 0, 5].repeat(tags));
            bytes.extend([0x08, 0, 0x45]);
            let mut pkt = Pkt::new(Packet::plain(pool.copy_of(&bytes).unwrap()), VifId(3), VrfId(1));
            assert!(pkt.classify(0).is_ok());
            assert_eq!((pkt.kind, pkt.vlan), (kind, (tags > 0).then_some(5)), "{tags} tags");
            assert_eq!(pkt.offset(pkt.network), 14 + 4 * tags.min(4));
            pool.free(pkt.frame);
        }
    }
}
