//! What is seen of TCP connections (forwarding.md 6.8).
//!
//! Nothing here decides about packets. But a flow that is DEAD may be evicted, so nobody who does not see both
//! directions of a connection should be able to make it so: numbers have to fit what the other side has sent.

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::{SharedFlow, TcpFlags};
use vr_types::{FlowIndex, Release};

use super::flow::Entry;
use super::nat::TCP;
use super::transport::layout;
use super::{Full, Kind, Pkt};
use crate::bytes::{be16, be32};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The largest window of TCP (RFC 7323): what is further ahead of the last acknowledgement was not sent.
const WINDOW: u32 = 1 << 30;

/// The parts of a TCP header that matter here.
struct Segment {
    flags: u8,
    seq: u32,
    ack: u32,
    payload: u32,
}

impl Segment {
    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number of its FIN.
    const fn end(&self) -> u32 {
        self.seq.wrapping_add(self.payload)
    }
}

fn segment(pkt: &Pkt) -> Option<Segment> {
    let bytes = pkt.l3();
    let inet = pkt.kind == Kind::Inet;
    let at = layout(bytes, inet).filter(|at| at.protocol == TCP && at.first_fragment)?;
    let end = if inet { usize::from(be16(bytes, 2)?) } else { 40 + usize::from(be16(bytes, 4)?) };
    let data = at.header + usize::from(bytes.get(at.header + 12)? >> 4) * 4;
    Some(Segment {
        flags: *bytes.get(at.header + 13)?,
        seq: be32(bytes, at.header + 4)?,
        ack: be32(bytes, at.header + 8)?,
        payload: end.saturating_sub(data) as u32,
    })
}

/// A flow and its reverse flow, where that is linked.
struct Pair<'a> {
    index: FlowIndex,
    forward: &'a SharedFlow,
    reverse: Option<(FlowIndex, &'a SharedFlow)>,
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
        let pair = Pair { index, forward, reverse: self.reverse(entry) };
        if segment.has(ACK) {
            forward.tcp_ack.store(segment.ack, Relaxed);
        }
        if segment.has(RST) {
            if self.accepts_rst(&segment, &pair) {
                self.set_both(&pair, TcpFlags::RST | TcpFlags::DEAD);
            }
            return;
        }
        if segment.has(SYN) {
            self.opens(&segment, &pair);
        } else if segment.has(FIN) {
            self.closes(&segment, &pair);
        }
        if segment.has(ACK) {
            self.confirms(&segment, &pair);
        }
    }

    fn set_both(&self, pair: &Pair<'_>, flags: TcpFlags) {
        self.flows.set_tcp_flags(pair.index, flags);
        if let Some((reverse, _)) = pair.reverse {
            self.flows.set_tcp_flags(reverse, flags);
        }
    }

    /// Whether a RST fits what the other side has sent: as the answer to a SYN it acknowledges that, later it stands
    /// exactly where the other side waits for the next byte (RFC 5961, 3.2). R2.20 believes every RST.
    fn accepts_rst(&self, segment: &Segment, pair: &Pair<'_>) -> bool {
        let options = &self.tables.options;
        let Some((_, reverse)) = pair.reverse else { return true };
        if options.close_flow_on_rst || options.release == Release::R220 {
            return true;
        }
        let answers_syn = segment.has(ACK) && reverse.tcp_flags().contains(TcpFlags::SYN);
        let both = TcpFlags::ESTABLISHED | TcpFlags::ESTABLISHED_R;
        if answers_syn && !pair.forward.tcp_flags().contains(both) {
            return segment.ack == after(reverse);
        }
        if answers_syn && segment.ack.wrapping_sub(after(reverse)) > u32::MAX / 2 {
            return false;
        }
        let expected = reverse.tcp_ack.load(Relaxed);
        // Zero is no acknowledgement yet, and would be believed of a RST without any knowledge.
        expected != 0 && segment.seq == expected
    }

    fn opens(&self, segment: &Segment, pair: &Pair<'_>) {
        pair.forward.tcp_seq.store(segment.seq, Relaxed);
        let seen = self.flows.set_tcp_flags(pair.index, TcpFlags::SYN);
        let Some((linked, reverse)) = pair.reverse else { return };
        self.flows.set_tcp_flags(linked, TcpFlags::SYN_R);
        if seen.contains(TcpFlags::SYN_R) && segment.has(ACK) && segment.ack == after(reverse) {
            self.established(pair.index, linked);
        }
    }

    /// A FIN that cannot be in the window of the other side is none.
    fn closes(&self, segment: &Segment, pair: &Pair<'_>) {
        if let Some((_, reverse)) = pair.reverse {
            let acknowledged = reverse.tcp_ack.load(Relaxed);
            let ahead = segment.end().wrapping_add(1).wrapping_sub(acknowledged);
            if acknowledged != 0 && ahead > WINDOW {
                return;
            }
        }
        pair.forward.tcp_seq.store(segment.end(), Relaxed);
        self.flows.set_tcp_flags(pair.index, TcpFlags::FIN);
        if let Some((linked, _)) = pair.reverse {
            self.flows.set_tcp_flags(linked, TcpFlags::FIN_R);
        }
    }

    /// What the acknowledgement of exactly the other side's last SYN or FIN means.
    fn confirms(&self, segment: &Segment, pair: &Pair<'_>) {
        let Some((linked, reverse)) = pair.reverse else { return };
        if segment.ack != after(reverse) {
            return;
        }
        let seen = pair.forward.tcp_flags();
        if seen.contains(TcpFlags::FIN_R) {
            self.flows.set_tcp_flags(linked, TcpFlags::HALF_CLOSE);
            if seen.contains(TcpFlags::HALF_CLOSE) {
                self.set_both(pair, TcpFlags::DEAD);
            }
        } else if seen.contains(TcpFlags::SYN_R) && !seen.contains(TcpFlags::ESTABLISHED_R) {
            self.established(pair.index, linked);
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
