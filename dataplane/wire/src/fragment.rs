//! Fragmenting inner IPv4 packets that are too large for the underlay (forwarding.md 8.2).

use crate::ipv4::{self, Ipv4, MORE_FRAGMENTS, OFFSET};
use crate::segment::MAX_SEGMENTS;
use crate::{Error, checksum};

/// The last fragment is not made shorter than this where that can be avoided; bytes of payload.
const SHORTEST_LAST: usize = 64;

/// How an IPv4 packet is fragmented. Whatever precedes its header, for example outer headers, is copied in front
/// of every fragment; lengths in outer headers are for
/// [`encap::fit_lengths`](crate::encap::fit_lengths).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPlan {
    /// Offsets in the frame: IP header, payload and its end.
    network: usize,
    payload: usize,
    end: usize,
    /// Payload bytes of each fragment but the last two.
    size: usize,
    /// Payload bytes that moved from the last fragment but one to the last.
    moved: usize,
    count: usize,
    /// The word of flags and offset of the packet, which may be a fragment itself.
    flags_offset: u16,
}

impl FragmentPlan {
    /// A plan for the frame whose IPv4 header is at `network`, for fragments of at most `len` bytes, counted
    /// from the start of the frame. A packet that fits is one fragment. Layer 4 checksums must be complete.
    ///
    /// # Errors
    /// [`Error::Truncated`] and [`Error::Malformed`] for an unsound packet; [`Error::Unsupported`] when it must
    /// not be fragmented, when `len` leaves no room, or when there would be more than
    /// [`MAX_SEGMENTS`] fragments.
    pub fn new(frame: &[u8], network: usize, len: usize) -> Result<Self, Error> {
        let packet = frame.get(network..).ok_or(Error::Truncated)?;
        let header = Ipv4::new_checked(packet)?;
        let payload = network + header.header_len();
        let end = network + usize::from(header.total_len());
        if end < payload {
            return Err(Error::Malformed);
        }
        if frame.len() < end {
            return Err(Error::Truncated);
        }
        let bytes = end - payload;
        let room = len.checked_sub(payload).ok_or(Error::Unsupported)?;
        let size = room & !7;
        let whole = Self {
            network,
            payload,
            end,
            size: bytes,
            moved: 0,
            count: 1,
            flags_offset: header.flags_offset(),
        };
        if bytes <= room {
            return Ok(whole);
        }
        if header.dont_fragment() || size == 0 {
            return Err(Error::Unsupported);
        }
        // The last fragment need not be a multiple of eight bytes long.
        let before_last = (bytes - room).div_ceil(size);
        let last = bytes - before_last * size;
        let wanted = SHORTEST_LAST.saturating_sub(last).next_multiple_of(8);
        let moved = if size >= wanted + SHORTEST_LAST { wanted } else { 0 };
        if before_last >= MAX_SEGMENTS {
            return Err(Error::Unsupported);
        }
        if header.fragment_offset() + bytes > usize::from(OFFSET) * 8 {
            return Err(Error::Malformed);
        }
        Ok(Self { size, moved, count: before_last + 1, ..whole })
    }

    /// Number of fragments; at least one.
    #[inline]
    #[must_use]
    pub const fn fragments(&self) -> usize {
        self.count
    }

    /// Payload of fragment `index`, as offsets from the start of the packet's payload.
    fn range(&self, index: usize) -> core::ops::Range<usize> {
        let last = self.count - 1;
        let start =
            |index: usize| index * self.size - if index == last && last != 0 { self.moved } else { 0 };
        let end = if index == last { self.end - self.payload } else { start(index + 1) };
        start(index)..end
    }

    /// Writes fragment `index` (from 0) of `frame`, for which the plan was made, to the start of `out` and gives
    /// its length. `None` when there is no such fragment or `out` is too short for it.
    #[must_use]
    pub fn write(&self, index: usize, frame: &[u8], out: &mut [u8]) -> Option<usize> {
        if index >= self.count {
            return None;
        }
        let range = self.range(index);
        let headers = frame.get(..self.payload)?;
        let payload = frame.get(self.payload..self.end)?.get(range.clone())?;
        let out = out.get_mut(..headers.len() + payload.len())?;
        let (out_headers, out_payload) = out.split_at_mut_checked(headers.len())?;
        out_headers.copy_from_slice(headers);
        out_payload.copy_from_slice(payload);
        self.finish_header(index, range.start, out_headers.get_mut(self.network..)?, payload.len())?;
        Some(out.len())
    }

    fn finish_header(&self, index: usize, offset: usize, header: &mut [u8], payload: usize) -> Option<()> {
        if index != 0 {
            blank_first_only_options(header.get_mut(ipv4::LEN..)?);
        }
        let more = if index + 1 == self.count { 0 } else { MORE_FRAGMENTS };
        let total = (header.len() + payload) as u16;
        let mut view = Ipv4::new_checked_mut(header).ok()?;
        view.set_total_len(total);
        view.set_flags_offset((self.flags_offset + (offset / 8) as u16) | more);
        view.set_checksum(0);
        let check = checksum::of(header);
        Ipv4::new_checked_mut(header).ok()?.set_checksum(check);
        Some(())
    }
}

/// Replaces the options that only the first fragment carries (RFC 791, section 3.1) by "no operation".
fn blank_first_only_options(mut options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;

    while let [kind, ..] = *options
        && kind != END
    {
        let len = match (kind, options.get(1)) {
            (NO_OPERATION, _) => 1,
            (_, Some(len)) if *len >= 2 => usize::from(*len),
            _ => return,
        };
        let Some((option, rest)) = options.split_at_mut_checked(len) else { return };
        if kind & COPIED == 0 {
            option.fill(NO_OPERATION);
        }
        options = rest;
    }
}
