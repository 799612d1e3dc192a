//! TCP connections (forwarding.md 6.8), with the numbers of RST, FIN and acknowledgements checked more narrowly than
//! there.

use vr_tables::flow::TcpFlags;

use super::{Model, Packet};
use crate::packets::TCP;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Model {
    /// Follows a packet of a flow.
    pub(super) fn track(&mut self, packet: &Packet, index: u32) {
        let (protocol, at, is_here) = packet.transport();
        let key = self.table[&index].key;
        let is_fat = key.source_port() == [0; 2] || key.destination_port() == [0; 2];
        if protocol != TCP || !is_here || is_fat || packet.is_icmp_error() {
            return;
        }
        let end = if packet.is_inet6() { 40 + packet.be16(4) } else { packet.be16(2) };
        let header = u16::from(packet.frame[packet.ip + at + 12] >> 4) * 4;
        let payload = u32::from(end.saturating_sub(at as u16 + header));
        let (flags, seq, ack) = (packet.frame[packet.ip + at + 13], packet.be32(at + 4), packet.be32(at + 8));
        let other = self.table[&index].linked().filter(|other| self.table.contains_key(other));
        if flags & ACK != 0 {
            self.entry(index).ack = ack;
        }
        if flags & RST != 0 {
            if other.is_none_or(|other| self.accepts_rst(index, other, flags & ACK != 0, seq, ack)) {
                self.flag(Some(index), TcpFlags::RST | TcpFlags::DEAD);
                self.flag(other, TcpFlags::RST | TcpFlags::DEAD);
            }
            return;
        }
        let acknowledged =
            other.filter(|other| flags & ACK != 0 && ack == self.table[other].seq.wrapping_add(1));
        if flags & SYN != 0 {
            self.entry(index).seq = seq;
            self.flag(Some(index), TcpFlags::SYN);
            self.flag(other, TcpFlags::SYN_R);
            if let Some(other) = acknowledged.filter(|_| self.table[&index].tcp.contains(TcpFlags::SYN_R)) {
                self.establish(index, other);
            }
        } else if flags & FIN != 0 && self.accepts_fin(other, seq.wrapping_add(payload)) {
            self.entry(index).seq = seq.wrapping_add(payload);
            self.flag(Some(index), TcpFlags::FIN);
            self.flag(other, TcpFlags::FIN_R);
        }
        if let Some(other) = acknowledged {
            self.acknowledge(index, other);
        }
    }

    /// The other side's SYN or FIN is acknowledged.
    fn acknowledge(&mut self, index: u32, other: u32) {
        let seen = self.table[&index].tcp;
        if seen.contains(TcpFlags::FIN_R) {
            self.flag(Some(other), TcpFlags::HALF_CLOSE);
            if self.table[&index].tcp.contains(TcpFlags::HALF_CLOSE) {
                self.flag(Some(index), TcpFlags::DEAD);
                self.flag(Some(other), TcpFlags::DEAD);
            }
        } else if seen.contains(TcpFlags::SYN_R) && !seen.contains(TcpFlags::ESTABLISHED_R) {
            self.establish(index, other);
        }
    }

    fn establish(&mut self, index: u32, other: u32) {
        self.flag(Some(other), TcpFlags::ESTABLISHED);
        self.flag(Some(index), TcpFlags::ESTABLISHED_R);
    }

    fn entry(&mut self, index: u32) -> &mut super::Entry {
        self.table.get_mut(&index).unwrap()
    }

    fn flag(&mut self, index: Option<u32>, flags: TcpFlags) {
        if let Some(entry) = index.and_then(|index| self.table.get_mut(&index)) {
            entry.tcp |= flags;
        }
    }

    /// Before a connection is established, a RST has to acknowledge the SYN; later it has to stand where the other
    /// side waits for the next byte, and to acknowledge nothing older than the SYN.
    fn accepts_rst(&self, index: u32, other: u32, is_ack: bool, seq: u32, ack: u32) -> bool {
        let both = TcpFlags::ESTABLISHED | TcpFlags::ESTABLISHED_R;
        let is_open = self.table[&index].tcp.contains(both);
        let other = &self.table[&other];
        let is_answer = is_ack && other.tcp.contains(TcpFlags::SYN);
        let behind_syn = ack.wrapping_sub(other.seq.wrapping_add(1)) as i32;
        if self.closes_on_rst {
            true
        } else if is_answer && !is_open {
            behind_syn == 0
        } else {
            (!is_answer || behind_syn >= 0) && other.ack != 0 && seq == other.ack
        }
    }

    /// A FIN stands behind what the other side has acknowledged, by a window at the most.
    fn accepts_fin(&self, other: Option<u32>, end: u32) -> bool {
        let acknowledged = other.map_or(0, |other| self.table[&other].ack);
        acknowledged == 0 || (0..=1 << 30).contains(&(end.wrapping_add(1).wrapping_sub(acknowledged) as i32))
    }
}
