//! The 256 bytes of an entry that the agent maps (control.md 5.2).
#![allow(unsafe_code, reason = "states a property of a plain layout")]

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI8, AtomicU8, AtomicU16, AtomicU32};

use super::key::FlowKey;
use crate::mapped::Zeroed;

/// What happens to packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowAction {
    /// Dropped.
    Drop = 0,
    /// Kept until the agent decides.
    Hold = 1,
    /// Forwarded.
    Forward = 2,
    /// Rewritten and forwarded.
    Nat = 3,
}

impl FlowAction {
    /// The action with this number.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Drop,
            1 => Self::Hold,
            2 => Self::Forward,
            3 => Self::Nat,
            _ => return None,
        })
    }
}

bitflags::bitflags! {
    /// Flags of a flow (forwarding.md 6.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct FlowFlags: u16 {
        /// In use.
        const ACTIVE = 0x1;
        /// Rewrite the source address.
        const SNAT = 0x2;
        /// Rewrite the source port.
        const SPAT = 0x4;
        /// Rewrite the destination address.
        const DNAT = 0x8;
        /// Rewrite the destination port.
        const DPAT = 0x10;
        /// Unused.
        const TRAP_ECMP = 0x20;
        /// Being deleted.
        const DELETE_MARKED = 0x40;
        /// BGP as a service.
        const BGP_SERVICE = 0x80;
        /// Being changed. Owned by the forwarder.
        const MODIFIED = 0x100;
        /// The agent has not been told yet. Owned by the forwarder.
        const NEW_FLOW = 0x200;
        /// May be evicted. Owned by the forwarder.
        const EVICT_CANDIDATE = 0x400;
        /// Evicted. Owned by the forwarder.
        const EVICTED = 0x800;
        /// The reverse flow is known.
        const RFLOW_VALID = 0x1000;
        /// Mirrored.
        const MIRROR = 0x2000;
        /// Go on in another VRF.
        const VRFT = 0x4000;
        /// Flow of a link-local service.
        const LINK_LOCAL = 0x8000;
    }
}

impl FlowFlags {
    /// Flags that the agent cannot set.
    pub const OWNED: Self =
        Self::MODIFIED.union(Self::NEW_FLOW).union(Self::EVICT_CANDIDATE).union(Self::EVICTED);
}

bitflags::bitflags! {
    /// What was seen of a TCP connection (forwarding.md 6.8); `_R` is about the reverse flow.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct TcpFlags: u16 {
        /// FIN.
        const FIN = 0x1;
        /// FIN acknowledged.
        const HALF_CLOSE = 0x2;
        /// FIN in reverse.
        const FIN_R = 0x4;
        /// SYN.
        const SYN = 0x8;
        /// SYN in reverse.
        const SYN_R = 0x10;
        /// Established.
        const ESTABLISHED = 0x20;
        /// Established in reverse.
        const ESTABLISHED_R = 0x40;
        /// RST.
        const RST = 0x80;
        /// Over.
        const DEAD = 0x8000;
    }
}

/// An entry as clients map it. All fields in host order but those marked; every field that the forwarder
/// uses lies at a multiple of its size, so it can be an atomic.
#[repr(C, align(8))]
pub struct SharedFlow {
    hash_next_pointer: [AtomicU32; 2],
    /// Global index of the entry.
    pub index: AtomicU32,
    bucket_index: AtomicU32,
    /// Next entry of the overflow chain, `u32::MAX` for none.
    pub next_index: AtomicU32,
    /// Bit 0: the slot is in use.
    pub hash_flags: AtomicU8,
    /// TTL to write into packets, 0 for none.
    pub ttl: AtomicU8,
    /// QoS map, negative for none.
    pub qos_id: AtomicU16,
    key: [AtomicU32; 11],
    key_len: AtomicU8,
    /// Generation of the slot.
    pub generation: AtomicU8,
    /// [`TcpFlags`].
    pub tcp_flags: AtomicU16,
    hold_list: [AtomicU32; 2],
    /// Last sequence number of SYN or FIN.
    pub tcp_seq: AtomicU32,
    /// Index of the reverse flow, `u32::MAX` for none.
    pub reverse: AtomicU32,
    /// [`FlowFlags`].
    pub flags: AtomicU16,
    /// Further flags of host based services.
    pub flags1: AtomicU16,
    /// [`FlowAction`].
    pub action: AtomicU16,
    /// VRF of the flow.
    pub vrf: AtomicU16,
    /// VRF to go on in, with [`FlowFlags::VRFT`].
    pub dvrf: AtomicU16,
    /// First mirror, 255 for none.
    pub mirror: AtomicU8,
    /// Second mirror, 255 for none.
    pub mirror2: AtomicU8,
    /// Nexthop of the source check.
    pub source_nexthop: AtomicU32,
    /// Bytes, low 32 bits.
    pub bytes: AtomicU32,
    /// Packets, low 32 bits.
    pub packets: AtomicU32,
    /// Bytes, bits 32 to 47.
    pub bytes_overflow: AtomicU16,
    /// Packets, bits 32 to 39.
    pub packets_overflow: AtomicU8,
    /// Chosen member of a composite, negative for none.
    pub ecmp_index: AtomicI8,
    /// Why the agent dropped it.
    pub drop_reason: AtomicU8,
    /// 2 for IPv4, 3 for IPv6.
    pub packet_type: AtomicU8,
    /// Source port of the outer header.
    pub udp_source_port: AtomicU16,
    /// Where packets come from: outer source address (wire order) or interface number.
    pub source_info: AtomicU32,
    mirror_metadata: [AtomicU32; 2],
    /// Last acknowledgement number.
    pub tcp_ack: AtomicU32,
    /// Chosen underlay link, negative for none.
    pub underlay_ecmp: AtomicI8,
    bucket_lock: AtomicU8,
    padding: [AtomicU8; 118],
}

// SAFETY: atomics only; zero is a value of each.
unsafe impl Zeroed for SharedFlow {}

/// Bit of [`SharedFlow::hash_flags`].
pub(super) const HENTRY_VALID: u8 = 1;

impl SharedFlow {
    /// Bytes of an entry.
    pub const SIZE: usize = 256;

    /// The key, if the slot is in use.
    #[must_use]
    pub fn key(&self) -> Option<FlowKey> {
        if self.hash_flags.load(Relaxed) & HENTRY_VALID == 0 { None } else { self.last_key() }
    }

    /// The key of an entry that is in use, or of one that was evicted and has had no successor yet.
    pub(super) fn last_key(&self) -> Option<FlowKey> {
        FlowKey::from_words(std::array::from_fn(|i| self.key[i].load(Relaxed)))
    }

    /// First entry of the bucket that the key belongs to.
    pub(super) fn bucket(&self) -> u32 {
        self.bucket_index.load(Relaxed)
    }

    /// Whether the entry holds exactly this key.
    pub(super) fn has_key(&self, key: &FlowKey) -> bool {
        self.key_len.load(Relaxed) == key.len()
            && self.key.iter().zip(key.words()).all(|(cell, word)| cell.load(Relaxed) == *word)
    }

    pub(super) fn set_key(&self, key: &FlowKey) {
        for (cell, word) in self.key.iter().zip(key.words()) {
            cell.store(*word, Relaxed);
        }
        self.key_len.store(key.len(), Relaxed);
        self.packet_type.store(if key.is_inet6() { 3 } else { 2 }, Relaxed);
    }

    /// The flags.
    #[must_use]
    pub fn flags(&self) -> FlowFlags {
        FlowFlags::from_bits_truncate(self.flags.load(Relaxed))
    }

    /// The TCP flags.
    #[must_use]
    pub fn tcp_flags(&self) -> TcpFlags {
        TcpFlags::from_bits_truncate(self.tcp_flags.load(Relaxed))
    }

    /// Number of the metadata that goes with mirrored copies, 0 for none: the original has a pointer here.
    #[must_use]
    pub fn mirror_metadata(&self) -> u32 {
        self.mirror_metadata[0].load(Relaxed)
    }

    pub(crate) fn set_mirror_metadata(&self, number: u32) {
        self.mirror_metadata[0].store(number, Relaxed);
    }

    /// Packets and bytes as last brought up to date.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        let packets =
            u64::from(self.packets.load(Relaxed)) | u64::from(self.packets_overflow.load(Relaxed)) << 32;
        let bytes = u64::from(self.bytes.load(Relaxed)) | u64::from(self.bytes_overflow.load(Relaxed)) << 32;
        (packets, bytes)
    }

    pub(super) fn set_counters(&self, packets: u64, bytes: u64) {
        self.packets.store(packets as u32, Relaxed);
        self.packets_overflow.store((packets >> 32) as u8, Relaxed);
        self.bytes.store(bytes as u32, Relaxed);
        self.bytes_overflow.store((bytes >> 32) as u16, Relaxed);
    }

    /// Begins a change that nobody else may make at the same time, if nobody is making one, the agent knows the entry
    /// and it is not being removed: [`FlowFlags::MODIFIED`] is the lock.
    pub(super) fn start_change(&self, unless: FlowFlags) -> bool {
        self.start_renewal(unless | FlowFlags::NEW_FLOW)
    }

    /// The same, whether the agent knows the entry or not.
    pub(super) fn start_renewal(&self, unless: FlowFlags) -> bool {
        let unless = unless | FlowFlags::MODIFIED | FlowFlags::EVICTED;
        let start = |flags: u16| {
            let free = !FlowFlags::from_bits_truncate(flags).intersects(unless);
            free.then_some(flags | FlowFlags::MODIFIED.bits())
        };
        self.flags.fetch_update(Acquire, Relaxed, start).is_ok()
    }

    /// Ends what [`SharedFlow::start_change`] has begun, with some flags more or less.
    pub(super) fn end_change(&self, add: FlowFlags, remove: FlowFlags) {
        let end = |flags: u16| Some((flags & !(remove | FlowFlags::MODIFIED).bits()) | add.bits());
        // Never refused.
        let _ = self.flags.fetch_update(Release, Relaxed, end);
    }

    /// A fresh entry: everything at its initial value but key, generation and whether it is in use. Counters stay, for
    /// the next user is told what an evicted one has left. The link goes from its old value to the new one at once: the
    /// chain of a bucket hangs off its fourth entry, and is walked while that one gets another user.
    pub(super) fn initialise(&self, index: u32, bucket: u32, next: u32) {
        let (packets, bytes) = self.counters();
        self.clear();
        self.set_counters(packets, bytes);
        self.index.store(index, Relaxed);
        self.bucket_index.store(bucket, Relaxed);
        self.next_index.store(next, Relaxed);
        self.reverse.store(u32::MAX, Relaxed);
        self.mirror.store(u8::MAX, Relaxed);
        self.mirror2.store(u8::MAX, Relaxed);
        self.ecmp_index.store(-1, Relaxed);
        self.underlay_ecmp.store(-1, Relaxed);
    }

    /// Zeroes everything but the generation, which the next user advances, the link, and whether the entry is
    /// in use.
    pub(super) fn clear(&self) {
        for cell in
            self.hash_next_pointer.iter().chain(&self.key).chain(&self.hold_list).chain(&self.mirror_metadata)
        {
            cell.store(0, Relaxed);
        }
        for cell in [
            &self.index,
            &self.bucket_index,
            &self.tcp_seq,
            &self.reverse,
            &self.source_nexthop,
            &self.bytes,
            &self.packets,
            &self.source_info,
            &self.tcp_ack,
        ] {
            cell.store(0, Relaxed);
        }
        for cell in [
            &self.qos_id,
            &self.tcp_flags,
            &self.flags,
            &self.flags1,
            &self.action,
            &self.vrf,
            &self.dvrf,
            &self.bytes_overflow,
            &self.udp_source_port,
        ] {
            cell.store(0, Relaxed);
        }
        for cell in [
            &self.ttl,
            &self.key_len,
            &self.mirror,
            &self.mirror2,
            &self.packets_overflow,
            &self.drop_reason,
            &self.packet_type,
            &self.bucket_lock,
        ] {
            cell.store(0, Relaxed);
        }
        self.ecmp_index.store(0, Relaxed);
        self.underlay_ecmp.store(0, Relaxed);
    }
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<SharedFlow>() == SharedFlow::SIZE);
    assert!(offset_of!(SharedFlow, hash_flags) == 20);
    assert!(offset_of!(SharedFlow, qos_id) == 22);
    assert!(offset_of!(SharedFlow, key) == 24);
    assert!(offset_of!(SharedFlow, generation) == 69);
    assert!(offset_of!(SharedFlow, tcp_seq) == 80);
    assert!(offset_of!(SharedFlow, reverse) == 84);
    assert!(offset_of!(SharedFlow, flags) == 88);
    assert!(offset_of!(SharedFlow, action) == 92);
    assert!(offset_of!(SharedFlow, mirror) == 98);
    assert!(offset_of!(SharedFlow, bytes) == 104);
    assert!(offset_of!(SharedFlow, ecmp_index) == 115);
    assert!(offset_of!(SharedFlow, udp_source_port) == 118);
    assert!(offset_of!(SharedFlow, source_info) == 120);
    assert!(offset_of!(SharedFlow, tcp_ack) == 132);
    assert!(offset_of!(SharedFlow, underlay_ecmp) == 136);
};
