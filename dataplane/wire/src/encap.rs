//! Outer headers, prebuilt once per nexthop: sending a packet is a copy of fixed size and a few patches.

use std::net::IpAddr;

use vr_types::TunnelKind;

use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Ipv6};
use crate::udp::{self, Udp};
use crate::{Error, checksum, gre, mpls, protocol, vxlan};

/// Bytes that [`EncapTemplate::write`] writes; the headers are the last [`EncapTemplate::len`] of them.
pub const ROOM: usize = 80;
/// As many bytes are enough for all headers over IPv4.
const SHORT: usize = 64;

/// Destination ports of the transports (forwarding.md 17).
pub mod port {
    /// MPLS over UDP, RFC 7510.
    pub const MPLS: u16 = 6635;
    /// MPLS over UDP of old releases.
    pub const MPLS_OLD: u16 = 51234;
    /// VXLAN, RFC 7348.
    pub const VXLAN: u16 = 4789;
}

/// Why no template can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The outer headers of a tunnel: Ethernet, IPv4 or IPv6, GRE or UDP, label or VXLAN. Plain data.
///
/// The headers stand at the end of a block of fixed size, so that every field but those of Ethernet is at a
/// place that depends on the kind of tunnel alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EncapTemplate {
    bytes: [u8; ROOM],
    /// Ones' complement sum of the IPv4 header without total length and identification, in sixteen bits.
    sum: u32,
    len: u8,
    kind: TunnelKind,
    inet6: bool,
    labels: u8,
    /// Over IPv4, at most [`SHORT`] bytes and one label: what most tunnels are.
    common: bool,
}

/// What differs from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Bytes behind the outer headers.
    pub payload: usize,
    /// Identification of the outer IPv4 header.
    pub id: u16,
    /// Label or VNI.
    pub label: u32,
    /// TTL of the label.
    pub ttl: u8,
    /// Source port of UDP, which carries the entropy of the flow.
    pub source_port: u16,
}

/// What quality of service and diagnostic packets want different (forwarding.md 9.3, 7.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marking {
    /// Type of service of the outer header: DSCP and ECN.
    pub tos: u8,
    /// Experimental bits of the labels, 0 to 7.
    pub exp: u8,
    /// TTL of the outer header.
    pub ttl: u8,
}

const INET: usize = ipv4::LEN;
const INET6: usize = ipv6::LEN;
const UDP: usize = udp::LEN;
const GRE: usize = gre::LEN;
const LABEL: usize = mpls::LEN;
const VXLAN: usize = vxlan::LEN;

impl EncapTemplate {
    /// A template: `ethernet` is the outer layer 2 header as the agent gives it, `mpls_port` the destination
    /// port of MPLS over UDP, `transport_label` the outer one of two labels. Outer TTL 64, TOS 0, no DF
    /// (forwarding.md 4.10).
    ///
    /// # Errors
    /// [`TooLong`] when the headers do not fit [`ROOM`], or the addresses are of different families.
    pub fn new(
        kind: TunnelKind,
        ethernet: &[u8],
        source: IpAddr,
        destination: IpAddr,
        mpls_port: u16,
        transport_label: Option<u32>,
    ) -> Result<Self, TooLong> {
        let labels = match (kind, transport_label) {
            (TunnelKind::Vxlan, _) => 0,
            (_, None) => 1,
            (_, Some(_)) => 2,
        };
        let shim = match kind {
            TunnelKind::MplsOverGre => GRE + labels * LABEL,
            TunnelKind::MplsOverUdp => UDP + labels * LABEL,
            TunnelKind::Vxlan => UDP + VXLAN,
        };
        let inet6 = destination.is_ipv6();
        let ip = if inet6 { INET6 } else { INET };
        let len = ethernet.len() + ip + shim;
        if len > ROOM || source.is_ipv6() != inet6 {
            return Err(TooLong);
        }
        let mut template = Self {
            bytes: [0; ROOM],
            sum: 0,
            len: len as u8,
            kind,
            inet6,
            labels: labels as u8,
            common: false,
        };
        template.common = !inet6 && len <= SHORT && labels < 2;
        let (ethernet_at, ip_at, shim_at) = (ROOM - len, ROOM - shim - ip, ROOM - shim);
        template.bytes[ethernet_at..ip_at].copy_from_slice(ethernet);
        template.put_ip(ip_at, source, destination);
        match kind {
            TunnelKind::MplsOverGre => template.put(shim_at + 2, [0x88, 0x47]),
            TunnelKind::MplsOverUdp => template.put(shim_at + 2, mpls_port.to_be_bytes()),
            TunnelKind::Vxlan => {
                template.put(shim_at + 2, port::VXLAN.to_be_bytes());
                template.put(shim_at + UDP, [0x08, 0, 0, 0]);
            }
        }
        if let (2, Some(label)) = (labels, transport_label) {
            template.put(ROOM - 2 * LABEL, (label << 12).to_be_bytes());
        }
        Ok(template)
    }

    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.bytes[at..at + N].copy_from_slice(&value);
    }

    fn put_ip(&mut self, at: usize, source: IpAddr, destination: IpAddr) {
        let protocol = if self.kind == TunnelKind::MplsOverGre { 47 } else { 17 };
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.put(at, [0x45, 0]);
                self.put(at + 8, [64, protocol]);
                self.put(at + 12, source.octets());
                self.put(at + 16, destination.octets());
                let header = self.bytes[at..at + INET].as_chunks::<2>().0;
                let sum: u32 = header.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
                self.sum = (sum & 0xffff) + (sum >> 16);
            }
            (source, destination) => {
                let octets = |address| match address {
                    IpAddr::V6(address) => std::net::Ipv6Addr::octets(&address),
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                };
                self.put(at, [0x60]);
                self.put(at + 6, [protocol, 64]);
                self.put(at + 8, octets(source));
                self.put(at + 24, octets(destination));
            }
        }
    }

    /// Length of all outer headers.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// A template is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Length of the outer layer 2 header: the outer IP header follows it.
    #[must_use]
    pub const fn ethernet_len(&self) -> usize {
        self.len() - self.shim_len() - if self.inet6 { INET6 } else { INET }
    }

    /// Bytes behind the outer IP header.
    const fn shim_len(&self) -> usize {
        let labels = self.labels as usize * LABEL;
        match self.kind {
            TunnelKind::MplsOverGre => GRE + labels,
            TunnelKind::MplsOverUdp => UDP + labels,
            TunnelKind::Vxlan => UDP + VXLAN,
        }
    }

    /// Kind of tunnel.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> TunnelKind {
        self.kind
    }

    /// Writes the headers into the last [`EncapTemplate::len`] bytes of `out`, which end where the payload
    /// starts. Bytes in front of them are overwritten too.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "measured: called for every packet")]
    pub fn write(&self, out: &mut [u8; ROOM], patch: Patch) {
        if !self.common {
            return self.write_uncommon(out, patch);
        }
        // One cache line less to be fetched than with all of the room.
        out[ROOM - SHORT..].copy_from_slice(&self.bytes[ROOM - SHORT..]);
        match self.kind {
            TunnelKind::MplsOverGre => self.finish_common::<{ GRE + LABEL }>(out, patch),
            TunnelKind::MplsOverUdp => self.finish_common::<{ UDP + LABEL }>(out, patch),
            TunnelKind::Vxlan => self.finish_common::<{ UDP + VXLAN }>(out, patch),
        }
    }

    /// Any template. Apart, so that the common ones do not pay for its registers.
    #[inline(never)]
    fn write_uncommon(&self, out: &mut [u8; ROOM], patch: Patch) {
        *out = self.bytes;
        match self.kind {
            TunnelKind::MplsOverGre => self.finish::<{ GRE + LABEL }>(out, patch),
            TunnelKind::MplsOverUdp => self.finish::<{ UDP + LABEL }>(out, patch),
            TunnelKind::Vxlan => self.finish::<{ UDP + VXLAN }>(out, patch),
        }
    }

    /// Marks headers that [`EncapTemplate::write`] has written.
    pub fn mark(&self, out: &mut [u8; ROOM], marking: Marking) {
        let labels = usize::from(self.labels);
        for label in out.as_chunks_mut::<LABEL>().0.iter_mut().rev().take(labels) {
            label[2] = label[2] & 0xf1 | (marking.exp & 7) << 1;
        }
        let Some(header) = out.get_mut(..ROOM - self.shim_len()) else { return };
        if self.inet6 {
            if let Some(mut header) = header.last_chunk_mut().map(Ipv6::<&mut [u8; INET6]>::new) {
                header.set_traffic_class(marking.tos);
                header.set_hop_limit(marking.ttl);
            }
        } else if let Some(mut header) = header.last_chunk_mut().map(Ipv4::<&mut [u8; INET]>::new) {
            header.replace_tos(marking.tos);
            header.replace_ttl(marking.ttl);
        }
    }

    /// Patches headers over IPv4 with one label or a VNI, whose shim is `SHIM` bytes long.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "measured: called for every packet; its offsets become constants"
    )]
    fn finish_common<const SHIM: usize>(&self, out: &mut [u8; ROOM], patch: Patch) {
        let ip = ROOM - SHIM - INET;
        let mut put16 = |at: usize, value: u16| out[at..at + 2].copy_from_slice(&value.to_be_bytes());
        let total = (INET + SHIM + patch.payload) as u16;
        put16(ip + 2, total);
        put16(ip + 4, patch.id);
        let sum = self.sum + u32::from(total) + u32::from(patch.id);
        let sum = (sum & 0xffff) + (sum >> 16);
        put16(ip + 10, !((sum + (sum >> 16)) as u16));
        if self.kind != TunnelKind::MplsOverGre {
            put16(ip + INET, patch.source_port);
            put16(ip + INET + 4, (SHIM + patch.payload) as u16);
        }
        let word = if self.kind == TunnelKind::Vxlan {
            patch.label << 8
        } else {
            patch.label << 12 | 0x100 | u32::from(if patch.ttl == 0 { 64 } else { patch.ttl })
        };
        out[ROOM - 4..].copy_from_slice(&word.to_be_bytes());
    }

    /// Patches headers whose shim, with one label, is `SHIM` bytes long.
    #[inline]
    fn finish<const SHIM: usize>(&self, out: &mut [u8; ROOM], patch: Patch) {
        let extra = if self.labels == 2 { LABEL } else { 0 };
        let shim = SHIM + extra;
        let shim_at = ROOM - shim;
        if self.kind == TunnelKind::Vxlan {
            out[ROOM - 4..].copy_from_slice(&(patch.label << 8).to_be_bytes());
        } else {
            let low = u32::from(if patch.ttl == 0 { 64 } else { patch.ttl });
            out[ROOM - 4..].copy_from_slice(&(patch.label << 12 | 0x100 | low).to_be_bytes());
            if extra != 0 {
                out[ROOM - 5] = low as u8;
            }
        }
        if self.kind != TunnelKind::MplsOverGre {
            out[shim_at..shim_at + 2].copy_from_slice(&patch.source_port.to_be_bytes());
            out[shim_at + 4..shim_at + 6].copy_from_slice(&((shim + patch.payload) as u16).to_be_bytes());
        }
        if self.inet6 {
            let at = shim_at - INET6;
            out[at + 4..at + 6].copy_from_slice(&((shim + patch.payload) as u16).to_be_bytes());
        } else {
            let at = shim_at - INET;
            let total = (INET + shim + patch.payload) as u16;
            out[at + 2..at + 4].copy_from_slice(&total.to_be_bytes());
            out[at + 4..at + 6].copy_from_slice(&patch.id.to_be_bytes());
            let mut sum = self.sum + u32::from(total) + u32::from(patch.id);
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            out[at + 10..at + 12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
    }
}

/// Adapts the lengths and the checksum of outer headers to a frame of another length than they were written for:
/// a fragment or a segment that was cut out behind them. The outer IP header is at `outer`, and its packet
/// reaches to the end of `frame`.
///
/// # Errors
/// [`Error::Truncated`] and [`Error::Malformed`] for what are no such headers; [`Error::Unsupported`] when the
/// length does not fit its field.
pub fn fit_lengths(frame: &mut [u8], outer: usize) -> Result<(), Error> {
    let packet = frame.get_mut(outer..).ok_or(Error::Truncated)?;
    let len = packet.len();
    let length = |len| u16::try_from(len).map_err(|_| Error::Unsupported);
    let (next, payload) = if let Ok(mut header) = Ipv4::new_checked_mut(packet) {
        let (old, new) = (header.total_len(), length(len)?);
        header.set_total_len(new);
        header.set_checksum(checksum::update_16(header.checksum(), old, new));
        (header.protocol(), header.header_len())
    } else {
        let mut header = Ipv6::new_checked_mut(packet)?;
        header.set_payload_len(length(len - INET6)?);
        (header.next_header(), INET6)
    };
    if next == protocol::UDP {
        let message = packet.get_mut(payload..).ok_or(Error::Truncated)?;
        Udp::new_checked_mut(message)?.set_length(length(len - payload)?);
    }
    Ok(())
}

/// Source port of outer headers for a flow hash: 49152 to 65534 (forwarding.md 4.10).
#[inline]
#[must_use]
pub const fn entropy_port(hash: u32) -> u16 {
    49152 + ((hash as u64 * 16383) >> 32) as u16
}

#[cfg(test)]
mod tests;
