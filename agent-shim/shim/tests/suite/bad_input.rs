//! Every message of the schema, wrong in every way that can be listed: the answer is an error or, where the original
//! is lenient, success, and an error has changed nothing.

use sandesh::constants::wire_type;
use sandesh::{Compat, Kind, Message, encode};

use crate::node::Node;
use crate::raw::{Field, Raw, list, text, width};
use crate::recorded::{self, Requests};

/// The step files whose requests fill the tables: small tables, flows, then interfaces, tunnels and routes.
const FILLING: [usize; 3] = [5, 7, 9];
/// Operations: those that there are, and some that there are not.
const OPERATIONS: [i32; 9] = [0, 1, 2, 3, 4, 5, 6, -1, i32::MAX];

/// Every kind of message in every release.
fn kinds() -> impl Iterator<Item = (Compat, Vec<Kind>)> {
    [Compat::Current, Compat::R220].into_iter().map(|compat| {
        let known = Kind::ALL.into_iter().filter(|kind| kind.exists_in(compat)).collect();
        (compat, known)
    })
}

/// A node with something in its tables, to be asked wrongly.
struct Victim {
    node: Node,
    filling: Requests,
    reset: Vec<u8>,
    /// Requests that were accepted since the tables were filled.
    accepted: usize,
}

impl Victim {
    fn of(compat: Compat) -> Self {
        let reset = Raw::parse(&encoded(Kind::VrouterOps, Compat::Current))
            .with(0, wire_type::I32, vec![0, 0, 0, 5])
            .bytes();
        let (mut node, files) = (Node::of(compat), recorded::files());
        let mut filling = FILLING.map(|number| files[number].clone()).concat();
        // A recording also has what is refused, and what undoes the rest.
        filling.retain(|request| node.execute(request) == [0] && !is_removal(request));
        assert!(filling.len() > 60, "{} requests", filling.len());
        let mut victim = Self { node, filling, reset, accepted: 0 };
        victim.fill();
        victim
    }

    fn fill(&mut self) {
        self.accepted = 0;
        assert_eq!(self.node.execute(&self.reset), [0]);
        self.filling.iter().for_each(|request| drop(self.node.execute(request)));
    }

    /// Asks; when so many requests were accepted, the tables become what they were.
    fn ask(&mut self, payload: &[u8]) -> Vec<i32> {
        let codes = self.node.probe(payload);
        self.accepted += usize::from(!self.node.is_known());
        if self.accepted == 25 {
            self.fill();
        }
        codes
    }

    /// Asks when the tables are as at the beginning.
    fn ask_first(&mut self, payload: &[u8]) -> Vec<i32> {
        if self.accepted > 0 {
            self.fill();
        }
        self.ask(payload)
    }

    /// Asks what must be refused.
    fn refuses(&mut self, payload: &[u8]) {
        let codes = self.ask(payload);
        assert!(codes.iter().all(|code| *code < 0), "{codes:?}");
    }
}

fn is_removal(request: &[u8]) -> bool {
    let operation = Raw::parse(request).fields.into_iter().find(|field| field.id == 1);
    operation.is_some_and(|field| [[0, 0, 0, 2], [0, 0, 0, 5]].iter().any(|code| field.value == *code))
}

fn encoded(kind: Kind, compat: Compat) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(Message::new(kind).as_record(), compat, &mut bytes);
    bytes
}

/// Messages of a kind from which wrong ones are made: empty, and as recorded, with every operation.
fn bases(kind: Kind, compat: Compat) -> Vec<Raw> {
    let name = kind.name().as_bytes();
    let all = recorded::in_release(&recorded::files().concat(), compat);
    let recorded = all.iter().filter(|payload| payload.get(4..4 + name.len()) == Some(name));
    // The longest has most of its lists filled.
    let recorded = recorded.max_by_key(|payload| payload.len()).cloned();
    let mut bases = Vec::new();
    for raw in [Some(encoded(kind, compat)), recorded].into_iter().flatten().map(|bytes| Raw::parse(&bytes)) {
        // A recorded one may leave fields out.
        let has_operation =
            raw.fields.first().is_some_and(|field| field.id == 1 && field.code == wire_type::I32);
        if !has_operation {
            bases.push(raw);
            continue;
        }
        let operations =
            OPERATIONS.iter().map(|code| raw.with(0, wire_type::I32, code.to_be_bytes().to_vec()));
        bases.extend(operations);
    }
    bases
}

/// Values at the edges of a type, as they are encoded.
fn extremes(field: &Field) -> Vec<Vec<u8>> {
    match field.code {
        wire_type::STRING => [
            &b"\xff\xfe"[..],
            b"",
            b"x",
            b"vhost0",
            &[b'n'; 63],
            &[b'n'; 64],
            &[b'n'; 5000],
            b"a\0b",
            "\u{fffd}/..".as_bytes(),
        ]
        .map(text)
        .to_vec(),
        wire_type::LIST => {
            let element = field.value[0];
            let counts = [0, 1, 2, 3, 4, 6, 7, 16, 17, 65, 256, 1000, 7000];
            counts
                .iter()
                .flat_map(|count| [0, 1, 0x7f, 0xff].map(|fill| list(element, *count, fill)))
                .collect()
        }
        code => {
            let width = width(code);
            let numbers = [0, 1, 2, 3, 9, 10, 255, 256, 1023, 1024, 4095, 4096, 4355, 0x7fff, 0x8000, 0xffff];
            let large = [
                0x7fff_ffff,
                0x8000_0000,
                0xffff_fffe,
                0xffff_ffff,
                u64::MAX / 2,
                u64::MAX / 2 + 1,
                u64::MAX,
            ];
            let all = numbers
                .into_iter()
                .chain(large)
                .map(|number: u64| number.to_be_bytes()[8 - width..].to_vec());
            let mut all: Vec<Vec<u8>> = all.collect();
            all.sort_unstable();
            all.dedup();
            all
        }
    }
}

#[test]
fn every_field_at_its_extremes() {
    let mut fields = 0;
    for (compat, kinds) in kinds() {
        let mut victim = Victim::of(compat);
        for kind in kinds {
            for base in bases(kind, compat) {
                for (number, field) in base.fields.iter().enumerate() {
                    for value in extremes(field) {
                        victim.ask(&base.with(number, field.code, value).bytes());
                    }
                }
                fields += base.fields.len();
            }
        }
        println!("{compat:?}: {:?}", victim.node.counts);
    }
    assert!(fields > 8000, "{fields} fields");
}

/// A field of another type is left out.
#[test]
fn every_field_of_every_other_type() {
    let bytes = |code: u8| match code {
        wire_type::BOOL => vec![1],
        wire_type::DOUBLE | wire_type::IPV4 => vec![0x40; if code == wire_type::DOUBLE { 8 } else { 4 }],
        wire_type::STRING | wire_type::XML => text(b"text"),
        wire_type::STRUCT => vec![wire_type::BYTE, 0, 1, 9, wire_type::STOP],
        wire_type::MAP => [&[wire_type::BYTE, wire_type::I16, 0, 0, 0, 1][..], &[1, 2, 3]].concat(),
        wire_type::SET | wire_type::LIST => list(wire_type::I16, 3, 1),
        wire_type::UUID => vec![1; 16],
        wire_type::IPADDR => vec![2, 10, 0, 0, 1],
        wire_type::VOID => Vec::new(),
        code => vec![1; width(code)],
    };
    let codes = [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 24];
    for (compat, kinds) in kinds() {
        let mut victim = Victim::of(compat);
        for kind in kinds {
            for base in bases(kind, compat) {
                for number in 0..base.fields.len() {
                    for code in codes {
                        victim.ask(&base.with(number, code, bytes(code)).bytes());
                    }
                }
                // Nobody knows how long a value of an unknown type is.
                for code in [5, 7, 16, 17, 18, 25, 0x7f, 0xff] {
                    victim.refuses(&base.with(base.fields.len() - 1, code, vec![1; 8]).bytes());
                }
            }
        }
    }
}

#[test]
fn every_field_twice_and_in_the_wrong_order() {
    for (compat, kinds) in kinds() {
        let mut victim = Victim::of(compat);
        for kind in kinds {
            for base in bases(kind, compat) {
                for number in 0..base.fields.len() {
                    let mut twice = base.clone();
                    for value in extremes(&base.fields[number]).into_iter().step_by(3) {
                        twice.fields.push(Field { value, ..base.fields[number].clone() });
                    }
                    victim.ask(&twice.bytes());
                }
                let mut backwards = base.clone();
                backwards.fields.reverse();
                // The order of fields means nothing.
                assert_eq!(victim.ask_first(&backwards.bytes()), victim.ask_first(&base.bytes()));
            }
        }
    }
}

#[test]
fn unknown_names_and_numbers() {
    for (compat, kinds) in kinds() {
        let mut victim = Victim::of(compat);
        for kind in kinds {
            let base = Raw::parse(&encoded(kind, compat));
            let name = &base.name;
            let mut long = name.clone();
            long.resize(65, b'q');
            let wrong = [
                Vec::new(),
                vec![0],
                [name, &b"x"[..]].concat(),
                name.to_ascii_uppercase(),
                [name, &[0][..]].concat(),
                long,
            ];
            for name in wrong {
                victim.refuses(&Raw { name, ..base.clone() }.bytes());
            }
            for length in [-1, i32::MIN, i32::MAX, 0, 65, 1 << 20] {
                let mut bytes = base.bytes();
                bytes[..4].copy_from_slice(&length.to_be_bytes());
                victim.refuses(&bytes);
            }
            // Numbers that the message does not have are passed over.
            let known = victim.ask_first(&base.bytes());
            let mut more = base.clone();
            for id in [-1, 0, 200, i16::MAX, i16::MIN] {
                more.fields.push(Field { code: wire_type::STRING, id, value: text(b"later") });
            }
            assert_eq!(victim.ask_first(&more.bytes()), known);
        }
    }
}

#[test]
fn every_length_wrong() {
    for (compat, kinds) in kinds() {
        let mut victim = Victim::of(compat);
        for kind in kinds {
            for base in bases(kind, compat) {
                for (number, field) in base.fields.iter().enumerate() {
                    let at = match field.code {
                        wire_type::STRING => 0,
                        wire_type::LIST => 1,
                        _ => continue,
                    };
                    for length in [-1, i32::MIN, 1 << 17, i32::MAX] {
                        let mut value = field.value.clone();
                        value[at..at + 4].copy_from_slice(&length.to_be_bytes());
                        victim.refuses(&base.with(number, field.code, value).bytes());
                    }
                }
            }
        }
    }
}

/// Up to three zero bytes in the place of a message are padding.
#[test]
fn every_message_cut_at_every_byte() {
    for (compat, kinds) in kinds() {
        let mut victim = Victim::of(compat);
        for kind in kinds {
            for base in bases(kind, compat) {
                let bytes = base.bytes();
                assert_eq!(victim.node.probe(&[]).len(), 0);
                for length in 4..bytes.len() {
                    victim.refuses(&bytes[..length]);
                }
            }
        }
    }
}
