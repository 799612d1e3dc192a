//! TCP maximum segment size of SYNs from guests (forwarding.md 8.4).

use vr_wire::checksum;

use super::{Full, Kind, Pkt};
use crate::bytes::{be16, put};

/// What a tunnel will add, as the clamp assumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overhead {
    Routed = 40,
    Bridged = 62,
}

const SYN: u8 = 0x02;
const TCP: u8 = 6;

impl Full<'_> {
    /// Lowers the MSS option of a SYN so that segments fit the underlay. The packet starts at its IP header.
    pub(super) fn clamp_from_guest(&mut self, pkt: &mut Pkt, overhead: Overhead) {
        if self.tables.options.from_vm_mss_adj == 0 {
            return;
        }
        let Some(fabric) = self.tables.vif(self.tables.roles.fabric[0]) else { return };
        let mtu = Self::mtu(fabric);
        let partial = pkt.offload.needs_csum;
        let inet6 = pkt.kind == Kind::Inet6;
        let _ = clamp(pkt.frame.bytes_mut(), inet6, mtu, overhead as usize, partial);
    }
}

fn clamp(bytes: &mut [u8], inet6: bool, mtu: usize, overhead: usize, partial: bool) -> Option<()> {
    let (header, protocol) = if inet6 {
        (40, *bytes.get(6)?)
    } else {
        let header = super::ip::inet_header_len(bytes).ok()?;
        if be16(bytes, 6)? & 0x1fff != 0 {
            return None;
        }
        (header, bytes[9])
    };
    if protocol != TCP || bytes.get(header + 13)? & SYN == 0 {
        return None;
    }
    let options_end = header + usize::from(bytes[header + 12] >> 4) * 4;
    let mut at = header + 20;
    while at < options_end {
        match *bytes.get(at)? {
            0 => return None,
            1 => at += 1,
            kind => {
                let len = usize::from(*bytes.get(at + 1)?);
                if len < 2 || at + len > options_end {
                    return None;
                }
                if kind == 2 && len == 4 {
                    let old = be16(bytes, at + 2)?;
                    let limit = mtu.checked_sub(overhead + header + 20)? as u16;
                    if old > limit {
                        put(bytes, at + 2, limit.to_be_bytes());
                        if !partial {
                            // The option may start at an odd offset: then its bytes count swapped.
                            let swap =
                                |value: u16| if at % 2 == header % 2 { value } else { value.swap_bytes() };
                            let check = be16(bytes, header + 16)?;
                            let check = checksum::update_16(check, swap(old), swap(limit));
                            put(bytes, header + 16, check.to_be_bytes());
                        }
                    }
                    return Some(());
                }
                at += len;
            }
        }
    }
    None
}
