//! Frames that nobody else sends.

/// For local experiments (IEEE 802): the kernel has nothing to do with it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// A frame of `len` bytes, different for every `number`.
pub fn frame(number: usize, len: usize) -> Vec<u8> {
    assert!(len >= 22, "there has to be room for the headers and the number");
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    frame.extend(ETHERTYPE);
    frame.extend((number as u64).to_be_bytes());
    let mut random = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    while frame.len() < len {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        frame.push(random as u8);
    }
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
