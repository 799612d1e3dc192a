//! The shared flow table, read as an agent does (control.md 5.2, 5.7).

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::control::Control;
use crate::packet::FiveTuple;
use crate::startup;
use crate::topology::embedded;

const ENTRY: usize = 256;
const VALID: u8 = 1;
const ACTIVE: u16 = 0x1;
const EVICTED: u16 = 0x800;

/// One entry that is in use, or has been until it was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub index: u32,
    /// The flow.
    pub tuple: FiveTuple,
    /// The nexthop of the key.
    pub key_nexthop: i32,
    /// The generation.
    pub generation: u8,
    /// Bits of `VR_FLOW_TCP_*`.
    pub tcp_flags: u16,
    /// Bits of `VR_FLOW_FLAG_*`.
    pub flags: u16,
    /// What is done with packets: 0 drop, 1 hold, 2 forward, 3 translate.
    pub action: u16,
    /// The member of a composite, -1 for none.
    pub member: i8,
    /// Packets, modulo 2^32.
    pub packets: u32,
}

impl Entry {
    /// Whether the flow is there, for all that an agent knows.
    pub fn is_live(&self) -> bool {
        self.flags & ACTIVE != 0 && self.flags & EVICTED == 0
    }

    fn parse(index: u32, bytes: &[u8; ENTRY]) -> Option<Self> {
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        let address6 = |at: usize| embedded(bytes[at..at + 16].try_into().ok()?);
        let (inet6, source, destination) = match bytes[24] {
            2 => (false, address(36), address(40)),
            10 => (true, address6(36)?, address6(52)?),
            _ => return None,
        };
        let tuple = FiveTuple {
            inet6,
            source,
            destination,
            protocol: bytes[25],
            source_port: [bytes[28], bytes[29]],
            destination_port: [bytes[30], bytes[31]],
        };
        (bytes[20] & VALID != 0).then_some(Self {
            index,
            tuple,
            key_nexthop: word(32) as i32,
            generation: bytes[69],
            tcp_flags: half(70),
            flags: half(88),
            action: half(92),
            member: bytes[115] as i8,
            packets: word(108),
        })
    }
}

/// All valid entries of the vrouter whose sockets are in a directory.
pub fn entries(directory: &Path) -> Result<Vec<Entry>> {
    let mut control = Control::connect(directory, Duration::ZERO)?;
    let (_, path) = startup::flow_table(&mut control)?;
    let bytes = std::fs::read(&path).with_context(|| format!("flow table {path}"))?;
    let entries = bytes.as_chunks::<ENTRY>().0.iter().enumerate();
    Ok(entries.filter_map(|(index, bytes)| Entry::parse(index as u32, bytes)).collect())
}
