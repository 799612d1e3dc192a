use vr_tables::flow::Source;

const TCP: u32 = 6;

/// What the stages know about one packet: exactly one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct PktMeta {
    /// IPv4 flow key, as it is hashed.
    pub(super) key: [u32; 5],
    /// Primary and secondary hash of the key.
    pub(super) hash: [u32; 2],
    /// Where the entry may be.
    pub(super) flow: u32,
    /// Compared with the compiled source.
    pub(super) source: Source,
    /// Nexthop object to leave by.
    pub(super) nexthop: u32,
    /// Label or VNI to push, [`PktMeta::NO_LABEL`] for none.
    pub(super) label: u32,
    /// Bridge entry to count, [`vr_types::BridgeIndex::NONE`] for none.
    pub(super) bridge: u32,
    /// VRF whose counters the packet belongs to.
    pub(super) vrf: u16,
    /// Offset of the inner frame (bridged) or inner IP header (routed) in the frame as received.
    pub(super) inner: u16,
    /// Interface to send by.
    pub(super) to: vr_types::VifId,
    /// TTL of the label, for encapsulation.
    pub(super) ttl: u8,
    /// How the packet leaves.
    pub(super) egress: Egress,
    /// Whether the flow stage has to let it pass.
    pub(super) policy: bool,
    /// Destination of the guest's frame, or of the frame behind a VNI.
    pub(super) mac: vr_types::Mac,
    /// The flow says that the packet gets other addresses or ports.
    pub(super) translated: bool,
}

impl PktMeta {
    pub(super) const NO_LABEL: u32 = u32::MAX;

    /// Whether the packet is TCP, by its key: its acknowledgement number is kept.
    #[inline]
    pub(super) const fn is_tcp(&self) -> bool {
        self.key[0] >> 8 == TCP
    }
}

/// How a packet on the fast lane leaves. In bits, because every packet is asked: 1 routed, 2 delivered, 4 by a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Egress {
    /// As the Ethernet frame that it is.
    #[default]
    Bridged = 0,
    /// As the IP packet that it is, TTL less one.
    Routed = 1,
    /// As the IP packet behind a label, TTL unchanged.
    Delivered = 2,
    /// Routed, by a member of a composite.
    RoutedByMember = 5,
    /// Delivered, by a member of a composite.
    DeliveredByMember = 6,
}

impl Egress {
    /// Whether the packet is routed here.
    #[inline]
    pub(super) const fn is_routed(self) -> bool {
        self as u8 & 1 != 0
    }

    /// Whether the packet came without an Ethernet header.
    #[inline]
    pub(super) const fn is_delivered(self) -> bool {
        self as u8 & 2 != 0
    }

    /// Whether the packet passes a composite.
    #[inline]
    pub(super) const fn is_by_member(self) -> bool {
        self as u8 & 4 != 0
    }
}

const _: () = assert!(size_of::<PktMeta>() == 64);
