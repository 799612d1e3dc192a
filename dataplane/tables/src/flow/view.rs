//! Entries as R2.20 has them: 128 bytes, copied from the shared half into a file of their own (control.md 5.2).
#![allow(unsafe_code, reason = "states a property of a plain layout")]

use std::path::Path;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use vr_types::{FlowIndex, Release};

use super::layout::{FlowFlags, HENTRY_VALID, SharedFlow};
use super::table::FlowTable;
use crate::mapped::{MapError, Mapped, Zeroed};

/// How often an entry is copied again when it has changed meanwhile.
const TRIES: u32 = 8;

/// An entry in whole words, because fields are unaligned.
#[repr(C)]
struct FlowView([AtomicU64; FlowViews::SIZE / 8]);

// SAFETY: atomics only; zero is a value of each.
unsafe impl Zeroed for FlowView {}

/// The entries that clients of R2.20 map.
pub(super) struct FlowViews(Mapped<FlowView>);

impl FlowViews {
    /// Bytes of an entry.
    pub(super) const SIZE: usize = 128;

    pub(super) fn new(total: usize, file: Option<&Path>) -> Result<Self, MapError> {
        Ok(Self(match file {
            Some(path) => Mapped::file(path, total)?,
            None => Mapped::private(total)?,
        }))
    }

    /// Copies an entry. Whoever has changed `shared` calls this afterwards; if two do at the same time, the one whose
    /// copy is written last sees what the other has changed, and copies again.
    fn copy(&self, index: FlowIndex, shared: &SharedFlow) {
        let Some(view) = self.0.get(index.index()) else { return };
        fence(SeqCst);
        let mut words = words(shared);
        for _ in 0..TRIES {
            for (cell, word) in view.0.iter().zip(words) {
                if cell.load(Relaxed) != word {
                    cell.store(word, Relaxed);
                }
            }
            fence(SeqCst);
            let now = self::words(shared);
            if now == words {
                return;
            }
            words = now;
        }
    }

    /// Bytes of all entries.
    pub(super) fn bytes_of_all(&self) -> usize {
        size_of_val(&*self.0)
    }

    fn bytes(&self, index: FlowIndex) -> Option<[u8; Self::SIZE]> {
        let view = self.0.get(index.index())?;
        let mut bytes = [0; Self::SIZE];
        for (place, cell) in bytes.as_chunks_mut().0.iter_mut().zip(&view.0) {
            *place = cell.load(Relaxed).to_ne_bytes();
        }
        Some(bytes)
    }
}

fn words(shared: &SharedFlow) -> [u64; FlowViews::SIZE / 8] {
    let bytes = image(shared);
    let (chunks, _) = bytes.as_chunks();
    let mut words = [0; FlowViews::SIZE / 8];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u64::from_ne_bytes(*chunk);
    }
    words
}

/// The entry as R2.20 lays it out. A free one has nothing but its link, which may belong to the bucket; one that was
/// evicted keeps the rest until it has a successor. The agent of R2.20 has no IPv6 flows, so that keys are of IPv4.
fn image(shared: &SharedFlow) -> [u8; FlowViews::SIZE] {
    let mut bytes = [0; FlowViews::SIZE];
    put(&mut bytes, 16, shared.next_index.load(Relaxed).to_ne_bytes());
    let valid = shared.hash_flags.load(Relaxed) & HENTRY_VALID;
    let kept = valid != 0 || shared.flags().contains(FlowFlags::EVICTED);
    let Some(key) = shared.last_key().filter(|_| kept) else { return bytes };
    put(&mut bytes, 8, shared.index.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 12, shared.bucket().to_ne_bytes());
    put(&mut bytes, 20, [valid]);
    if let (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) =
        (key.source(), key.destination())
    {
        put(&mut bytes, 21, key.source_port());
        put(&mut bytes, 23, key.destination_port());
        put(&mut bytes, 25, source.octets());
        put(&mut bytes, 29, destination.octets());
        put(&mut bytes, 33, key.nexthop().0.to_ne_bytes());
        put(&mut bytes, 37, [key.protocol(), KEY_LEN]);
    }
    put(&mut bytes, 40, shared.tcp_flags.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 42, shared.tcp_seq.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 54, shared.action.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 56, shared.flags.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 58, shared.reverse.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 62, shared.vrf.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 64, shared.dvrf.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 66, (shared.source_nexthop.load(Relaxed) as u16).to_ne_bytes());
    put(&mut bytes, 68, [shared.mirror.load(Relaxed), shared.mirror2.load(Relaxed)]);
    put(&mut bytes, 70, shared.bytes.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 74, shared.packets.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 78, shared.bytes_overflow.load(Relaxed).to_ne_bytes());
    put(&mut bytes, 80, [shared.packets_overflow.load(Relaxed), shared.ecmp_index.load(Relaxed) as u8]);
    put(&mut bytes, 82, [shared.drop_reason.load(Relaxed), shared.packet_type.load(Relaxed)]);
    put(&mut bytes, 84, shared.udp_source_port.load(Relaxed).to_ne_bytes());
    bytes
}

/// Bytes of a key: ports, addresses, nexthop and protocol.
const KEY_LEN: u8 = 17;

fn put<const N: usize>(bytes: &mut [u8; FlowViews::SIZE], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

impl FlowTable {
    /// Bytes of an entry in the file that clients map.
    #[must_use]
    pub const fn entry_size(&self) -> usize {
        match self.views {
            Some(_) => Self::entry_size_of(Release::R220),
            None => Self::entry_size_of(Release::Current),
        }
    }

    /// Bytes of an entry that clients of a release map.
    pub(crate) const fn entry_size_of(release: Release) -> usize {
        match release {
            Release::Current => SharedFlow::SIZE,
            Release::R220 => FlowViews::SIZE,
        }
    }

    /// Shows clients an entry whose shared half was changed, if they do not map that half itself. Whoever changes a
    /// shared half outside of [`FlowTable::insert`] and [`FlowTable::modify`] calls this then.
    pub fn show(&self, index: FlowIndex) {
        if let (Some(views), Some(shared)) = (&self.views, self.shared(index)) {
            views.copy(index, shared);
        }
    }

    /// An entry as clients of R2.20 map it, if this table is for them.
    #[must_use]
    pub fn view(&self, index: FlowIndex) -> Option<[u8; 128]> {
        self.views.as_ref()?.bytes(index)
    }
}
