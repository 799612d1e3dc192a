//! Later fragments take the ports of the first one, or wait for it (forwarding.md 8.3).

use vr_tables::flow::FlowKey;
use vr_types::DropReason;

use super::packet::guest_of;
use super::{End, Model, Packet, Resume};

/// How long a datagram is remembered and a fragment waits, in milliseconds.
const PATIENCE: u64 = 2000;

/// What the fragments of a datagram have in common: addresses, protocol, identification, VRF, guest.
pub(crate) type Datagram = (Vec<u8>, u8, u32, u16, Option<u16>);

#[derive(Debug)]
pub(super) struct Known {
    ports: [u8; 4],
    since: u64,
    received: usize,
    total: Option<usize>,
}

pub(super) struct Waiting {
    datagram: Datagram,
    since: u64,
    packet: Packet,
    resume: Resume,
}

/// Datagram, offset, length, and whether more follow.
fn fragment(packet: &Packet, guest: Option<u16>) -> Option<(Datagram, usize, usize, bool)> {
    let ip = &packet.frame[packet.ip..];
    let protocol = packet.transport().0;
    if packet.is_inet6() {
        if ip[6] != 44 {
            return None;
        }
        let field = packet.be16(42);
        let datagram = (ip[8..40].to_vec(), protocol, packet.be32(44), packet.vrf, guest);
        return Some((
            datagram,
            usize::from(field >> 3) * 8,
            usize::from(packet.be16(4)) - 8,
            field & 1 == 1,
        ));
    }
    let field = packet.be16(6);
    if field & 0x3fff == 0 {
        return None;
    }
    let datagram = (ip[12..20].to_vec(), protocol, u32::from(packet.be16(4)), packet.vrf, guest);
    let len = usize::from(packet.be16(2)) - 20;
    Some((datagram, usize::from(field & 0x1fff) * 8, len, field & 0x2000 != 0))
}

fn fragment_of(packet: &Packet) -> Option<(Datagram, usize, usize, bool)> {
    fragment(packet, guest_of(packet).map(|_| packet.vif.0))
}

impl Model {
    fn count(&mut self, (datagram, offset, len, more): (Datagram, usize, usize, bool)) {
        let Some(known) = self.known.get_mut(&datagram) else { return };
        known.received += len;
        if !more {
            known.total = Some(offset + len);
        }
        if known.total.is_some_and(|total| known.received >= total) {
            self.known.remove(&datagram);
        }
    }

    pub(super) fn remember_first_fragment(&mut self, packet: &Packet, key: &FlowKey) {
        let Some(first) = fragment_of(packet).filter(|(_, offset, ..)| *offset == 0) else { return };
        let ports = [key.source_port(), key.destination_port()].concat().try_into().unwrap();
        self.known.insert(first.0.clone(), Known { ports, since: self.now, received: 0, total: None });
        self.opened = Some(first.0.clone());
        self.count(first);
    }

    pub(super) fn key_of_later_fragment(
        &mut self,
        packet: &Packet,
        portless: &FlowKey,
        resume: Resume,
    ) -> Result<FlowKey, End> {
        let later = fragment_of(packet).unwrap();
        let Some(known) = self.known.get(&later.0) else { return Err(End::Wait(later.0, resume)) };
        let mut words = *portless.words();
        words[1] = u32::from_le_bytes(known.ports);
        self.count(later);
        Ok(FlowKey::from_words(words).unwrap())
    }

    pub(super) fn wait(&mut self, packet: Packet, datagram: Datagram, resume: Resume) {
        self.waiting.push(Waiting { datagram, since: self.now, packet, resume });
    }

    pub(super) fn release_fragments(&mut self) {
        let Some(datagram) = self.opened.take() else { return };
        let (released, others) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.datagram == datagram);
        self.waiting = others;
        let released: Vec<Waiting> = released;
        for Waiting { mut packet, resume, .. } in released {
            let end = match self.flow(&mut packet, resume, true) {
                Ok(()) => self.resume(&mut packet, resume),
                Err(End::Wait(..)) => DropReason::NoFragEntry.into(),
                Err(end) => end,
            };
            self.finish(packet, end);
        }
    }

    pub(super) fn forget_fragments(&mut self) {
        let now = self.now;
        self.known.retain(|_, known| now - known.since <= PATIENCE);
        let (late, others) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| now - waiting.since > PATIENCE);
        self.waiting = others;
        let late: Vec<Waiting> = late;
        for waiting in late {
            self.drop(&waiting.packet, DropReason::FragErr);
        }
    }
}

pub(super) fn is_whole(packet: &Packet) -> bool {
    fragment(packet, None).is_none()
}
