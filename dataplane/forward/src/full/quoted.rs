//! ICMP errors through a translation: the packet that an error quotes is the one that its receiver has sent
//! (forwarding.md 6.7).

use vr_tables::flow::FlowFlags;
use vr_wire::checksum;

use super::nat::{Delta, ICMP, ICMPV6, Rewrite, TCP, UDP, set_address};
use super::transport::{Layout, layout};
use crate::bytes::{array, be16, put};

/// Length of the header of an ICMP error, in front of what it quotes.
const ERROR_HEADER: usize = 8;

/// Whether the packet is an ICMP error.
pub(super) fn is_error(bytes: &[u8], at: Layout) -> bool {
    let kind = bytes.get(at.header).filter(|_| at.first_fragment);
    match at.protocol {
        ICMP => matches!(kind, Some(3 | 11)),
        ICMPV6 => kind.is_some_and(|kind| *kind < 128),
        _ => false,
    }
}

/// Translates the packet that an ICMP error quotes, in the opposite sense, with its own checksums. Gives what that does
/// to the checksum of the error.
pub(super) fn translate(bytes: &mut [u8], outer: Layout, inet: bool, rewrite: &Rewrite) -> Option<Delta> {
    let quoted = bytes.get_mut(outer.header + ERROR_HEADER..)?;
    let at = layout(quoted, inet)?;
    let mut addresses = Delta::default();
    let mut error = Delta::default();
    for (flag, place, new) in
        [(FlowFlags::SNAT, at.destination, rewrite.source), (FlowFlags::DNAT, at.source, rewrite.destination)]
    {
        if rewrite.flags.contains(flag) {
            let old = set_address(quoted, place, at.address, new)?;
            addresses.replace(&old[..at.address], quoted.get(place..place + at.address)?);
        }
    }
    error.add(addresses);
    if inet {
        let old: [u8; 2] = array(quoted, 10)?;
        put(quoted, 10, [0, 0]);
        let new = checksum::of(quoted.get(..at.header)?).to_be_bytes();
        put(quoted, 10, new);
        error.replace(&old, &new);
    }
    if at.first_fragment {
        translate_transport(quoted, at, rewrite, addresses, &mut error)?;
    }
    Some(error)
}

/// Ports and checksum of the quoted transport header, as much of it as is there.
fn translate_transport(
    quoted: &mut [u8],
    at: Layout,
    rewrite: &Rewrite,
    addresses: Delta,
    error: &mut Delta,
) -> Option<()> {
    let mut sum = addresses;
    if matches!(at.protocol, TCP | UDP) && at.protocol == rewrite.protocol {
        for (flag, place, new) in [
            (FlowFlags::SPAT, at.header + 2, rewrite.source_port),
            (FlowFlags::DPAT, at.header, rewrite.destination_port),
        ] {
            if rewrite.flags.contains(flag) {
                let old: [u8; 2] = array(quoted, place)?;
                put(quoted, place, new);
                sum.replace(&old, &new);
                error.replace(&old, &new);
            }
        }
    }
    let field = match at.protocol {
        TCP => at.header + 16,
        UDP => at.header + 6,
        ICMPV6 => at.header + 2,
        _ => return Some(()),
    };
    // Most errors quote less than a TCP header.
    let Some(old) = be16(quoted, field).filter(|old| at.protocol != UDP || *old != 0) else {
        return Some(());
    };
    let new = sum.apply(old);
    let new = if at.protocol == UDP { checksum::for_udp(new) } else { new };
    put(quoted, field, new.to_be_bytes());
    error.replace(&old.to_be_bytes(), &new.to_be_bytes());
    Some(())
}
