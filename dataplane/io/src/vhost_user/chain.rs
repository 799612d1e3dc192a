//! Buffers that a ring has lent, as pieces of the front end's memory.
#![allow(unsafe_code, reason = "memory that others share")]

use super::log::DirtyLog;
use super::memory::{GuestMemory, Piece};

/// Pieces that one packet may have; Linux makes no more than 47.
pub(super) const MOST_PIECES: usize = 256;

/// Descriptor chains, one behind the other, without their descriptors.
///
/// Made once for each port, so that receiving does not allocate.
pub(super) struct Chains {
    pieces: Vec<Piece>,
    /// First descriptor of each chain, and its bytes.
    heads: Vec<(u16, usize)>,
    len: usize,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { pieces: Vec::with_capacity(MOST_PIECES), heads: Vec::with_capacity(MOST_PIECES), len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.heads.clear();
        self.len = 0;
    }

    /// Bytes of all chains.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn heads(&self) -> &[(u16, usize)] {
        &self.heads
    }

    /// Begins a chain.
    pub(super) fn begin(&mut self, head: u16) {
        self.heads.push((head, 0));
    }

    /// Whether no more chains fit.
    pub(super) const fn is_full(&self) -> bool {
        self.pieces.len() == MOST_PIECES || self.heads.len() == MOST_PIECES
    }

    /// Adds a descriptor's buffer to the chain begun last; says whether it has bytes, all of them are the guest's
    /// memory and there was room. Empty buffers would cost work and end at no bound; nobody has a use for them.
    pub(super) fn push(&mut self, memory: &GuestMemory, mut address: u64, len: u32) -> bool {
        if len == 0 {
            return false;
        }
        let mut left = u64::from(len);
        while left > 0 {
            let Some(piece) = memory.guest(address, left).filter(|_| self.pieces.len() < MOST_PIECES) else {
                return false;
            };
            self.pieces.push(piece);
            // A piece is never empty, so this ends.
            left -= piece.len() as u64;
            address = address.wrapping_add(piece.len() as u64);
        }
        self.len += len as usize;
        if let Some((_, bytes)) = self.heads.last_mut() {
            *bytes += len as usize;
        }
        true
    }

    /// A position before the first byte.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor { pieces: &self.pieces, skip: 0 }
    }
}

/// A position in chains.
pub(super) struct Cursor<'a> {
    pieces: &'a [Piece],
    /// Bytes of the first piece that are behind the position.
    skip: usize,
}

impl Cursor<'_> {
    fn advance(&mut self, piece: Piece, len: usize) {
        self.skip += len;
        if len == piece.len() {
            self.pieces = &self.pieces[1..];
            self.skip = 0;
        }
    }

    fn rest(&self) -> Option<Piece> {
        self.pieces.first().map(|piece| piece.behind(self.skip))
    }

    /// Copies the next bytes out; says how many there were.
    ///
    /// # Safety
    /// The memory that the chains are in has to be mapped still.
    pub(super) unsafe fn read(&mut self, to: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(piece) = self.rest().filter(|_| done < to.len()) {
            // SAFETY: the caller vouches for the memory.
            let len = unsafe { piece.read(&mut to[done..]) };
            self.advance(piece, len);
            done += len;
        }
        done
    }

    /// Copies bytes in.
    ///
    /// # Safety
    /// As for [`Cursor::read`].
    pub(super) unsafe fn write(&mut self, from: &[u8], log: Option<&DirtyLog>) -> usize {
        let mut done = 0;
        while let Some(piece) = self.rest().filter(|_| done < from.len()) {
            // SAFETY: the caller vouches for the memory.
            let len = unsafe { piece.write(&from[done..]) };
            if let Some(log) = log {
                log.mark(piece.guest, len);
            }
            self.advance(piece, len);
            done += len;
        }
        done
    }
}
