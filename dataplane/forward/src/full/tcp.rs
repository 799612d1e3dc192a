//! What is seen of TCP connections (forwarding.md 6.8).

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::{SharedFlow, TcpFlags};
use vr_types::FlowIndex;

use super::flow::Entry;
use super::ip::inet_header_len;
use super::{Full, Kind, Pkt};
use crate::bytes::{be16, be32};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const TCP: u8 = 6;

/// The parts of a TCP header that matter here.
struct Segment {
    flags: u8,
    seq: u32,
    ack: u32,
    payload: u32,
}

fn segment(pkt: &Pkt) -> Option<Segment> {
    let bytes = pkt.l3();
    let (header, protocol, end) = if pkt.kind == Kind::Inet {
        let header = inet_header_len(bytes).ok()?;
        if be16(bytes, 6)? & 0x1fff != 0 {
            return None;
        }
        (header, bytes[9], usize::from(be16(bytes, 2)?))
    } else {
        let end = 40 + usize::from(be16(bytes, 4)?);
        match *bytes.get(6)? {
            // Behind a fragment header; later fragments have no TCP header.
            44 if be16(bytes, 42)? >> 3 == 0 => (48, *bytes.get(40)?, end),
            next => (40, next, end),
        }
    };
    if protocol != TCP {
        return None;
    }
    let data = header + usize::from(bytes.get(header + 12)? >> 4) * 4;
    Some(Segment {
        flags: *bytes.get(header + 13)?,
        seq: be32(bytes, header + 4)?,
        ack: be32(bytes, header + 8)?,
        payload: end.saturating_sub(data) as u32,
    })
}

impl Full<'_> {
    /// Follows the connection. Fat flows, whose key lacks a port, are not followed.
    pub(super) fn track_tcp(&mut self, pkt: &Pkt, index: FlowIndex, entry: &Entry) {
        let Some(segment) = segment(pkt) else { return };
        let Some(forward) = self.flows.shared(index) else { return };
        let fat = forward.key().is_none_or(|key| {
            key.protocol() != TCP || key.source_port() == [0; 2] || key.destination_port() == [0; 2]
        });
        if fat {
            return;
        }
        let (linked, reverse) = self.reverse(entry).unzip();
        let both = |flags: TcpFlags| {
            self.flows.set_tcp_flags(index, flags);
            if let Some(reverse) = linked {
                self.flows.set_tcp_flags(reverse, flags);
            }
        };
        let acks = segment.flags & ACK != 0;
        if acks {
            forward.tcp_ack.store(segment.ack, Relaxed);
        }
        if segment.flags & RST != 0 {
            if self.tables.options.close_flow_on_rst
                || reverse.is_none_or(|reverse| accepts_rst(&segment, reverse))
            {
                both(TcpFlags::RST | TcpFlags::DEAD);
            }
            return;
        }
        if segment.flags & SYN != 0 {
            forward.tcp_seq.store(segment.seq, Relaxed);
            let seen = self.flows.set_tcp_flags(index, TcpFlags::SYN);
            if let (Some(linked), Some(reverse)) = (linked, reverse) {
                self.flows.set_tcp_flags(linked, TcpFlags::SYN_R);
                if seen.contains(TcpFlags::SYN_R) && acks && segment.ack == after(reverse) {
                    self.established(index, linked);
                }
            }
        }
        if segment.flags & FIN != 0 {
            forward.tcp_seq.store(segment.seq.wrapping_add(segment.payload), Relaxed);
            self.flows.set_tcp_flags(index, TcpFlags::FIN);
            if let Some(linked) = linked {
                self.flows.set_tcp_flags(linked, TcpFlags::FIN_R);
            }
        }
        let (true, Some(linked), Some(reverse)) = (acks, linked, reverse) else { return };
        let seen = forward.tcp_flags();
        let closing = seen.contains(TcpFlags::FIN_R);
        if closing && segment.ack == after(reverse) {
            self.flows.set_tcp_flags(linked, TcpFlags::HALF_CLOSE);
            if seen.contains(TcpFlags::HALF_CLOSE) {
                both(TcpFlags::DEAD);
            }
        } else if (closing || seen.contains(TcpFlags::SYN_R))
            && !seen.contains(TcpFlags::ESTABLISHED_R)
            && segment.ack != reverse.tcp_seq.load(Relaxed)
        {
            self.established(index, linked);
        }
    }

    fn established(&self, forward: FlowIndex, reverse: FlowIndex) {
        self.flows.set_tcp_flags(reverse, TcpFlags::ESTABLISHED);
        self.flows.set_tcp_flags(forward, TcpFlags::ESTABLISHED_R);
    }
}

/// The acknowledgement that the last SYN or FIN of the other side asks for.
fn after(other: &SharedFlow) -> u32 {
    other.tcp_seq.load(Relaxed).wrapping_add(1)
}

/// Whether a RST fits what the other side sent and acknowledged.
fn accepts_rst(segment: &Segment, reverse: &SharedFlow) -> bool {
    if segment.flags & ACK != 0 && reverse.tcp_flags().contains(TcpFlags::SYN) {
        segment.ack == after(reverse)
    } else {
        segment.seq == reverse.tcp_ack.load(Relaxed)
    }
}
