//! Bob Jenkins' lookup3 for little-endian words (forwarding.md 6.3), with initial value 0.

const fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

const fn finish(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32) {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (c, b)
}

/// Hash of whole words; the second value is made of other bits of the same state.
#[inline]
#[must_use]
pub const fn hash_words<const N: usize>(words: &[u32; N]) -> (u32, u32) {
    let start = 0xdead_beef_u32.wrapping_add(4 * N as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut i = 0;
    while N - i > 3 {
        a = a.wrapping_add(words[i]);
        b = b.wrapping_add(words[i + 1]);
        c = c.wrapping_add(words[i + 2]);
        (a, b, c) = mix(a, b, c);
        i += 3;
    }
    if i < N {
        a = a.wrapping_add(words[i]);
    }
    if i + 1 < N {
        b = b.wrapping_add(words[i + 1]);
    }
    if i + 2 < N {
        c = c.wrapping_add(words[i + 2]);
    }
    if N == 0 { (c, b) } else { finish(a, b, c) }
}

/// Hash of an eight-byte key.
#[inline]
#[must_use]
pub const fn hash_8(bytes: [u8; 8]) -> u32 {
    let [a, b, c, d, e, f, g, h] = bytes;
    hash_words(&[u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]).0
}
