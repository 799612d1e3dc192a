/// Kind of a super-frame (virtio `gso_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum GsoKind {
    /// Not a super-frame.
    #[default]
    None = 0,
    /// TCP over IPv4.
    TcpV4 = 1,
    /// TCP over IPv6.
    TcpV6 = 4,
    /// UDP datagrams of equal size, IPv4 or IPv6.
    UdpL4 = 5,
}

/// Checksum and segmentation state of a frame, as a virtio-net header expresses it (virtio 1.2, 5.1.6).
///
/// Offsets count from the first byte of the frame *as the port received it*; whoever adds or removes
/// bytes in front moves [`Offload::csum_start`] along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum field holds the folded pseudo header sum only; somebody has to complete it.
    pub needs_csum: bool,
    /// The layer 4 checksum was verified by the sender of the metadata.
    pub csum_valid: bool,
    /// Kind of super-frame.
    pub gso: GsoKind,
    /// Payload bytes of one segment.
    pub gso_size: u16,
    /// Where checksumming starts; valid with `needs_csum`.
    pub csum_start: u16,
    /// Where the sum goes, counted from `csum_start`; valid with `needs_csum`.
    pub csum_offset: u16,
}

impl Offload {
    /// Complete checksums, no super-frame.
    pub const NONE: Self = Self {
        needs_csum: false,
        csum_valid: false,
        gso: GsoKind::None,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Whether the frame has to be segmented before a device that cannot do so.
    #[inline]
    #[must_use]
    pub const fn is_super_frame(&self) -> bool {
        !matches!(self.gso, GsoKind::None)
    }

    /// Whether there is nothing left to do before plain transmission.
    #[inline]
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        !self.needs_csum && !self.is_super_frame()
    }
}
