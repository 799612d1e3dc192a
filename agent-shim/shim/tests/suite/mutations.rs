//! Recorded requests with random changes: each gets an answer, and nothing changes when that is an error.

use sandesh::messages::VrouterOps;
use sandesh::{Compat, SandeshOp, encode};

use crate::node::{Counts, Node};
use crate::recorded::{self, Requests};

/// Changed requests of all tests together.
const MUTATIONS: usize = 1_000_000;
/// Tests that share them.
const SHARES: usize = 2;
/// Changed requests after which the tables are as recorded again.
const EPISODE: usize = 50;

/// Numbers without a pattern (xorshift64, Marsaglia 2003).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }
}

/// Numbers at which something ends.
const EDGES: [u64; 16] =
    [0, 1, 2, 7, 16, 64, 127, 128, 255, 256, 4096, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

fn mutate(payload: &mut Vec<u8>, others: &Requests, random: &mut Random) {
    if payload.is_empty() {
        return payload.push(random.next() as u8);
    }
    let at = random.below(payload.len());
    let length = random.below(16).min(payload.len() - at);
    match random.below(12) {
        0 => payload[at] ^= 1 << random.below(8),
        1 => payload[at] = random.next() as u8,
        2..=5 => {
            let width = [1, 2, 4, 8][random.below(4)].min(payload.len() - at);
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            payload[at..at + width].copy_from_slice(&edge[8 - width..]);
        }
        6 => payload[at] = payload[at].wrapping_add(1),
        7 => payload.truncate(at),
        8 => drop(payload.drain(at..at + length)),
        9 => {
            let piece = payload[at..at + length].to_vec();
            payload.splice(at..at, piece);
        }
        10 => {
            // The rest of another request.
            let other = &others[random.below(others.len())];
            payload.truncate(at);
            payload.extend_from_slice(other.get(at..).unwrap_or_default());
        }
        _ => payload.extend_from_slice(&others[random.below(others.len())]),
    }
}

fn reset() -> Vec<u8> {
    let mut payload = Vec::new();
    encode(&VrouterOps { h_op: SandeshOp::RESET, ..VrouterOps::default() }, Compat::Current, &mut payload);
    payload
}

/// Changes requests while the tables are as in the middle of a recording: those of one share.
fn share(number: usize) -> Counts {
    let files = recorded::files();
    let all: Requests = files.concat();
    let each = MUTATIONS.div_ceil(SHARES * all.len());
    let mut random = Random(0x9e37_79b9_7f4a_7c15 + number as u64);
    let mut node = Node::new();
    for file in &files {
        for position in 0..file.len() {
            for count in 0..each {
                if count % EPISODE == 0 {
                    node.execute(&reset());
                    file[..position].iter().for_each(|request| drop(node.execute(request)));
                }
                let mut payload = match random.below(4) {
                    0 => all[random.below(all.len())].clone(),
                    _ => file[(position + random.below(8)) % file.len()].clone(),
                };
                for _ in 0..=random.below(3) {
                    mutate(&mut payload, &all, &mut random);
                }
                node.probe(&payload);
            }
        }
    }
    assert!(node.counts.accepted + node.counts.refused >= MUTATIONS / SHARES);
    node.counts
}

fn passes(number: usize) {
    let counts = share(number);
    println!("{counts:?}");
    assert!(counts.accepted > 100_000 && counts.refused > 100_000 && counts.malformed > 50_000, "{counts:?}");
}

/// Tests of one program run beside one another.
#[test]
fn a_million_changed_requests_first_half() {
    passes(0);
}

#[test]
fn a_million_changed_requests_second_half() {
    passes(1);
}
