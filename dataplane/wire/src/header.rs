use vr_types::Mac;

/// A value as it stands in a header: numbers big-endian, byte arrays as they are.
pub(crate) trait Field {
    type Bytes;
    fn from_wire(bytes: Self::Bytes) -> Self;
    fn to_wire(self) -> Self::Bytes;
}

macro_rules! number {
    ($($number:ty),*) => {
        $(impl Field for $number {
            type Bytes = [u8; size_of::<$number>()];

            #[inline]
            fn from_wire(bytes: Self::Bytes) -> Self {
                Self::from_be_bytes(bytes)
            }

            #[inline]
            fn to_wire(self) -> Self::Bytes {
                self.to_be_bytes()
            }
        })*
    };
}

number!(u8, u16, u32);

impl<const N: usize> Field for [u8; N] {
    type Bytes = Self;

    #[inline]
    fn from_wire(bytes: Self) -> Self {
        bytes
    }

    #[inline]
    fn to_wire(self) -> Self {
        self
    }
}

impl Field for Mac {
    type Bytes = [u8; 6];

    #[inline]
    fn from_wire(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    #[inline]
    fn to_wire(self) -> [u8; 6] {
        self.0
    }
}

/// The `N` bytes at offset `AT`; that they lie inside is checked when this is compiled.
#[inline]
pub(crate) const fn part<const LEN: usize, const AT: usize, const N: usize>(bytes: &[u8; LEN]) -> [u8; N] {
    const { assert!(AT + N <= LEN, "a field lies inside its header") };
    let mut part = [0; N];
    let mut i = 0;
    while i < N {
        part[i] = bytes[AT + i];
        i += 1;
    }
    part
}

/// Overwrites the `N` bytes at offset `AT`; that they lie inside is checked when this is compiled.
#[inline]
pub(crate) const fn put<const LEN: usize, const AT: usize, const N: usize>(
    bytes: &mut [u8; LEN],
    part: [u8; N],
) {
    const { assert!(AT + N <= LEN, "a field lies inside its header") };
    let mut i = 0;
    while i < N {
        bytes[AT + i] = part[i];
        i += 1;
    }
}

/// Declares the view of a header of fixed length.
///
/// `check` names a function that is given the header and the number of bytes from its start on, and says
/// whether the header is sound.
macro_rules! header {
    (
        $(#[$doc:meta])*
        $name:ident[$len:literal] $(check $check:path)? {
            $($(#[$field_doc:meta])* $get:ident / $set:ident: $kind:ty = $at:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $name<B>(B);

        /// Bytes of the header that the view covers.
        pub const LEN: usize = $len;

        impl<'a> $name<&'a [u8; LEN]> {
            /// The header at the start of `bytes`.
            ///
            /// # Errors
            /// [`Error::Truncated`](crate::Error::Truncated) when `bytes` end before the header does, and
            /// what the type says about soundness.
            #[inline]
            pub fn new_checked(bytes: &'a [u8]) -> Result<Self, crate::Error> {
                let header = bytes.first_chunk::<LEN>().ok_or(crate::Error::Truncated)?;
                $($check(header, bytes.len())?;)?
                Ok(Self(header))
            }
        }

        impl<'a> $name<&'a mut [u8; LEN]> {
            /// The header at the start of `bytes`, for writing.
            ///
            /// # Errors
            /// As `new_checked`.
            #[inline]
            pub fn new_checked_mut(bytes: &'a mut [u8]) -> Result<Self, crate::Error> {
                $(
                    let len = bytes.len();
                    $check(bytes.first_chunk::<LEN>().ok_or(crate::Error::Truncated)?, len)?;
                )?
                bytes.first_chunk_mut::<LEN>().map(Self).ok_or(crate::Error::Truncated)
            }
        }

        impl<B: core::borrow::Borrow<[u8; LEN]>> $name<B> {
            /// A view of `bytes`, whatever they hold.
            #[inline]
            pub const fn new(bytes: B) -> Self {
                Self(bytes)
            }

            /// The bytes of the header.
            #[inline]
            pub fn as_bytes(&self) -> &[u8; LEN] {
                self.0.borrow()
            }

            $(
                $(#[$field_doc])*
                #[inline]
                pub fn $get(&self) -> $kind {
                    let bytes = self.0.borrow();
                    crate::header::Field::from_wire(
                        crate::header::part::<LEN, $at, { size_of::<$kind>() }>(bytes),
                    )
                }
            )*
        }

        impl<B: core::borrow::BorrowMut<[u8; LEN]>> $name<B> {
            $(
                #[doc = concat!("Writes what [`", stringify!($get), "`](Self::", stringify!($get), ") reads.")]
                #[inline]
                pub fn $set(&mut self, value: $kind) {
                    crate::header::put::<LEN, $at, { size_of::<$kind>() }>(
                        self.0.borrow_mut(),
                        crate::header::Field::to_wire(value),
                    );
                }
            )*
        }
    };
}

pub(crate) use header;
