//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A *sum* is a ones' complement sum of big-endian words that is not folded yet: sums can be added. [`fold`]
//! makes sixteen bits of it, and the complement of these is a checksum.

/// Ones' complement sum of `bytes`, folded; an odd last byte counts as the high half of a word.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    // A ones' complement sum may be made in any byte order and of wider words, and swapped at the end. Two
    // wide sums, because one would wait for itself.
    let (blocks, rest) = bytes.as_chunks::<16>();
    let (mut even, mut odd) = (0u128, u128::from(sum_last(rest)));
    for block in blocks {
        let block = u128::from_le_bytes(*block);
        even += block & u128::from(u64::MAX);
        odd += block >> 64;
    }
    u64::from(fold_little_endian(even + odd))
}

/// Little-endian sum of the less than 16 bytes that are left.
#[inline]
fn sum_last(rest: &[u8]) -> u64 {
    let (mut total, mut rest) = (0, rest);
    if let Some((eight, others)) = rest.split_first_chunk::<8>() {
        let eight = u64::from_le_bytes(*eight);
        (total, rest) = ((eight & 0xffff_ffff) + (eight >> 32), others);
    }
    if let Some((four, others)) = rest.split_first_chunk::<4>() {
        (total, rest) = (total + u64::from(u32::from_le_bytes(*four)), others);
    }
    if let Some((two, others)) = rest.split_first_chunk::<2>() {
        (total, rest) = (total + u64::from(u16::from_le_bytes(*two)), others);
    }
    total + rest.first().map_or(0, |last| u64::from(*last))
}

/// The same as [`sum`] for a length that is known when this is compiled: a few additions.
#[inline]
#[must_use]
pub fn sum_fixed<const N: usize>(bytes: &[u8; N]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let total: u64 = words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum();
    u64::from(fold_little_endian(u128::from(total + sum_last(rest))))
}

/// Folds a sum of little-endian words to sixteen bits in network order.
#[inline]
const fn fold_little_endian(sum: u128) -> u16 {
    let sum = (sum & u64::MAX as u128) + (sum >> 64);
    let sum = (sum & 0xffff_ffff) as u64 + ((sum >> 32) & 0xffff_ffff) as u64 + (sum >> 64) as u64;
    fold(sum).swap_bytes()
}

/// Folds a sum to sixteen bits.
#[inline]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum of `bytes`, as it is written into a header.
#[inline]
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// Whether bytes that contain their own checksum are intact.
#[inline]
#[must_use]
pub fn is_valid(bytes: &[u8]) -> bool {
    fold(sum(bytes)) == 0xffff
}

/// The checksum `check` after a sixteen-bit field changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
#[must_use]
pub const fn update_16(check: u16, old: u16, new: u16) -> u16 {
    let sum = !check as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum + (sum >> 16)) as u16)
}

/// The checksum `check` after an even number of bytes at an even offset changed from `old` to `new`: an IPv4
/// address, a pair of ports, an IPv6 address.
#[inline]
#[must_use]
pub fn update<const N: usize>(check: u16, old: &[u8; N], new: &[u8; N]) -> u16 {
    const { assert!(N.is_multiple_of(2), "words change, not halves of words") };
    !fold(u64::from(!check) + difference(old, new))
}

/// A partial checksum, which holds the folded sum of the pseudo header without the complement, after a part of
/// the pseudo header changed from `old` to `new` (forwarding.md 8.5).
#[inline]
#[must_use]
pub fn update_partial<const N: usize>(partial: u16, old: &[u8; N], new: &[u8; N]) -> u16 {
    const { assert!(N.is_multiple_of(2), "words change, not halves of words") };
    fold(u64::from(partial) + difference(old, new))
}

#[inline]
fn difference<const N: usize>(old: &[u8; N], new: &[u8; N]) -> u64 {
    u64::from(!fold(sum_fixed(old))) + sum_fixed(new)
}

/// Sum of an IPv4 pseudo header; `len` is that of the layer 4 message.
#[inline]
#[must_use]
pub fn inet_pseudo(source: &[u8; 4], destination: &[u8; 4], protocol: u8, len: usize) -> u64 {
    sum_fixed(source) + sum_fixed(destination) + u64::from(protocol) + len as u64
}

/// Sum of an IPv6 pseudo header; `len` is that of the layer 4 message.
#[inline]
#[must_use]
pub fn inet6_pseudo(source: &[u8; 16], destination: &[u8; 16], protocol: u8, len: usize) -> u64 {
    sum_fixed(source) + sum_fixed(destination) + u64::from(protocol) + len as u64
}

/// Checksum of a layer 4 message over IPv4 whose checksum field is zero. UDP writes it [`for_udp`].
#[must_use]
pub fn inet_l4(source: &[u8; 4], destination: &[u8; 4], protocol: u8, message: &[u8]) -> u16 {
    !fold(inet_pseudo(source, destination, protocol, message.len()) + sum(message))
}

/// Checksum of a layer 4 message over IPv6 whose checksum field is zero. UDP writes it [`for_udp`].
#[must_use]
pub fn inet6_l4(source: &[u8; 16], destination: &[u8; 16], protocol: u8, message: &[u8]) -> u16 {
    !fold(inet6_pseudo(source, destination, protocol, message.len()) + sum(message))
}

/// Whether a layer 4 message over IPv4 that contains its checksum is intact. A UDP checksum of zero, which
/// means that there is none, is for the caller to recognise.
#[must_use]
pub fn inet_l4_is_valid(source: &[u8; 4], destination: &[u8; 4], protocol: u8, message: &[u8]) -> bool {
    inet_l4(source, destination, protocol, message) == 0
}

/// Whether a layer 4 message over IPv6 that contains its checksum is intact.
#[must_use]
pub fn inet6_l4_is_valid(source: &[u8; 16], destination: &[u8; 16], protocol: u8, message: &[u8]) -> bool {
    inet6_l4(source, destination, protocol, message) == 0
}

/// The checksum as UDP writes it: zero would mean that there is none, and all ones is the same number.
#[inline]
#[must_use]
pub const fn for_udp(check: u16) -> u16 {
    if check == 0 { 0xffff } else { check }
}

/// Completes a partial checksum (virtio 1.2, 5.1.6.2): the field at `start + offset` holds the pseudo header's
/// sum and is part of what is summed from `start` to the end. `false`, with nothing changed, when the field
/// does not lie in `bytes`.
#[must_use]
pub fn complete(bytes: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(message) = bytes.get_mut(start..) else { return false };
    let check = for_udp(of(message));
    match message.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
        Some(field) => {
            *field = check.to_be_bytes();
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(bytes: &[u8]) -> u16 {
        let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        bytes.chunks(2).fold(0, |total, pair| {
            let total = total + word(pair);
            (total & 0xffff) + (total >> 16)
        }) as u16
    }

    #[test]
    fn example_of_rfc_1071() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0x220d);
    }

    #[test]
    fn corner_case_of_rfc_1624() {
        // Equation 2 of RFC 1141 would give 0xffff here.
        assert_eq!(update_16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn folding_takes_all_carries() {
        for sum in [0, 1, 0xffff, 0x1_0000, 0x1_ffff, 0xffff_ffff, 0x1_0000_0000, u64::MAX, u64::MAX - 1] {
            let mut expected = u128::from(sum);
            while expected > 0xffff {
                expected = (expected & 0xffff) + (expected >> 16);
            }
            assert_eq!(u128::from(fold(sum)), expected, "{sum:#x}");
        }
        let ones = vec![0xff; 65536];
        assert_eq!(fold(sum(&ones)), 0xffff);
        assert_eq!(fold_little_endian(u128::MAX), 0xffff);
    }

    #[test]
    fn a_partial_checksum_outside_the_packet_is_refused() {
        let mut bytes = [1; 20];
        for (start, offset) in [(21, 0), (20, 0), (10, 9), (0, 19), (usize::MAX, 0), (0, usize::MAX), (4, 15)]
        {
            assert!(!complete(&mut bytes, start, offset), "{start} {offset}");
            assert_eq!(bytes, [1; 20]);
        }
        assert!(complete(&mut bytes, 10, 8));
    }

    proptest! {
        #[test]
        fn wide_sum_equals_the_naive_one(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(fold(sum(&bytes)), naive(&bytes));
        }

        #[test]
        fn fixed_sum_equals_the_naive_one(odd: [u8; 31], even: [u8; 20]) {
            prop_assert_eq!(fold(sum_fixed(&odd)), naive(&odd));
            prop_assert_eq!(fold(sum_fixed(&even)), naive(&even));
        }

        #[test]
        fn updates_equal_recomputation(
            mut bytes in proptest::collection::vec(any::<u8>(), 22..80),
            at in 1..9usize,
            new: [u8; 4],
        ) {
            bytes[0] |= 1; // A header that is all zero has two checksums.
            let check = of(&bytes);
            let old = *bytes[2 * at..].first_chunk::<4>().unwrap();
            bytes[2 * at..2 * at + 4].copy_from_slice(&new);
            prop_assert_eq!(update(check, &old, &new), of(&bytes));
            let [a, b, c, d] = old;
            let [e, f, g, h] = new;
            let step = update_16(check, u16::from_be_bytes([a, b]), u16::from_be_bytes([e, f]));
            let both = update_16(step, u16::from_be_bytes([c, d]), u16::from_be_bytes([g, h]));
            prop_assert_eq!(both, of(&bytes));
        }

        #[test]
        fn inet6_addresses_are_updated(
            source: [u8; 16], destination: [u8; 16], new: [u8; 16],
            message in proptest::collection::vec(any::<u8>(), 8..60),
        ) {
            let check = inet6_l4(&source, &destination, 6, &message);
            prop_assert_eq!(update(check, &source, &new), inet6_l4(&new, &destination, 6, &message));
        }

        #[test]
        fn completion_equals_computation(
            source: [u8; 4], destination: [u8; 4], new: [u8; 4],
            mut message in proptest::collection::vec(any::<u8>(), 20..200),
        ) {
            message[16..18].fill(0);
            let expected = inet_l4(&source, &destination, 6, &message);
            let partial = fold(inet_pseudo(&new, &destination, 6, message.len()));
            let partial = update_partial(partial, &new, &source);
            message[16..18].copy_from_slice(&partial.to_be_bytes());
            prop_assert!(complete(&mut message, 0, 16));
            prop_assert_eq!(&message[16..18], for_udp(expected).to_be_bytes());
            prop_assert!(inet_l4_is_valid(&source, &destination, 6, &message));
            message[3] ^= 0x10;
            prop_assert!(!inet_l4_is_valid(&source, &destination, 6, &message));
        }
    }
}
