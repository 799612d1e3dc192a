//! Cutting super-frames into segments in software (forwarding.md 8.7).

use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Ipv6};
use crate::tcp::{Tcp, flag};
use crate::udp::{self, Udp};
use crate::{Error, checksum, protocol};

/// Most segments of one super-frame: 64 KiB with the smallest segments that Linux makes, 48 bytes.
pub const MAX_SEGMENTS: usize = 1366;

/// How a super-frame is cut: TCP into segments, UDP into datagrams of equal size, over IPv4 or IPv6.
///
/// The plan is made from the headers once; [`GsoPlan::write`] then makes each segment, in any order, with
/// whatever precedes the IP header copied in front of it. Checksums in the super-frame are not looked at:
/// those of the segments are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GsoPlan {
    /// Offsets in the frame: IP header, TCP or UDP header, payload and its end.
    network: usize,
    transport: usize,
    payload: usize,
    end: usize,
    /// Payload bytes of each segment but the last.
    size: usize,
    count: usize,
    inet6: bool,
    tcp: bool,
    id: u16,
    sequence: u32,
    flags: u8,
    /// Sum of the IPv4 header without what differs from segment to segment.
    network_sum: u64,
    /// The same of pseudo header and TCP or UDP header.
    transport_sum: u64,
}

impl GsoPlan {
    /// A plan for the frame whose IP header is at `network`, cut into payloads of `size` bytes (`gso_size` of
    /// virtio).
    ///
    /// # Errors
    /// [`Error::Truncated`] and [`Error::Malformed`] for unsound headers; [`Error::Unsupported`] for
    /// fragments, extension headers, other protocols than TCP and UDP, and more than [`MAX_SEGMENTS`].
    pub fn new(frame: &[u8], network: usize, size: usize) -> Result<Self, Error> {
        let packet = frame.get(network..).ok_or(Error::Truncated)?;
        let mut plan = match packet.first().ok_or(Error::Truncated)? >> 4 {
            4 => Self::inet(packet)?,
            _ => Self::inet6(packet)?,
        };
        plan.size = size;
        for offset in [&mut plan.network, &mut plan.transport, &mut plan.payload, &mut plan.end] {
            *offset += network;
        }
        plan.checked()
    }

    fn inet(packet: &[u8]) -> Result<Self, Error> {
        let header = Ipv4::new_checked(packet)?;
        if header.is_fragment() {
            return Err(Error::Unsupported);
        }
        let end = match usize::from(header.total_len()) {
            0 => packet.len(),
            total => total,
        };
        let mut constant = [0; 60];
        let bytes = ipv4::header(packet)?;
        constant[..bytes.len()].copy_from_slice(bytes);
        for differing in [2..6, 10..12] {
            constant[differing].fill(0);
        }
        let pseudo = checksum::inet_pseudo(&header.source(), &header.destination(), header.protocol(), 0);
        let transport = bytes.len();
        let plan = Self::transport(packet, transport, end, header.protocol(), pseudo)?;
        Ok(Self { id: header.id(), network_sum: checksum::sum(&constant), ..plan })
    }

    fn inet6(packet: &[u8]) -> Result<Self, Error> {
        let header = Ipv6::new_checked(packet)?;
        let end = match usize::from(header.payload_len()) {
            0 => packet.len(),
            payload => ipv6::LEN + payload,
        };
        let next = header.next_header();
        let pseudo = checksum::inet6_pseudo(&header.source(), &header.destination(), next, 0);
        let plan = Self::transport(packet, ipv6::LEN, end, next, pseudo)?;
        Ok(Self { inet6: true, ..plan })
    }

    fn transport(packet: &[u8], transport: usize, end: usize, kind: u8, pseudo: u64) -> Result<Self, Error> {
        if end < transport {
            return Err(Error::Malformed);
        }
        let message = packet.get(transport..end).ok_or(Error::Truncated)?;
        let plan = Self {
            network: 0,
            transport,
            payload: transport + udp::LEN,
            end,
            size: 0,
            count: 1,
            inet6: false,
            tcp: kind == protocol::TCP,
            id: 0,
            sequence: 0,
            flags: 0,
            network_sum: 0,
            transport_sum: pseudo,
        };
        match kind {
            protocol::TCP => {
                let header = Tcp::new_checked(message)?;
                let len = header.header_len();
                let mut constant = [0; 60];
                constant[..len].copy_from_slice(message.get(..len).ok_or(Error::Truncated)?);
                for differing in [4..8, 13..14, 16..18] {
                    constant[differing].fill(0);
                }
                Ok(Self {
                    payload: transport + len,
                    sequence: header.sequence(),
                    flags: header.flags(),
                    transport_sum: pseudo + checksum::sum(&constant),
                    ..plan
                })
            }
            protocol::UDP => {
                let header = Udp::new_checked(message)?;
                let ports = u64::from(header.source_port()) + u64::from(header.destination_port());
                Ok(Self { transport_sum: pseudo + ports, ..plan })
            }
            _ => Err(Error::Unsupported),
        }
    }

    /// Counts the segments.
    fn checked(mut self) -> Result<Self, Error> {
        let payload = self.end - self.payload;
        if self.size == 0 || self.longest() - self.network > usize::from(u16::MAX) {
            return Err(Error::Malformed);
        }
        self.count = payload.div_ceil(self.size).max(1);
        if self.count > MAX_SEGMENTS { Err(Error::Unsupported) } else { Ok(self) }
    }

    /// The plan with segments of at most `len` bytes, headers from the start of the frame on included. TCP
    /// segments may become smaller, the datagrams of UDP may not.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when that cannot be, or would give more than [`MAX_SEGMENTS`].
    pub fn limited_to(self, len: usize) -> Result<Self, Error> {
        let room = len.checked_sub(self.payload).filter(|room| *room > 0).ok_or(Error::Unsupported)?;
        let longest = self.size.min(self.end - self.payload);
        if longest <= room {
            return Ok(self);
        }
        if self.tcp { Self { size: room, ..self }.checked() } else { Err(Error::Unsupported) }
    }

    /// Number of segments; at least one.
    #[inline]
    #[must_use]
    pub const fn segments(&self) -> usize {
        self.count
    }

    /// Bytes of the headers of each segment, from the start of the frame on.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.payload
    }

    /// Bytes of the longest segment, with the headers.
    #[inline]
    #[must_use]
    pub const fn longest(&self) -> usize {
        let payload = self.end - self.payload;
        self.payload + if payload < self.size { payload } else { self.size }
    }

    /// Writes segment `index` (from 0) of `frame`, for which the plan was made, to the start of `out` and gives
    /// its length. `None` when there is no such segment or `out` is too short for it.
    ///
    /// Identification of IPv4 counts up, CWR stays in the first segment only, FIN and PSH in the last only.
    #[must_use]
    pub fn write(&self, index: usize, frame: &[u8], out: &mut [u8]) -> Option<usize> {
        if index >= self.count {
            return None;
        }
        let from = index * self.size;
        let to = (self.payload + from + self.size).min(self.end);
        let headers = frame.get(..self.payload)?;
        let payload = frame.get(self.payload + from..to)?;
        let out = out.get_mut(..headers.len() + payload.len())?;
        let (out_headers, out_payload) = out.split_at_mut_checked(headers.len())?;
        out_headers.copy_from_slice(headers);
        out_payload.copy_from_slice(payload);
        let (network, transport) =
            out_headers.get_mut(self.network..)?.split_at_mut_checked(self.transport - self.network)?;
        self.finish_network(index, network, transport.len() + payload.len())?;
        self.finish_transport(index, transport, payload)?;
        Some(out.len())
    }

    fn finish_network(&self, index: usize, header: &mut [u8], payload: usize) -> Option<()> {
        if self.inet6 {
            Ipv6::new_checked_mut(header).ok()?.set_payload_len(payload as u16);
            return Some(());
        }
        let total = (header.len() + payload) as u16;
        let id = self.id.wrapping_add(index as u16);
        let mut header = Ipv4::new_checked_mut(header).ok()?;
        header.set_total_len(total);
        header.set_id(id);
        header.set_checksum(!checksum::fold(self.network_sum + u64::from(total) + u64::from(id)));
        Some(())
    }

    fn finish_transport(&self, index: usize, header: &mut [u8], payload: &[u8]) -> Option<()> {
        let len = header.len() + payload.len();
        let sum = self.transport_sum + len as u64 + checksum::sum(payload);
        if !self.tcp {
            let mut header = Udp::new_checked_mut(header).ok()?;
            header.set_length(len as u16);
            header.set_checksum(checksum::for_udp(!checksum::fold(sum + len as u64)));
            return Some(());
        }
        let sequence = self.sequence.wrapping_add((index * self.size) as u32);
        let mut flags = self.flags;
        if index != 0 {
            flags &= !flag::CWR;
        }
        if index + 1 != self.count {
            flags &= !(flag::FIN | flag::PSH);
        }
        let mut header = Tcp::new_checked_mut(header).ok()?;
        header.set_sequence(sequence);
        header.set_flags(flags);
        let sum = sum + u64::from(sequence >> 16) + u64::from(sequence & 0xffff) + u64::from(flags);
        header.set_checksum(!checksum::fold(sum));
        Some(())
    }
}
