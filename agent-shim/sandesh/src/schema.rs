//! Which fields a message has on the wire.

use crate::constants::wire_type;
use crate::messages::{Kind, SCHEMAS};

/// Release of the other side: selects ids and types of fields (control.md 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compat {
    /// The release of 2025.
    #[default]
    Current,
    /// A release between the two: [`Compat::Current`], except that `nhr_encap_oif_id` and
    /// `vifr_cross_connect_idx` are written as one number. A [`Decoder`](crate::Decoder) finds out.
    Intermediate,
    /// contrail-vrouter of 2015.
    R220,
}

impl Kind {
    /// Name on the wire, for example `vr_nexthop_req`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.schema().name
    }

    /// Names of the fields. The position of a name is the field's index for
    /// [`Record::value`](crate::Record::value).
    #[must_use]
    pub fn fields(self) -> &'static [&'static str] {
        self.schema().fields
    }

    /// Whether this release has the message.
    #[must_use]
    pub fn exists_in(self, compat: Compat) -> bool {
        !self.wire_fields(compat).is_empty()
    }

    /// The fields on the wire in ascending id order; empty if the release does not have the message.
    pub(crate) fn wire_fields(self, compat: Compat) -> &'static [WireField] {
        let schema = self.schema();
        match compat {
            Compat::Current => schema.current,
            Compat::Intermediate => schema.intermediate,
            Compat::R220 => schema.r220,
        }
    }

    fn schema(self) -> &'static Schema {
        &SCHEMAS[self as usize]
    }
}

/// One message in every release.
pub(crate) struct Schema {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [&'static str],
    pub(crate) current: &'static [WireField],
    pub(crate) intermediate: &'static [WireField],
    pub(crate) r220: &'static [WireField],
}

/// A field as one release writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireField {
    pub(crate) id: i16,
    /// Position among the fields of the struct.
    pub(crate) index: u8,
    pub(crate) kind: WireType,
    /// A list and a single element are both accepted (control.md 9.2).
    pub(crate) either_shape: bool,
}

/// Type of a field on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireType {
    Int(Int),
    Text,
    List(Int),
}

impl WireType {
    /// Type byte.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Int(int) => int.code(),
            Self::Text => wire_type::STRING,
            Self::List(_) => wire_type::LIST,
        }
    }
}

/// Integer type on the wire, alone or in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Int {
    Byte,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
}

impl Int {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Byte => wire_type::BYTE,
            Self::I16 => wire_type::I16,
            Self::U16 => wire_type::U16,
            Self::I32 => wire_type::I32,
            Self::U32 => wire_type::U32,
            Self::I64 => wire_type::I64,
            Self::U64 => wire_type::U64,
        }
    }

    /// Bytes on the wire.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 => 4,
            Self::I64 | Self::U64 => 8,
        }
    }
}
