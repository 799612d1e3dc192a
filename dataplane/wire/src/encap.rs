//! Outer headers, prebuilt once per nexthop: sending a packet is a copy of fixed size and a few patches.

use std::net::IpAddr;

use vr_types::TunnelKind;

/// Bytes that [`EncapTemplate::write`] writes; the headers are the last [`EncapTemplate::len`] of them.
pub const ROOM: usize = 80;

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
    /// Ones' complement sum of the IPv4 header without total length and identification.
    sum: u32,
    len: u8,
    kind: TunnelKind,
    inet6: bool,
    labels: u8,
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

const INET: usize = 20;
const INET6: usize = 40;
const UDP: usize = 8;
const GRE: usize = 4;
const LABEL: usize = 4;
const VXLAN: usize = 8;

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
        let mut template =
            Self { bytes: [0; ROOM], sum: 0, len: len as u8, kind, inet6, labels: labels as u8 };
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
                self.sum = header.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
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

    /// Kind of tunnel.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> TunnelKind {
        self.kind
    }

    /// Writes the headers into the last [`EncapTemplate::len`] bytes of `out`, which end where the payload
    /// starts. The bytes in front of them are overwritten too.
    #[inline]
    pub fn write(&self, out: &mut [u8; ROOM], patch: Patch) {
        *out = self.bytes;
        match self.kind {
            TunnelKind::MplsOverGre => self.finish::<{ GRE + LABEL }>(out, patch),
            TunnelKind::MplsOverUdp => self.finish::<{ UDP + LABEL }>(out, patch),
            TunnelKind::Vxlan => self.finish::<{ UDP + VXLAN }>(out, patch),
        }
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

/// Source port of outer headers for a flow hash: 49152 to 65534 (forwarding.md 4.10).
#[inline]
#[must_use]
pub const fn entropy_port(hash: u32) -> u16 {
    49152 + ((hash as u64 * 16383) >> 32) as u16
}

#[cfg(test)]
mod tests {
    use super::{EncapTemplate, Patch, ROOM, entropy_port, port};
    use vr_types::TunnelKind;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    fn headers(kind: TunnelKind, patch: Patch) -> Vec<u8> {
        let ethernet = bytes("002222222222 001111111111 0800");
        let (source, destination) = ("172.16.0.1".parse().unwrap(), "172.16.0.2".parse().unwrap());
        let template = EncapTemplate::new(kind, &ethernet, source, destination, port::MPLS, None).unwrap();
        let mut out = [0xaa; ROOM];
        template.write(&mut out, patch);
        out[ROOM - template.len()..].to_vec()
    }

    #[test]
    fn worked_examples_of_the_specification() {
        let patch = Patch { payload: 32, id: 0x1234, label: 27, ttl: 63, source_port: 55000 };
        assert_eq!(
            headers(TunnelKind::MplsOverGre, patch),
            bytes("002222222222001111111111080045 00 003c12340000402f103cac100001ac100002 00008847 0001b13f")
        );
        assert_eq!(
            headers(TunnelKind::MplsOverUdp, patch),
            bytes(
                "002222222222001111111111080045 00 0040123400004011 1056ac100001ac100002 d6d819eb002c0000 0001b13f"
            )
        );
        let patch = Patch { payload: 46, id: 1, label: 5001, ttl: 64, source_port: 55000 };
        assert_eq!(
            headers(TunnelKind::Vxlan, patch),
            bytes(
                "002222222222001111111111080045 00 0052000100004011 2277ac100001ac100002 d6d812b5003e0000 0800000000138900"
            )
        );
    }

    #[test]
    fn two_labels_and_inet6() {
        let ethernet = [0; 14];
        let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let template =
            EncapTemplate::new(TunnelKind::MplsOverUdp, &ethernet, source, destination, port::MPLS, Some(99))
                .unwrap();
        assert_eq!(template.len(), 14 + 40 + 8 + 8);
        let mut out = [0; ROOM];
        template.write(&mut out, Patch { payload: 100, id: 0, label: 27, ttl: 9, source_port: 50000 });
        let out = &out[ROOM - template.len()..];
        assert_eq!(out[62..], bytes("00063009 0001b109"));
        assert_eq!(out[18..20], 116u16.to_be_bytes());
    }

    #[test]
    fn headers_that_do_not_fit_are_refused() {
        let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        assert!(
            EncapTemplate::new(TunnelKind::Vxlan, &[0; 30], source, destination, port::MPLS, None).is_err()
        );
        let mixed = "10.0.0.1".parse().unwrap();
        assert!(
            EncapTemplate::new(TunnelKind::Vxlan, &[0; 14], mixed, destination, port::MPLS, None).is_err()
        );
    }

    #[test]
    fn entropy_ports() {
        assert_eq!(
            [entropy_port(0), entropy_port(0x8000_0000), entropy_port(u32::MAX)],
            [49152, 57343, 65534]
        );
    }
}
