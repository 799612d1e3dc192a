//! Ethernet II (IEEE 802.3).

use vr_types::Mac;

use crate::header::header;

/// Values of the type field.
pub mod ethertype {
    /// IPv4.
    pub const INET: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const INET6: u16 = 0x86dd;
    /// MPLS unicast.
    pub const MPLS: u16 = 0x8847;
    /// Service VLAN tag (IEEE 802.1ad).
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Provider backbone bridging (IEEE 802.1ah).
    pub const PBB: u16 = 0x88e7;
}

header! {
    /// Ethernet header; the type may be that of a VLAN tag.
    Ethernet[14] {
        /// Address of the receiver.
        destination / set_destination: Mac = 0;
        /// Address of the sender.
        source / set_source: Mac = 6;
        /// Type of what follows, see [`ethertype`].
        ethertype / set_ethertype: u16 = 12;
    }
}

#[cfg(test)]
mod tests {
    use vr_types::Mac;

    use super::{Ethernet, LEN, ethertype};
    use crate::Error;

    #[test]
    fn fields_are_where_they_belong() {
        let mut header = Ethernet::new([0; LEN]);
        header.set_destination(Mac([1, 2, 3, 4, 5, 6]));
        header.set_source(Mac([7, 8, 9, 10, 11, 12]));
        header.set_ethertype(ethertype::INET6);
        assert_eq!(header.as_bytes(), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd]);
        let view = Ethernet::new_checked(header.as_bytes()).unwrap();
        assert_eq!(
            (view.destination(), view.source(), view.ethertype()),
            (Mac([1, 2, 3, 4, 5, 6]), Mac([7, 8, 9, 10, 11, 12]), 0x86dd)
        );
        assert_eq!(Ethernet::new_checked(&[0; 13]), Err(Error::Truncated));
    }
}
