//! VXLAN (RFC 7348).

use vr_types::Vni;

use crate::header::header;

/// The network identifier is valid.
pub const VALID: u32 = 0x0800_0000;
/// Router alert: the packet is for the node itself (forwarding.md 5.3).
pub const ROUTER_ALERT: u32 = 0x0100_0000;

header! {
    /// VXLAN header.
    Vxlan[8] {
        /// Flags, see [`VALID`] and [`ROUTER_ALERT`].
        flags / set_flags: u32 = 0;
        /// Network identifier and a reserved byte.
        vni_word / set_vni_word: u32 = 4;
    }
}

impl<B: core::borrow::Borrow<[u8; LEN]>> Vxlan<B> {
    /// Network identifier; `None` when the header does not call it valid.
    #[inline]
    pub fn vni(&self) -> Option<Vni> {
        (self.flags() & VALID != 0).then(|| Vni(self.vni_word() >> 8))
    }
}

impl Vxlan<[u8; LEN]> {
    /// A header for a network; of `vni` the low 24 bits count.
    #[must_use]
    pub fn for_network(vni: Vni) -> Self {
        let mut header = Self::new([0; LEN]);
        header.set_flags(VALID);
        header.set_vni_word(vni.0 << 8);
        header
    }
}

#[cfg(test)]
mod tests {
    use vr_types::Vni;

    use super::{LEN, ROUTER_ALERT, Vxlan};

    #[test]
    fn header_of_the_specification() {
        let header = Vxlan::for_network(Vni(5001));
        assert_eq!(header.as_bytes(), &[8, 0, 0, 0, 0, 0x13, 0x89, 0]);
        assert_eq!(header.vni(), Some(Vni(5001)));
        assert_eq!(Vxlan::new([0; LEN]).vni(), None);
        let alert = Vxlan::new([9, 0, 0, 0, 0xff, 0xff, 0xff, 7]);
        assert_eq!((alert.flags() & ROUTER_ALERT, alert.vni()), (ROUTER_ALERT, Some(Vni(0x00ff_ffff))));
    }
}
