//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Ones' complement sum of `bytes`, not folded; an odd last byte counts as the high half of a word.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    // Words are added eight bytes at a time as the machine reads them; a ones' complement sum may be made in
    // any byte order and swapped at the end.
    let (words, rest) = bytes.as_chunks::<8>();
    let mut total: u128 = words.iter().map(|word| u128::from(u64::from_ne_bytes(*word))).sum();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    total += u128::from(u64::from_ne_bytes(last));
    let folded = (total as u64 as u128) + (total >> 64);
    let folded = (folded as u64 as u128) + (folded >> 64);
    let folded = fold32(folded as u64);
    u64::from(u16::from_be_bytes(folded.to_ne_bytes()))
}

/// Folds a sum of machine words to sixteen bits.
fn fold32(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    fold(sum)
}

/// Folds a sum to sixteen bits.
#[inline]
#[must_use]
pub const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of `bytes`, as it is written into a header.
#[inline]
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum `check` after a sixteen-bit field changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
#[must_use]
pub const fn update_16(check: u16, old: u16, new: u16) -> u16 {
    !fold(!check as u64 + !old as u64 + new as u64)
}

/// Sum of an IPv4 pseudo header.
#[inline]
#[must_use]
pub fn inet_pseudo(source: &[u8; 4], destination: &[u8; 4], protocol: u8, len: usize) -> u64 {
    sum(source) + sum(destination) + u64::from(protocol) + len as u64
}

/// Sum of an IPv6 pseudo header.
#[inline]
#[must_use]
pub fn inet6_pseudo(source: &[u8; 16], destination: &[u8; 16], protocol: u8, len: usize) -> u64 {
    sum(source) + sum(destination) + u64::from(protocol) + len as u64
}

/// Checksum of a layer 4 message over IPv4 whose checksum field is zero.
#[must_use]
pub fn inet_l4(source: &[u8; 4], destination: &[u8; 4], protocol: u8, message: &[u8]) -> u16 {
    !fold(inet_pseudo(source, destination, protocol, message.len()) + sum(message))
}

/// Checksum of a layer 4 message over IPv6 whose checksum field is zero.
#[must_use]
pub fn inet6_l4(source: &[u8; 16], destination: &[u8; 16], protocol: u8, message: &[u8]) -> u16 {
    !fold(inet6_pseudo(source, destination, protocol, message.len()) + sum(message))
}

/// Completes a partial checksum: the field at `start + offset` holds the pseudo header's sum and is part of
/// what is summed from `start` on. Says whether both lie in `bytes`.
#[must_use]
pub fn complete(bytes: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(message) = bytes.get(start..).filter(|message| message.len() >= offset + 2) else {
        return false;
    };
    // A sum of zero would mean "no checksum" to UDP; both values are the same number.
    let check = match of(message) {
        0 => 0xffff,
        check => check,
    };
    bytes[start + offset..start + offset + 2].copy_from_slice(&check.to_be_bytes());
    true
}
