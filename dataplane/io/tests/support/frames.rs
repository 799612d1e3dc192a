//! Frames that nobody else sends.

/// For local experiments (IEEE 802): the kernel has nothing to do with it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// Numbers without a pattern, the same in every run (xorshift64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % end
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// A frame of `len` bytes, different for every `number`.
pub fn frame(number: usize, len: usize) -> Vec<u8> {
    assert!(len >= 22, "there has to be room for the headers and the number");
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    frame.extend(ETHERTYPE);
    frame.extend((number as u64).to_be_bytes());
    frame.extend(Random::new(number as u64).bytes(len - frame.len()));
    frame
}

/// Whether a frame is one of these and not something that the kernel has sent by itself.
pub fn is_ours(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ETHERTYPE)
}

/// Frames of all lengths from the shortest to the longest of an MTU of 1,500, in bursts of many sizes.
pub fn bursts() -> Vec<Vec<Vec<u8>>> {
    let sizes = [1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 100, 150, 200, 1, 64, 64, 64, 5];
    let mut number = 0;
    let mut next = || {
        number += 1;
        let len = match number {
            1 => 60,
            2 => 1514,
            _ => 60 + number * 389 % (1514 - 60 + 1),
        };
        frame(number, len)
    };
    sizes.iter().map(|size| (0..*size).map(|_| next()).collect()).collect()
}
