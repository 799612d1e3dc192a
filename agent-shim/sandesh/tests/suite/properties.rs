//! Properties that hold for every message and every input.

use proptest::prelude::*;
use sandesh::netlink::FrameReader;
use sandesh::{Compat, Kind, Message, ValueMut, decode, encoded_len};

use crate::sandesh_decode::sandesh_decode;
use crate::support::{decoded_one, encoded, read, to_json};

const RELEASES: [Compat; 3] = [Compat::Current, Compat::Intermediate, Compat::R220];

/// Random numbers from which fields are filled; zeros when used up, so that smaller tapes make plainer
/// messages.
struct Tape(std::vec::IntoIter<u64>);

impl Tape {
    fn next(&mut self) -> u64 {
        self.0.next().unwrap_or(0)
    }

    fn list<T>(&mut self, element: impl Fn(u64) -> T) -> Vec<T> {
        let count = self.next() % 5;
        (0..count).map(|_| element(self.next())).collect()
    }

    fn fill(&mut self, value: ValueMut<'_>) {
        match value {
            ValueMut::Text(value) => {
                *value = self.list(|n| char::from_u32(n as u32 % 0x300).unwrap_or('-')).into_iter().collect();
            }
            ValueMut::Byte(value) => *value = self.next() as u8,
            ValueMut::I16(value) => *value = self.next() as i16,
            ValueMut::U16(value) => *value = self.next() as u16,
            ValueMut::I32(value) => *value = self.next() as i32,
            ValueMut::U32(value) => *value = self.next() as u32,
            ValueMut::I64(value) => *value = self.next() as i64,
            ValueMut::U64(value) => *value = self.next(),
            ValueMut::Bytes(value) => *value = self.list(|n| n as u8),
            ValueMut::I16s(value) => *value = self.list(|n| n as i16),
            ValueMut::U16s(value) => *value = self.list(|n| n as u16),
            ValueMut::I32s(value) => *value = self.list(|n| n as i32),
            ValueMut::U32s(value) => *value = self.list(|n| n as u32),
            ValueMut::I64s(value) => *value = self.list(|n| n as i64),
            ValueMut::U64s(value) => *value = self.list(|n| n),
        }
    }
}

fn message() -> impl Strategy<Value = Message> {
    (prop::sample::select(&Kind::ALL[..]), prop::collection::vec(any::<u64>(), 0..300)).prop_map(
        |(kind, numbers)| {
            let mut tape = Tape(numbers.into_iter());
            let mut message = Message::new(kind);
            let record = message.as_record_mut();
            for index in 0..kind.fields().len() {
                tape.fill(record.value_mut(index).unwrap());
            }
            message
        },
    )
}

/// Fields of `kind` that have the same type in both releases or, without `r220`, in the current one.
fn kept_fields(table: &str, kind: Kind, r220: bool) -> Vec<&str> {
    let rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let rows = rows.filter(|row| row[0] == kind.name());
    rows.filter(|row| if r220 { row[7] == row[2] } else { row[1] != "-" }).map(|row| row[3]).collect()
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(message in message()) {
        let table = read("docs/spec/sandesh-messages.tsv");
        let record = message.as_record();
        let kind = record.kind();
        for (compat, r220) in [(Compat::Current, false), (Compat::R220, true)] {
            if !kind.exists_in(compat) {
                continue;
            }
            let again = decoded_one(&encoded(record, compat), compat);
            for field in kept_fields(&table, kind, r220) {
                let (before, after) = (record.get(field), again.as_record().get(field));
                prop_assert_eq!(before.map(to_json), after.map(to_json), "{}", field);
            }
        }
    }

    /// They take a shorter way, which an unknown field in front of them bars, and so does another release.
    #[test]
    fn fields_in_order_are_as_any_others(message in message()) {
        let record = message.as_record();
        let payload = encoded(record, Compat::Current);
        let (name, fields) = payload.split_at(4 + record.kind().name().len());
        let barred = [name, &[3, 0x7f, 0x7f, 1], fields].concat();
        prop_assert_eq!(decoded_one(&barred, Compat::Current), decoded_one(&payload, Compat::Current));
        if !matches!(record.kind(), Kind::NexthopReq | Kind::InterfaceReq) {
            prop_assert_eq!(encoded(record, Compat::Intermediate), payload);
        }
    }

    #[test]
    fn the_length_is_known_before(message in message()) {
        for compat in RELEASES {
            let record = message.as_record();
            prop_assert_eq!(encoded_len(record, compat), encoded(record, compat).len());
        }
    }

    #[test]
    fn a_cut_message_is_an_error(message in message()) {
        let kind = message.as_record().kind();
        for compat in RELEASES.into_iter().filter(|compat| kind.exists_in(*compat)) {
            let payload = encoded(message.as_record(), compat);
            for length in 1..payload.len() {
                let messages: Vec<_> = decode(&payload[..length], compat).collect();
                // The first bytes of the name's length look like padding.
                prop_assert!(length <= 3 || matches!(messages.as_slice(), [Err(_)]), "cut at {}", length);
            }
        }
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        sandesh_decode(&bytes);
    }

    #[test]
    fn damaged_messages_do_no_harm(
        messages in prop::collection::vec(message(), 1..3),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for compat in RELEASES {
            let mut payload: Vec<u8> =
                messages.iter().flat_map(|message| encoded(message.as_record(), compat)).collect();
            for (index, byte) in &damage {
                let index = index.index(payload.len());
                payload[index] = *byte;
            }
            sandesh_decode(&payload);
        }
    }

    #[test]
    fn random_streams_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut frames = FrameReader::new();
        let mut source = bytes.as_slice();
        while frames.read_from(&mut source).unwrap() > 0 {
            while let Ok(Some(frame)) = frames.next_frame() {
                prop_assert!(frame.payload.len() < bytes.len());
            }
        }
    }
}
