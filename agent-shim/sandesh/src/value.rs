//! Fields of a message by number or name, for code that does not know the message: the codec, programs
//! that print messages, tests.

use crate::messages::{Kind, Message};

/// A message whose fields can be reached by number.
pub trait Record {
    /// Which message this is.
    fn kind(&self) -> Kind;

    /// A copy whose type is known.
    fn to_message(&self) -> Message;

    /// Field number `index` of [`Kind::fields`].
    fn value(&self, index: usize) -> Option<Value<'_>>;

    /// Field number `index` of [`Kind::fields`], to be changed.
    fn value_mut(&mut self, index: usize) -> Option<ValueMut<'_>>;

    /// The low bits of `bits` become field number `index` of [`Kind::fields`]; false if that is no number.
    fn set_number(&mut self, index: usize, bits: u64) -> bool;

    /// Takes fields from the front of a payload as long as they come as the current release writes them, one after the
    /// other; what is left then is to be read field by field.
    fn read_in_order<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8];

    /// Appends all fields as the current release writes them.
    fn write_in_order(&self, out: &mut Vec<u8>);

    /// The field with this name.
    fn get(&self, name: &str) -> Option<Value<'_>> {
        self.value(self.kind().field_index(name)?)
    }

    /// The field with this name, to be changed.
    fn get_mut(&mut self, name: &str) -> Option<ValueMut<'_>> {
        self.value_mut(self.kind().field_index(name)?)
    }
}

impl Kind {
    fn field_index(self, name: &str) -> Option<usize> {
        self.fields().iter().position(|field| *field == name)
    }
}

/// An integer and its bits in 64, sign extended: the form in which the codec moves numbers between types.
trait Bits: Copy {
    fn to_bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

macro_rules! values {
    ($($int:ident $list:ident $type:ty;)*) => {
        $(impl Bits for $type {
            fn to_bits(self) -> u64 {
                self as u64
            }

            fn from_bits(bits: u64) -> Self {
                bits as Self
            }
        })*

        /// Value of a field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the variants are named after the types they hold")]
        pub enum Value<'a> {
            $($int($type), $list(&'a [$type]),)*
            Text(&'a str),
        }

        /// Value of a field, to be changed.
        #[derive(Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the variants are named after the types they hold")]
        pub enum ValueMut<'a> {
            $($int(&'a mut $type), $list(&'a mut Vec<$type>),)*
            Text(&'a mut String),
        }

        impl Value<'_> {
            /// Calls `emit` for the number, or for each number of the list.
            pub(crate) fn each(self, mut emit: impl FnMut(u64)) {
                match self {
                    $(Self::$int(value) => emit(value.to_bits()),
                    Self::$list(values) => values.iter().for_each(|value| emit(value.to_bits())),)*
                    Self::Text(_) => {}
                }
            }

            /// The number, or the first one of the list.
            pub(crate) fn first(self) -> Option<u64> {
                match self {
                    $(Self::$int(value) => Some(value.to_bits()),
                    Self::$list(values) => values.first().map(|value| value.to_bits()),)*
                    Self::Text(_) => None,
                }
            }

            /// How many numbers, or bytes of text.
            pub(crate) fn len(self) -> usize {
                match self {
                    $(Self::$int(_) => 1,
                    Self::$list(values) => values.len(),)*
                    Self::Text(text) => text.len(),
                }
            }
        }

        impl ValueMut<'_> {
            /// Replaces the value: a number takes the first of `numbers` or 0, a list all.
            pub(crate) fn store(self, mut numbers: impl Iterator<Item = u64>) {
                match self {
                    $(Self::$int(value) => *value = Bits::from_bits(numbers.next().unwrap_or(0)),
                    Self::$list(values) => {
                        values.clear();
                        values.extend(numbers.map(<$type as Bits>::from_bits));
                    })*
                    Self::Text(text) => text.clear(),
                }
            }
        }
    };
}

values! {
    Byte Bytes u8;
    I16 I16s i16;
    U16 U16s u16;
    I32 I32s i32;
    U32 U32s u32;
    I64 I64s i64;
    U64 U64s u64;
}
