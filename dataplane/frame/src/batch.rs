use std::ops::{Deref, DerefMut};

use crate::{BATCH, Packet};

/// At most [`BATCH`] packets on their way between a port and the pipeline, in order.
///
/// A vector that never grows, so that a whole batch can be handed on by one copy.
#[derive(Debug)]
pub struct Batch {
    packets: Vec<Packet>,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self { packets: Vec::with_capacity(BATCH) }
    }

    /// How many more packets there is room for.
    #[inline]
    #[must_use]
    pub fn remaining_capacity(&self) -> usize {
        BATCH - self.packets.len()
    }

    /// Whether there is no more room.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.remaining_capacity() == 0
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// The packet itself when the batch is full.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.is_full() {
            return Err(packet);
        }
        self.packets.push(packet);
        Ok(())
    }

    /// Removes all packets, in order.
    #[inline]
    pub fn drain(&mut self) -> std::vec::Drain<'_, Packet> {
        self.packets.drain(..)
    }

    /// Removes the packets for which `wanted` says so; the others keep their order.
    pub fn extract(&mut self, wanted: impl FnMut(&mut Packet) -> bool) -> Vec<Packet> {
        self.packets.extract_if(.., wanted).collect()
    }

    /// Moves all packets of `source` behind those of the batch; says whether there was room for them.
    #[inline]
    pub fn append(&mut self, source: &mut Vec<Packet>) -> bool {
        let fits = source.len() <= self.remaining_capacity();
        if fits {
            move_behind(source, &mut self.packets);
        }
        fits
    }

    /// Moves all packets behind those of `target`.
    #[inline]
    pub fn append_to(&mut self, target: &mut Vec<Packet>) {
        move_behind(&mut self.packets, target);
    }
}

/// Moves all packets of `source` behind those of `target`. Where nothing is in front of them and both lists have
/// room for a batch, the lists change places and no packet is copied.
#[inline]
pub fn move_behind(source: &mut Vec<Packet>, target: &mut Vec<Packet>) {
    if target.is_empty() && target.capacity() >= BATCH && source.capacity() >= BATCH {
        std::mem::swap(source, target);
    } else {
        target.append(source);
    }
}

impl Deref for Batch {
    type Target = [Packet];

    #[inline]
    fn deref(&self) -> &[Packet] {
        &self.packets
    }
}

impl DerefMut for Batch {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Packet] {
        &mut self.packets
    }
}
