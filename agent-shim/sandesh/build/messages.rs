//! Generates the messages: structs, [`Kind`] and the wire tables.

use std::fmt::Write;

use crate::codec;
use crate::tsv;

/// Fields that were a single number in the releases between R2.20 and the current one and are a list now
/// (control.md 9.2). Both shapes are read; [`Compat::Intermediate`] writes the number.
const ONCE_SCALAR: [(&str, &str); 2] =
    [("vr_nexthop_req", "nhr_encap_oif_id"), ("vr_interface_req", "vifr_cross_connect_idx")];

pub(crate) struct Message<'a> {
    /// Name on the wire.
    name: &'a str,
    /// Name of the struct.
    pub(crate) ident: String,
    pub(crate) fields: Vec<Field<'a>>,
}

pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    meaning: &'a str,
    /// Type in the current schema, or in R2.20's where only that has the field; decides the Rust type.
    pub(crate) kind: Type,
    pub(crate) current: Option<Wire>,
    r220: Option<Wire>,
    once_scalar: bool,
}

pub(crate) struct Wire {
    pub(crate) id: i16,
    kind: Type,
}

#[derive(Clone, Copy)]
pub(crate) enum Type {
    /// Name of the newtype of an I32 that is an enum.
    Enum(&'static str),
    Int(Int),
    Text,
    List(Int),
}

/// An integer: its name among the wire types and in Rust.
#[derive(Clone, Copy)]
pub(crate) struct Int {
    pub(crate) wire: &'static str,
    pub(crate) rust: &'static str,
}

impl Int {
    /// Name of its type byte.
    pub(crate) fn code(self) -> String {
        self.wire.to_uppercase()
    }

    /// Bytes on the wire.
    pub(crate) fn width(self) -> usize {
        match self.wire {
            "Byte" => 1,
            "I16" | "U16" => 2,
            "I32" | "U32" => 4,
            _ => 8,
        }
    }
}

pub(crate) fn generate(table: &str) -> Result<String, String> {
    let messages = parse(table)?;
    let mut out = String::new();
    for message in &messages {
        write_struct(&mut out, message);
        write_record(&mut out, message);
    }
    write_kind(&mut out, &messages);
    write_message(&mut out, &messages);
    write_schemas(&mut out, &messages);
    Ok(out)
}

fn parse(table: &str) -> Result<Vec<Message<'_>>, String> {
    let mut messages: Vec<Message> = Vec::new();
    for row in tsv::rows::<8>(table)? {
        let [message, id, kind, name, _, meaning, r220_id, r220_kind] = row;
        let field = Field {
            name,
            meaning,
            kind: parse_type(kind)?,
            current: parse_wire(id, kind)?,
            r220: parse_wire(r220_id, r220_kind)?,
            once_scalar: ONCE_SCALAR.contains(&(message, name)),
        };
        match messages.last_mut() {
            Some(last) if last.name == message => last.fields.push(field),
            _ => messages.push(Message { name: message, ident: ident(message), fields: vec![field] }),
        }
    }
    Ok(messages)
}

fn parse_wire(id: &str, kind: &str) -> Result<Option<Wire>, String> {
    let Some(id) = tsv::defined(id) else { return Ok(None) };
    let id = id.parse().map_err(|e| format!("field id {id}: {e}"))?;
    Ok(Some(Wire { id, kind: parse_type(kind)? }))
}

fn parse_type(text: &str) -> Result<Type, String> {
    Ok(match text {
        "sandesh_op" => Type::Enum("SandeshOp"),
        "flow_op" => Type::Enum("FlowOp"),
        "string" => Type::Text,
        _ => match text.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')) {
            Some(element) => Type::List(parse_int(element)?),
            None => Type::Int(parse_int(text)?),
        },
    })
}

fn parse_int(text: &str) -> Result<Int, String> {
    let (wire, rust) = match text {
        "byte" => ("Byte", "u8"),
        "i16" => ("I16", "i16"),
        "u16" => ("U16", "u16"),
        "i32" => ("I32", "i32"),
        "u32" => ("U32", "u32"),
        "i64" => ("I64", "i64"),
        "u64" => ("U64", "u64"),
        _ => return Err(format!("unknown type {text}")),
    };
    Ok(Int { wire, rust })
}

/// `vr_nexthop_req` becomes `NexthopReq`.
fn ident(message: &str) -> String {
    let words = message.strip_prefix("vr_").unwrap_or(message).split('_');
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

impl Type {
    fn rust(self) -> String {
        match self {
            Self::Enum(name) => name.to_owned(),
            Self::Int(int) => int.rust.to_owned(),
            Self::Text => "String".to_owned(),
            Self::List(int) => format!("Vec<{}>", int.rust),
        }
    }

    /// Variant of `WireType`.
    fn wire(self) -> String {
        match self {
            Self::Enum(_) => "Int(Int::I32)".to_owned(),
            Self::Int(int) => format!("Int(Int::{})", int.wire),
            Self::Text => "Text".to_owned(),
            Self::List(int) => format!("List(Int::{})", int.wire),
        }
    }

    /// Variant of `Value` and `ValueMut` for a field of this type.
    pub(crate) fn variant(self) -> String {
        match self {
            Self::Enum(_) => "I32".to_owned(),
            Self::Int(int) => int.wire.to_owned(),
            Self::Text => "Text".to_owned(),
            Self::List(int) => format!("{}s", int.wire),
        }
    }

    /// What follows the name of the field in Rust, and the integer that it is then, if it is one.
    pub(crate) fn number(self) -> Option<(&'static str, Int)> {
        match self {
            Self::Enum(_) => Some((".0", Int { wire: "I32", rust: "i32" })),
            Self::Int(int) => Some(("", int)),
            Self::Text | Self::List(_) => None,
        }
    }

    /// The type of an element instead of the list's.
    fn element(self) -> Self {
        match self {
            Self::List(int) => Self::Int(int),
            other => other,
        }
    }
}

fn write_struct(out: &mut String, message: &Message) {
    _ = writeln!(out, "/// The message `{}` (control.md 4).", message.name);
    _ = writeln!(out, "#[derive(Clone, Debug, Default, PartialEq, Eq)]");
    _ = writeln!(out, "pub struct {} {{", message.ident);
    for field in &message.fields {
        _ = writeln!(out, "    /// {}.", tsv::doc(field.meaning));
        if field.r220.is_none() {
            _ = writeln!(out, "    ///\n    /// Not in R2.20.");
        }
        _ = writeln!(out, "    pub {}: {},", field.name, field.kind.rust());
    }
    _ = writeln!(out, "}}\n");
}

fn write_record(out: &mut String, message: &Message) {
    _ = writeln!(out, "impl Record for {} {{", message.ident);
    _ = writeln!(out, "    fn kind(&self) -> Kind {{\n        Kind::{}\n    }}\n", message.ident);
    _ = writeln!(out, "    fn to_message(&self) -> Message {{\n        self.clone().into()\n    }}\n");
    let accessors = [("&self", "Value", "", "&"), ("&mut self", "ValueMut", "_mut", "&mut ")];
    for (receiver, value, suffix, borrow) in accessors {
        _ = writeln!(out, "    fn value{suffix}({receiver}, index: usize) -> Option<{value}<'_>> {{");
        _ = writeln!(out, "        Some(match index {{");
        for (index, field) in message.fields.iter().enumerate() {
            let borrow = match field.kind {
                Type::Enum(_) | Type::Int(_) if suffix.is_empty() => "",
                _ => borrow,
            };
            let inner = if matches!(field.kind, Type::Enum(_)) { ".0" } else { "" };
            let variant = field.kind.variant();
            _ = writeln!(
                out,
                "            {index} => {value}::{variant}({borrow}self.{}{inner}),",
                field.name
            );
        }
        _ = writeln!(out, "            _ => return None,\n        }})\n    }}\n");
    }
    codec::write(out, message);
    _ = writeln!(out, "}}\n");
}

fn write_kind(out: &mut String, messages: &[Message]) {
    _ = writeln!(out, "/// Which message.");
    _ = writeln!(out, "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\npub enum Kind {{");
    for message in messages {
        _ = writeln!(out, "    /// `{}`.\n    {},", message.name, message.ident);
    }
    _ = writeln!(out, "}}\n\nimpl Kind {{");
    _ = writeln!(out, "    /// Every kind, in the order of the schema.");
    _ = writeln!(out, "    pub const ALL: [Self; {}] = [", messages.len());
    for message in messages {
        _ = writeln!(out, "        Self::{},", message.ident);
    }
    _ = writeln!(out, "    ];\n");
    _ = writeln!(out, "    /// The kind that has this name on the wire.");
    _ = writeln!(out, "    #[must_use]\n    pub fn from_name(name: &[u8]) -> Option<Self> {{");
    _ = writeln!(out, "        Some(match name {{");
    for message in messages {
        _ = writeln!(out, "            b\"{}\" => Self::{},", message.name, message.ident);
    }
    _ = writeln!(out, "            _ => return None,\n        }})\n    }}\n}}\n");
}

fn write_message(out: &mut String, messages: &[Message]) {
    _ = writeln!(
        out,
        "/// A message of any kind.\n#[derive(Clone, Debug, PartialEq, Eq)]\npub enum Message {{"
    );
    for message in messages {
        _ = writeln!(out, "    /// `{}`.\n    {}(Box<{1}>),", message.name, message.ident);
    }
    _ = writeln!(out, "}}\n\nimpl Message {{");
    _ = writeln!(out, "    /// A message with every field zero or empty.");
    _ = writeln!(out, "    #[must_use]\n    pub fn new(kind: Kind) -> Self {{\n        match kind {{");
    for message in messages {
        _ = writeln!(out, "            Kind::{0} => Self::{0}(Box::default()),", message.ident);
    }
    _ = writeln!(out, "        }}\n    }}\n");
    _ = writeln!(out, "    /// Every field is zero or empty again; the memory is kept.");
    _ = writeln!(out, "    pub fn clear(&mut self) {{\n        match self {{");
    for message in messages {
        _ = writeln!(out, "            Self::{0}(message) => **message = {0}::default(),", message.ident);
    }
    _ = writeln!(out, "        }}\n    }}\n");
    for (receiver, suffix) in [("&", ""), ("&mut ", "_mut")] {
        _ = writeln!(out, "    /// The message without its type.\n    #[must_use]");
        _ = writeln!(out, "    pub fn as_record{suffix}({receiver}self) -> {receiver}dyn Record {{");
        _ = writeln!(out, "        match self {{");
        for message in messages {
            _ = writeln!(out, "            Self::{}(message) => {receiver}**message,", message.ident);
        }
        _ = writeln!(out, "        }}\n    }}\n");
    }
    _ = writeln!(out, "}}\n");
    for message in messages {
        _ = writeln!(
            out,
            "impl From<{0}> for Message {{\n    fn from(message: {0}) -> Self {{",
            message.ident
        );
        _ = writeln!(out, "        Self::{}(Box::new(message))\n    }}\n}}\n", message.ident);
        write_conversion(out, "", "Message", &message.ident, "*");
        write_conversion(out, "<'a>", "&'a Message", &format!("&'a {}", message.ident), "");
    }
}

/// Writes how a message of one kind is taken out of one of any kind; the error is the message itself.
fn write_conversion(out: &mut String, lifetime: &str, from: &str, to: &str, unbox: &str) {
    let kind = to.trim_start_matches("&'a ");
    _ = writeln!(out, "impl{lifetime} TryFrom<{from}> for {to} {{\n    type Error = {from};\n");
    _ = writeln!(
        out,
        "    fn try_from(message: {from}) -> Result<Self, {from}> {{\n        match message {{"
    );
    _ = writeln!(out, "            Message::{kind}(message) => Ok({unbox}message),");
    _ = writeln!(out, "            other => Err(other),\n        }}\n    }}\n}}\n");
}

fn write_schemas(out: &mut String, messages: &[Message]) {
    _ = writeln!(out, "/// Indexed by [`Kind`].");
    _ = writeln!(out, "pub(crate) static SCHEMAS: [Schema; {}] = [", messages.len());
    for message in messages {
        _ = writeln!(out, "    Schema {{\n        name: \"{}\",\n        fields: &[", message.name);
        for field in &message.fields {
            _ = writeln!(out, "            \"{}\",", field.name);
        }
        _ = writeln!(out, "        ],");
        write_wire_fields(out, message, "current", |field| Some((field.current.as_ref()?, false)));
        write_wire_fields(out, message, "intermediate", |field| {
            Some((field.current.as_ref()?, field.once_scalar))
        });
        write_wire_fields(out, message, "r220", |field| Some((field.r220.as_ref()?, false)));
        _ = writeln!(out, "    }},");
    }
    _ = writeln!(out, "];");
}

/// Writes the wire table of one schema; `select` gives the wire form of a field and whether the element
/// of its list stands for the list.
fn write_wire_fields<'a>(
    out: &mut String,
    message: &'a Message,
    schema: &str,
    select: impl Fn(&'a Field<'a>) -> Option<(&'a Wire, bool)>,
) {
    let mut fields: Vec<_> = message
        .fields
        .iter()
        .enumerate()
        .filter_map(|(index, field)| {
            select(field).map(|(wire, scalar)| (wire, scalar, index, field.once_scalar))
        })
        .collect();
    fields.sort_by_key(|(wire, ..)| wire.id);
    _ = writeln!(out, "        {schema}: &[");
    for (wire, scalar, index, either_shape) in fields {
        let kind = if scalar { wire.kind.element() } else { wire.kind };
        let (id, kind) = (wire.id, kind.wire());
        _ = writeln!(
            out,
            "            WireField {{ id: {id}, index: {index}, kind: WireType::{kind}, either_shape: {either_shape} }},"
        );
    }
    _ = writeln!(out, "        ],");
}
