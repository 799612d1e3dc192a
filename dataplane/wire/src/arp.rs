//! ARP for IPv4 over Ethernet (RFC 826).

use vr_types::Mac;

use crate::Error;
use crate::header::header;

/// Values of the operation field.
pub mod operation {
    /// Who has the target address?
    pub const REQUEST: u16 = 1;
    /// The sender has it.
    pub const REPLY: u16 = 2;
}

/// Hardware type Ethernet, protocol IPv4, address lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

header! {
    /// The body of an ARP packet.
    ///
    /// Sound: IPv4 over Ethernet, a request or a reply (forwarding.md 7.1).
    Arp[28] check check {
        /// What is resolved: types and lengths of the addresses.
        kind / set_kind: [u8; 6] = 0;
        /// See [`operation`].
        operation / set_operation: u16 = 6;
        /// Ethernet address of the sender.
        sender_mac / set_sender_mac: Mac = 8;
        /// IPv4 address of the sender.
        sender / set_sender: [u8; 4] = 14;
        /// Ethernet address of the target; meaningless in a request.
        target_mac / set_target_mac: Mac = 18;
        /// IPv4 address of the target.
        target / set_target: [u8; 4] = 24;
    }
}

#[inline]
fn check(header: &[u8; LEN], _available: usize) -> Result<(), Error> {
    let arp = Arp::new(header);
    let known = matches!(arp.operation(), operation::REQUEST | operation::REPLY);
    if arp.kind() == KIND && known { Ok(()) } else { Err(Error::Malformed) }
}

impl<B: core::borrow::Borrow<[u8; LEN]>> Arp<B> {
    /// Whether it is a request.
    #[inline]
    pub fn is_request(&self) -> bool {
        self.operation() == operation::REQUEST
    }

    /// Whether the sender asks for its own address, or has none yet: announcement or probe
    /// (forwarding.md 7.1).
    #[inline]
    pub fn is_gratuitous(&self) -> bool {
        self.sender() == [0; 4] || self.sender() == self.target()
    }
}

impl<B: core::borrow::BorrowMut<[u8; LEN]>> Arp<B> {
    /// Turns a request into the reply that `mac` has the requested address (forwarding.md 7.4).
    #[inline]
    pub fn answer(&mut self, mac: Mac) {
        let (asker_mac, asker, requested) = (self.sender_mac(), self.sender(), self.target());
        self.set_operation(operation::REPLY);
        self.set_sender_mac(mac);
        self.set_sender(requested);
        self.set_target_mac(asker_mac);
        self.set_target(asker);
    }
}

impl Arp<[u8; LEN]> {
    /// A request of the station `mac` with address `sender` for the address `target`.
    #[must_use]
    pub fn request(mac: Mac, sender: [u8; 4], target: [u8; 4]) -> Self {
        let mut body = Self::new([0; LEN]);
        body.set_kind(KIND);
        body.set_operation(operation::REQUEST);
        body.set_sender_mac(mac);
        body.set_sender(sender);
        body.set_target(target);
        body
    }
}

#[cfg(test)]
mod tests {
    use vr_types::Mac;

    use super::{Arp, LEN};
    use crate::Error;

    /// forwarding.md 7.4, behind the Ethernet header.
    const REQUEST: [u8; LEN] = [
        0, 1, 8, 0, 6, 4, 0, 1, 0x02, 0x0a, 0, 0, 0, 0x04, 0x0a, 0, 0, 0x04, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0,
        0x01,
    ];
    const REPLY: [u8; LEN] = [
        0, 1, 8, 0, 6, 4, 0, 2, 0, 0, 0x5e, 0, 0x01, 0, 0x0a, 0, 0, 0x01, 0x02, 0x0a, 0, 0, 0, 0x04, 0x0a, 0,
        0, 0x04,
    ];

    #[test]
    fn answer_of_the_specification() {
        let guest = Mac([2, 0x0a, 0, 0, 0, 4]);
        assert_eq!(Arp::request(guest, [10, 0, 0, 4], [10, 0, 0, 1]).as_bytes(), &REQUEST);
        let mut bytes = REQUEST;
        let mut body = Arp::new_checked_mut(&mut bytes).unwrap();
        assert!(body.is_request() && !body.is_gratuitous());
        body.answer(Mac::VIRTUAL_ROUTER);
        assert_eq!(bytes, REPLY);
        assert!(!Arp::new_checked(&bytes).unwrap().is_request());
    }

    #[test]
    fn announcements_and_probes_are_gratuitous() {
        let gratuitous = |sender| Arp::request(Mac::ZERO, sender, [10, 0, 0, 1]).is_gratuitous();
        assert!(gratuitous([10, 0, 0, 1]) && gratuitous([0; 4]) && !gratuitous([10, 0, 0, 2]));
    }

    #[test]
    fn other_kinds_are_refused() {
        assert_eq!(Arp::new_checked(&REQUEST[..27]), Err(Error::Truncated));
        for at in 0..8 {
            let mut bytes = REQUEST;
            bytes[at] ^= 0x40;
            assert_eq!(Arp::new_checked(&bytes), Err(Error::Malformed), "{at}");
        }
        for operation in [0, 3, 8, 0x0100] {
            let mut body = Arp::new(REQUEST);
            body.set_operation(operation);
            assert_eq!(Arp::new_checked(body.as_bytes()), Err(Error::Malformed));
        }
    }
}
