//! Reads of packet bytes that the verifier can follow: the only place that dereferences packet pointers.
//!
//! The verifier knows how far a packet pointer may be read from the last comparison of that very pointer (or
//! one that differs by a constant) with the end of the packet. After a step of variable length LLVM likes to
//! compare one sum and to read through another that it computed anew from the start of the packet, so a step is
//! an addition in inline assembly whose result LLVM knows nothing about.

use aya_ebpf::programs::XdpContext;
use core::{arch::asm, ptr};

/// A place in the packet, and the end of its linear part.
#[derive(Clone, Copy)]
pub struct Cursor {
    at: *const u8,
    end: *const u8,
}

impl Cursor {
    /// The start of the packet.
    #[inline(always)]
    pub fn of(ctx: &XdpContext) -> Self {
        Self { at: ctx.data() as *const u8, end: ctx.data_end() as *const u8 }
    }

    /// The value at `offset` bytes from here as it lies on the wire; `None` when the packet ends before.
    /// `offset` is a constant.
    #[inline(always)]
    pub fn read<T: Wire>(self, offset: usize) -> Option<T> {
        let field = self.at.wrapping_add(offset);
        if field.wrapping_add(size_of::<T>()) > self.end {
            return None;
        }
        // SAFETY: the bytes lie before the end of the packet, as just compared, and every bit pattern is a `T`.
        Some(unsafe { ptr::read_unaligned(field.cast()) })
    }

    /// The big-endian number at `offset` bytes from here.
    #[inline(always)]
    pub fn read_u16_be(self, offset: usize) -> Option<u16> {
        self.read::<u16>(offset).map(u16::from_be)
    }

    /// The place a constant number of bytes further on.
    #[inline(always)]
    pub fn skip(self, bytes: usize) -> Self {
        Self { at: self.at.wrapping_add(bytes), ..self }
    }

    /// The place a variable number of bytes further on, less than 64 KiB.
    #[inline(always)]
    pub fn skip_variable(self, bytes: u64) -> Self {
        let mut at = self.at;
        // SAFETY: adds two registers; touches neither memory nor the stack.
        unsafe {
            asm!("{at} += {bytes}", at = inout(reg) at, bytes = in(reg) bytes, options(pure, nomem, nostack));
        }
        Self { at, ..self }
    }

    /// Bytes from `start` to here.
    #[inline(always)]
    pub fn distance_from(self, start: Self) -> u16 {
        (self.at as usize).wrapping_sub(start.at as usize) as u16
    }
}

/// Numbers that may be read from a packet.
pub trait Wire: Copy {}
impl Wire for u8 {}
impl Wire for u16 {}
impl Wire for u32 {}
impl Wire for u64 {}
