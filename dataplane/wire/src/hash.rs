//! Bob Jenkins' lookup3 for little-endian words (forwarding.md 6.3, 14.1): the hash of all shared tables.

/// What every state starts from, before length and seed.
const START: u32 = 0xdead_beef;

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

/// Hash of whole words with seed 0; the second value is made of other bits of the same state.
#[inline]
#[must_use]
pub const fn hash_words<const N: usize>(words: &[u32; N]) -> (u32, u32) {
    let start = START.wrapping_add(4 * N as u32);
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

/// Hash of an eight-byte key with seed 0.
#[inline]
#[must_use]
pub const fn hash_8(bytes: [u8; 8]) -> u32 {
    let [a, b, c, d, e, f, g, h] = bytes;
    hash_words(&[u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]).0
}

/// Hash of any bytes.
#[must_use]
pub fn hash_bytes(bytes: &[u8], seed: u32) -> u32 {
    let start = START.wrapping_add(bytes.len() as u32).wrapping_add(seed);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = bytes;
    loop {
        let taken = rest.len().min(12);
        let mut block = [0; 12];
        block[..taken].copy_from_slice(&rest[..taken]);
        let [x, y, z] = words(block);
        (a, b, c) = (a.wrapping_add(x), b.wrapping_add(y), c.wrapping_add(z));
        rest = &rest[taken..];
        if rest.is_empty() {
            break;
        }
        (a, b, c) = mix(a, b, c);
    }
    if bytes.is_empty() { c } else { finish(a, b, c).0 }
}

fn words(block: [u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = block;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
}

/// Hash of two words, as one more value is mixed into a hash: the finalisation alone.
#[inline]
#[must_use]
pub const fn hash_pair(first: u32, second: u32, initial: u32) -> u32 {
    finish(first.wrapping_add(START), second.wrapping_add(START), initial).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    fn as_words<const N: usize>(bytes: &[u8]) -> [u32; N] {
        std::array::from_fn(|i| u32::from_le_bytes(*bytes[4 * i..].first_chunk().unwrap()))
    }

    #[test]
    fn vectors_of_the_specification() {
        let counting: Vec<u8> = (0..=0x2b).collect();
        for (input, expected) in [
            (&b""[..], 0xdead_beef),
            (b"abc", 0x0e39_7631),
            (&counting[..12], 0x5e4a_a593),
            (&counting[..13], 0xbc9d_6816),
            (&counting[..20], 0x94b6_59b5),
            (&counting[..44], 0x3a10_4df7),
        ] {
            assert_eq!(hash_bytes(input, 0), expected, "{input:02x?}");
        }
        assert_eq!(hash_words(&as_words::<5>(&counting)).0, 0x94b6_59b5);
        assert_eq!(hash_words(&as_words::<11>(&counting)).0, 0x3a10_4df7);
        assert_eq!(hash_words(&[]).0, 0xdead_beef);
        assert_eq!(hash_pair(1, 2, 0), 0xf118_86ea);
    }

    #[test]
    fn published_vectors_with_a_seed() {
        let text = b"Four score and seven years ago";
        assert_eq!(hash_bytes(text, 0), 0x1777_0551);
        assert_eq!(hash_bytes(text, 1), 0xcd62_8161);
    }

    #[test]
    fn flow_keys_of_the_specification() {
        let index = |hash: u32| (hash % 524_288) & !3;
        for (key, hash, place) in [
            ("02010000 0470 0000 17000000 01010104 01010105", 0xf84a_4008, 147_464),
            ("02010000 0470 0000 1c000000 01010105 01010104", 0x67b3_a863, 239_712),
            ("02060000 9c40 0050 17000000 0a000004 0a000107", 0x6a88_ff61, 65_376),
            ("02010000 1031 0000 26000000 01000003 01000005", 0x1248_d9d5, 55_764),
            ("02010000 1031 0000 26000000 01000005 01000003", 0xc92d_e116, 385_300),
            ("02010000 0470 0000 17000000 01010107 02010104", 0x4155_2aed, 338_668),
            (
                "0a110000 1388 0035 17000000 fd000000000000000000000000000004 \
                 fd000000000000000000000000000007",
                0x2fbe_bc9a,
                441_496,
            ),
        ] {
            let key = bytes(key);
            assert_eq!(hash_bytes(&key, 0), hash, "{key:02x?}");
            assert_eq!(index(hash), place);
            if key.len() == 20 {
                assert_eq!(hash_words(&as_words::<5>(&key)).0, hash);
            } else {
                assert_eq!(hash_words(&as_words::<11>(&key)).0, hash);
            }
        }
    }

    #[test]
    fn bridge_keys_of_the_specification() {
        let index = |hash: u32| (hash % 262_144) & !3;
        let key = |hex| *bytes(hex).first_chunk().unwrap();
        assert_eq!(hash_8(key("02e703ea67f1 0200")), 0xea38_04eb);
        assert_eq!(hash_8(key("0288670c2e11 0200")), 0x902c_1d38);
        assert_eq!(index(hash_8(key("02e703ea67f1 0200"))), 1256);
        assert_eq!(index(hash_8(key("0288670c2e11 0200"))), 7480);
        assert_eq!(index(hash_8(key("02e703ea67f1 0500"))), 92_304);
    }

    #[test]
    fn uplink_hash_of_the_specification() {
        let hash = hash_bytes(&bytes("0a000004 0a000107 11 8813 8913"), 0);
        assert_eq!((hash, hash % 3), (0xa22a_bbe5, 2));
    }

    proptest! {
        #[test]
        fn words_and_bytes_agree(key: [u8; 44]) {
            prop_assert_eq!(hash_words(&as_words::<11>(&key)).0, hash_bytes(&key, 0));
            prop_assert_eq!(hash_words(&as_words::<5>(&key)).0, hash_bytes(&key[..20], 0));
            prop_assert_eq!(hash_8(*key.first_chunk().unwrap()), hash_bytes(&key[..8], 0));
            prop_assert_eq!(hash_words(&as_words::<3>(&key)).0, hash_bytes(&key[..12], 0));
        }
    }
}
