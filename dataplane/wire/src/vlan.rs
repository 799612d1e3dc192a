//! VLAN tags (IEEE 802.1Q).

use crate::header::header;

/// Offset of the first tag in a frame: behind the two addresses.
const AT: usize = 12;

header! {
    /// A tag: the type that announces it and the control information.
    Tag[4] {
        /// 0x8100, or 0x88a8 for a service tag.
        tpid / set_tpid: u16 = 0;
        /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
        tci / set_tci: u16 = 2;
    }
}

impl<B: core::borrow::Borrow<[u8; LEN]>> Tag<B> {
    /// VLAN id, 12 bits.
    #[inline]
    pub fn id(&self) -> u16 {
        self.tci() & 0xfff
    }

    /// Priority, 0 to 7.
    #[inline]
    pub fn priority(&self) -> u8 {
        (self.tci() >> 13) as u8
    }
}

/// Tags a frame. `frame` begins with four free bytes, as a push of the headroom gives them, and the untagged
/// frame behind them. `false`, with nothing changed, when it is shorter than these and two addresses.
#[inline]
#[must_use]
pub fn push(frame: &mut [u8], tpid: u16, tci: u16) -> bool {
    let Some(start) = frame.first_chunk_mut::<{ LEN + AT }>() else { return false };
    start.copy_within(LEN.., 0);
    let mut tag = Tag::new([0; LEN]);
    tag.set_tpid(tpid);
    tag.set_tci(tci);
    start[AT..].copy_from_slice(tag.as_bytes());
    true
}

/// Takes the first tag off a frame. The addresses move four bytes towards the end, so that the untagged frame
/// starts at offset 4: the caller pulls these bytes. `None`, with nothing changed, when the frame is shorter
/// than two addresses and a tag.
#[inline]
#[must_use]
pub fn pop(frame: &mut [u8]) -> Option<Tag<[u8; LEN]>> {
    let start = frame.first_chunk_mut::<{ AT + LEN }>()?;
    let tag = Tag::new(*start.last_chunk::<LEN>()?);
    start.copy_within(..AT, LEN);
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::{Tag, pop, push};

    #[test]
    fn what_is_pushed_is_popped() {
        let untagged: Vec<u8> = (0..30).collect();
        let mut frame = [&[0xaa; 4], &untagged[..]].concat();
        assert!(push(&mut frame, 0x8100, 0xa123));
        assert_eq!(frame[..12], untagged[..12]);
        assert_eq!(frame[12..16], [0x81, 0x00, 0xa1, 0x23]);
        assert_eq!(frame[16..], untagged[12..]);
        let tag = pop(&mut frame).unwrap();
        assert_eq!((tag.tpid(), tag.id(), tag.priority()), (0x8100, 0x123, 5));
        assert_eq!(frame[4..], untagged);
    }

    #[test]
    fn short_frames_stay_unchanged() {
        let mut frame = [7; 15];
        assert!(!push(&mut frame, 0x8100, 1));
        assert!(pop(&mut frame).is_none());
        assert_eq!(frame, [7; 15]);
        assert!(Tag::new_checked(&frame[..3]).is_err());
    }
}
