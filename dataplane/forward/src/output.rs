use vr_frame::{BATCH, Packet};
use vr_types::VifId;

/// Packets to send and the interfaces to send them by, in order.
///
/// Interfaces and packets stand in two lists, so that packets can be moved many at a time.
#[derive(Debug, Default)]
pub struct Output {
    to: Vec<VifId>,
    packets: Vec<Packet>,
}

impl Output {
    /// An empty list with room for what a batch usually gives.
    #[must_use]
    pub fn new() -> Self {
        Self { to: Vec::with_capacity(2 * BATCH), packets: Vec::with_capacity(2 * BATCH) }
    }

    /// Adds a packet.
    #[inline]
    pub fn push(&mut self, to: VifId, packet: Packet) {
        self.to.push(to);
        self.packets.push(packet);
    }

    /// Adds all packets of a batch, each with its interface.
    #[inline]
    pub(crate) fn append(&mut self, to: impl Iterator<Item = VifId>, batch: &mut vr_frame::Batch) {
        self.to.extend(to.take(batch.len()));
        batch.append_to(&mut self.packets);
    }

    /// How many packets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The one interface that all packets go to, if there is such a one.
    #[inline]
    #[must_use]
    pub fn single_target(&self) -> Option<VifId> {
        let (first, rest) = self.to.split_first()?;
        rest.iter().all(|to| to == first).then_some(*first)
    }

    /// Moves all packets behind those of `target`, whatever their interfaces.
    #[inline]
    pub fn append_to(&mut self, target: &mut Vec<Packet>) {
        self.to.clear();
        vr_frame::move_behind(&mut self.packets, target);
    }

    /// Removes all packets, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = (VifId, Packet)> + '_ {
        self.to.drain(..).zip(self.packets.drain(..))
    }
}
