//! Generates what reads and writes the fields of a message without looking into the wire tables.

use std::fmt::Write;

use crate::messages::{Field, Int, Message, Type};

/// Writes the methods of `Record` for that.
pub(crate) fn write(out: &mut String, message: &Message) {
    write_set_number(out, message);
    let mut fields: Vec<_> =
        message.fields.iter().filter_map(|field| Some((field, field.current.as_ref()?.id))).collect();
    fields.sort_by_key(|(_, id)| *id);
    write_reader(out, &fields);
    write_writer(out, message, &fields);
}

/// Writes what takes the numbers of a message that is read.
fn write_set_number(out: &mut String, message: &Message) {
    _ = writeln!(out, "    fn set_number(&mut self, index: usize, bits: u64) -> bool {{");
    _ = writeln!(out, "        match index {{");
    for (index, field) in message.fields.iter().enumerate() {
        let Some((inner, Int { rust, .. })) = field.kind.number() else { continue };
        let cast = if rust == "u64" { String::new() } else { format!(" as {rust}") };
        _ = writeln!(out, "            {index} => self.{}{inner} = bits{cast},", field.name);
    }
    _ = writeln!(out, "            _ => return false,\n        }}\n        true\n    }}\n");
}

/// Writes what reads the fields of the current release up to the first text or list of other things than bytes.
fn write_reader(out: &mut String, fields: &[(&Field, i16)]) {
    _ = writeln!(out, "    fn read_in_order<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {{");
    for (Field { name, kind, .. }, id) in fields {
        let [high, low] = id.to_be_bytes();
        let header = |code, rest, length| {
            format!(
                "        let Some(([wire_type::{code}, {high}, {low}, {rest} @ ..], rest)) =\n            \
                 bytes.split_first_chunk::<{length}>()\n        else {{\n            return bytes;\n        }};"
            )
        };
        match kind.number() {
            Some((inner, int)) => {
                _ = writeln!(out, "{}", header(int.code(), "value", 3 + int.width()));
                _ = writeln!(out, "        self.{name}{inner} = {}::from_be_bytes(*value);", int.rust);
            }
            None if matches!(kind, Type::List(Int { wire: "Byte", .. })) => {
                _ = writeln!(out, "{}", header("LIST".to_owned(), "_, count", 8));
                _ = writeln!(out, "        let count = usize::try_from(i32::from_be_bytes(*count)).ok();");
                _ = writeln!(
                    out,
                    "        let Some((list, rest)) = count.and_then(|count| rest.split_at_checked(count)) else {{"
                );
                _ = writeln!(out, "            return bytes;\n        }};");
                _ = writeln!(out, "        list.clone_into(&mut self.{name});");
            }
            None => break,
        }
        _ = writeln!(out, "        bytes = rest;");
    }
    _ = writeln!(out, "        bytes\n    }}\n");
}

/// Writes what writes the fields of the current release.
fn write_writer(out: &mut String, message: &Message, fields: &[(&Field, i16)]) {
    _ = writeln!(out, "    fn write_in_order(&self, out: &mut Vec<u8>) {{");
    for (position, (Field { name, kind, .. }, id)) in fields.iter().enumerate() {
        let [high, low] = id.to_be_bytes();
        if let Some((inner, int)) = kind.number() {
            let bytes: Vec<String> = (0..int.width()).map(|place| format!("b{place}")).collect();
            let bytes = bytes.join(", ");
            let code = int.code();
            _ = writeln!(out, "        let [{bytes}] = self.{name}{inner}.to_be_bytes();");
            _ = writeln!(out, "        out.extend_from_slice(&[wire_type::{code}, {high}, {low}, {bytes}]);");
        } else {
            let schema = format!("SCHEMAS[Kind::{} as usize].current[{position}]", message.ident);
            _ = writeln!(out, "        put({schema}, Value::{}(&self.{name}), out);", kind.variant());
        }
    }
    _ = writeln!(out, "    }}");
}
