//! Recorded requests with random changes: each gets an answer, and nothing changes when that is an error.

use sandesh::messages::VrouterOps;
use sandesh::{Compat, SandeshOp, encode};

use crate::node::Node;
use crate::recorded::{self, Requests};

/// Changed requests of the current release.
const MUTATIONS: usize = 1_000_000;
/// Changed requests after which the tables are as recorded again.
const EPISODE: usize = 100;

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
    match random.below(20) {
        0..=1 => payload[at] ^= 1 << random.below(8),
        2 => payload[at] = random.next() as u8,
        3..=12 => {
            let width = [1, 2, 4, 8][random.below(4)].min(payload.len() - at);
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            payload[at..at + width].copy_from_slice(&edge[8 - width..]);
        }
        13..=14 => payload[at] = payload[at].wrapping_add(1),
        15 => payload.truncate(at),
        16 => drop(payload.drain(at..at + length)),
        17 => {
            let piece = payload[at..at + length].to_vec();
            payload.splice(at..at, piece);
        }
        18 => {
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

/// Changes so many requests of clients of a release, while the tables are as in the middle of a recording.
fn change(mutations: usize, compat: Compat, seed: u64) {
    let files = recorded::files();
    let all = recorded::in_release(&files.concat(), compat);
    let each = mutations.div_ceil(files.concat().len());
    let mut random = Random(0x9e37_79b9_7f4a_7c15 + seed);
    let mut node = Node::of(compat);
    for file in &files {
        let own = recorded::in_release(file, compat);
        for position in 0..file.len() {
            for count in 0..each {
                if count % EPISODE == 0 {
                    node.execute(&reset());
                    file[..position].iter().for_each(|request| drop(node.execute(request)));
                }
                let mut payload = match random.below(4) {
                    0 => all[random.below(all.len())].clone(),
                    _ => own[(position + random.below(8)) % own.len()].clone(),
                };
                for _ in 0..=random.below(2) {
                    mutate(&mut payload, &all, &mut random);
                }
                node.probe(&payload);
            }
        }
    }
    let counts = node.counts;
    println!("{compat:?}: {counts:?}");
    assert!(counts.accepted + counts.refused >= mutations);
    let enough = |count: usize, share: usize| count > mutations / share;
    assert!(
        enough(counts.accepted, 5) && enough(counts.refused, 5) && enough(counts.malformed, 20),
        "{counts:?}"
    );
}

// Tests of one program run beside one another.

#[test]
fn a_million_changed_requests_first_half() {
    change(MUTATIONS / 2, Compat::Current, 0);
}

#[test]
fn a_million_changed_requests_second_half() {
    change(MUTATIONS / 2, Compat::Current, 1);
}

#[test]
fn changed_requests_of_the_old_release() {
    change(MUTATIONS / 5, Compat::R220, 2);
}
