use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// Position in the table that this identifier indexes.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

id!(
    /// Virtual routing and forwarding instance; 0 is the fabric.
    VrfId(u16)
);
id!(
    /// Interface of the forwarder, chosen by the agent.
    VifId(u16)
);
id!(
    /// Nexthop, chosen by the agent; 0 is the built-in discard nexthop.
    NexthopId(u32)
);
id!(
    /// MPLS label, 20 bits.
    Label(u32)
);
id!(
    /// VXLAN network identifier, 24 bits.
    Vni(u32)
);
id!(
    /// Position of an entry in the shared flow table; the handle used with the agent.
    FlowIndex(u32)
);
id!(
    /// Position of an entry in the shared bridge table.
    BridgeIndex(u32)
);
id!(
    /// Mirror entry; 255 means none.
    MirrorId(u8)
);
id!(
    /// Forwarding worker.
    WorkerId(u8)
);

impl VrfId {
    /// The underlay.
    pub const FABRIC: Self = Self(0);
    /// "No VRF" of messages (`-1` or 65535). Lookups in it find nothing.
    pub const NONE: Self = Self(u16::MAX);
}

impl VifId {
    /// No interface.
    pub const NONE: Self = Self(u16::MAX);
}

impl NexthopId {
    /// The built-in discard nexthop.
    pub const DISCARD: Self = Self(0);
}

impl MirrorId {
    /// Not mirrored.
    pub const NONE: Self = Self(u8::MAX);
}

impl FlowIndex {
    /// No flow (`-1` in messages).
    pub const NONE: Self = Self(u32::MAX);
}

impl BridgeIndex {
    /// No stitched bridge entry.
    pub const NONE: Self = Self(u32::MAX);
}

/// A flow entry together with the generation that used the slot, so that a stale handle is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// Slot in the shared table.
    pub slot: FlowIndex,
    /// Generation id of the slot (control.md 5.2, `gen_id`); wraps at 256.
    pub generation: u8,
}
