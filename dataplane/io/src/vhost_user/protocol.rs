//! Messages of vhost-user, as numbers in the byte order of the machine.
//!
//! Source: "Vhost-user Protocol" of QEMU (`docs/interop/vhost-user.rst`), and test-rig.md 3 for what front ends of
//! test rigs leave out.

use std::os::fd::OwnedFd;

/// Bytes of a message's header: request, flags, length of the payload.
pub(super) const HEADER: usize = 12;
/// No payload that is understood is longer: a table of eight regions has 264 bytes.
pub(super) const LONGEST_PAYLOAD: usize = 1024;
/// Regions of a memory table at the most.
pub(super) const MOST_REGIONS: usize = 8;
/// Pairs of rings that a front end may use.
pub(super) const PAIRS: usize = 16;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 4;

/// Feature bits (virtio 1.2, 5.1.3; those above 23 are of the transport).
pub(super) mod feature {
    pub(crate) const CSUM: u64 = 1;
    pub(crate) const GUEST_CSUM: u64 = 1 << 1;
    pub(crate) const GUEST_TSO4: u64 = 1 << 7;
    pub(crate) const GUEST_TSO6: u64 = 1 << 8;
    pub(crate) const HOST_TSO4: u64 = 1 << 11;
    pub(crate) const HOST_TSO6: u64 = 1 << 12;
    pub(crate) const MRG_RXBUF: u64 = 1 << 15;
    pub(crate) const CTRL_VQ: u64 = 1 << 17;
    pub(crate) const MQ: u64 = 1 << 22;
    pub(crate) const LOG_ALL: u64 = 1 << 26;
    pub(crate) const PROTOCOL_FEATURES: u64 = 1 << 30;
    pub(crate) const VERSION_1: u64 = 1 << 32;

    /// What the original offers (test-rig.md 3).
    pub(crate) const ORIGINAL: u64 = CSUM
        | GUEST_CSUM
        | GUEST_TSO4
        | GUEST_TSO6
        | HOST_TSO4
        | HOST_TSO6
        | MRG_RXBUF
        | CTRL_VQ
        | MQ
        | LOG_ALL
        | PROTOCOL_FEATURES;
}

/// Protocol features: several pairs of rings, and a log in shared memory.
const PROTOCOL_FEATURES: u64 = 0x3;

/// A region of the front end's memory, as its table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegionEntry {
    pub(super) guest: u64,
    pub(super) len: u64,
    pub(super) user: u64,
    pub(super) offset: u64,
}

/// Where the parts of a ring are, as addresses of the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingAddresses {
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    /// Where writes to the used ring are logged, as an address of the guest; none when they are not.
    pub(super) log: Option<u64>,
}

/// What a front end asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    GetFeatures,
    SetFeatures(u64),
    GetProtocolFeatures,
    GetQueueNum,
    SetMemTable(Vec<RegionEntry>),
    /// Length and offset of the log in its file.
    SetLogBase(u64, u64),
    SetVringNum(usize, u32),
    SetVringAddr(usize, RingAddresses),
    SetVringBase(usize),
    GetVringBase(usize),
    /// The ring; whether a descriptor comes along.
    SetVringKick(usize, bool),
    SetVringCall(usize, bool),
    SetVringEnable(usize, bool),
    /// It is understood, or not, and changes nothing.
    Nothing,
}

/// Why a front end is not served any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("it has closed the connection")]
    Gone,
    #[error("its message has another version than 1")]
    Version,
    #[error("its message is longer than any that is understood")]
    Long,
    #[error("its message is shorter than its kind demands")]
    Short,
    #[error("it names a ring that does not exist")]
    Ring,
    #[error("its ring has a size that is no power of two up to 32768")]
    RingSize,
    #[error("its memory table has more than eight regions, or not one file for each")]
    Regions,
    #[error("its memory cannot be mapped: {0}")]
    Memory(&'static str),
    #[error("it does not read its replies")]
    Deaf,
    #[error("its socket fails: {0}")]
    Socket(nix::Error),
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) request: u32,
    pub(super) len: usize,
}

impl Header {
    pub(super) fn parse(bytes: [u8; HEADER]) -> Result<Self, Broken> {
        let [request, flags, len] = [0, 4, 8].map(|at| word(&bytes, at));
        if flags & VERSION_MASK != VERSION {
            return Err(Broken::Version);
        }
        let len = len as usize;
        if len > LONGEST_PAYLOAD {
            return Err(Broken::Long);
        }
        Ok(Self { request, len })
    }
}

/// Bytes that a payload holds at a position; zeroes behind its end, which is checked before.
fn part<const N: usize>(payload: &[u8], at: usize) -> [u8; N] {
    payload.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

fn word(payload: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(part(payload, at))
}

fn long(payload: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(part(payload, at))
}

/// Bits of the number that names a ring in messages with a descriptor.
const RING_MASK: u64 = 0xff;
const NO_DESCRIPTOR: u64 = 0x100;

impl Request {
    /// Reads the payload of a message.
    pub(super) fn parse(request: u32, payload: &[u8]) -> Result<Self, Broken> {
        let needed = match request {
            2 | 5 | 8 | 10..=13 | 18 => 8,
            6 => 16,
            9 => 40,
            _ => 0,
        };
        if payload.len() < needed {
            return Err(Broken::Short);
        }
        let ring = || ring(u64::from(word(payload, 0)));
        let described = || {
            let value = long(payload, 0);
            Ok((self::ring(value & RING_MASK)?, value & NO_DESCRIPTOR == 0))
        };
        Ok(match request {
            1 => Self::GetFeatures,
            2 => Self::SetFeatures(long(payload, 0)),
            5 => Self::SetMemTable(regions(payload)?),
            6 => Self::SetLogBase(long(payload, 0), long(payload, 8)),
            8 => Self::SetVringNum(ring()?, word(payload, 4)),
            9 => Self::SetVringAddr(ring()?, addresses(payload)),
            10 => Self::SetVringBase(ring()?),
            11 => Self::GetVringBase(ring()?),
            12 => described().map(|(ring, has)| Self::SetVringKick(ring, has))?,
            13 => described().map(|(ring, has)| Self::SetVringCall(ring, has))?,
            15 => Self::GetProtocolFeatures,
            17 => Self::GetQueueNum,
            18 => Self::SetVringEnable(ring()?, word(payload, 4) != 0),
            _ => Self::Nothing,
        })
    }
}

fn ring(number: u64) -> Result<usize, Broken> {
    usize::try_from(number).ok().filter(|number| *number < 2 * PAIRS).ok_or(Broken::Ring)
}

fn regions(payload: &[u8]) -> Result<Vec<RegionEntry>, Broken> {
    const ENTRY: usize = 32;
    let count = word(payload, 0) as usize;
    if count > MOST_REGIONS {
        return Err(Broken::Regions);
    }
    if payload.len() < 8 + count * ENTRY {
        return Err(Broken::Short);
    }
    let entry = |number: usize| {
        let [guest, len, user, offset] = [0, 8, 16, 24].map(|at| long(payload, 8 + number * ENTRY + at));
        RegionEntry { guest, len, user, offset }
    };
    Ok((0..count).map(entry).collect())
}

fn addresses(payload: &[u8]) -> RingAddresses {
    const LOGGED: u32 = 1;
    RingAddresses {
        descriptors: long(payload, 8),
        used: long(payload, 16),
        available: long(payload, 24),
        log: (word(payload, 4) & LOGGED != 0).then(|| long(payload, 32)),
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Features(u64),
    ProtocolFeatures,
    QueueNum,
    /// Ring, and the position of the next available descriptor.
    VringBase(usize, u16),
    /// The log is in use.
    LogBase,
}

impl Reply {
    /// The message, and how many of its bytes count.
    pub(super) fn encode(self) -> ([u8; HEADER + 8], usize) {
        let (request, len, payload) = match self {
            Self::Features(features) => (1_u32, 8_u32, features.to_ne_bytes()),
            Self::ProtocolFeatures => (15, 8, PROTOCOL_FEATURES.to_ne_bytes()),
            Self::QueueNum => (17, 8, (PAIRS as u64).to_ne_bytes()),
            Self::VringBase(ring, base) => {
                let mut state = [0; 8];
                state[..4].copy_from_slice(&(ring as u32).to_ne_bytes());
                state[4..].copy_from_slice(&u32::from(base).to_ne_bytes());
                (11, 8, state)
            }
            Self::LogBase => (6, 0, [0; 8]),
        };
        let mut message = [0; HEADER + 8];
        for (at, word) in [(0, request), (4, VERSION | REPLY), (8, len)] {
            message[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        message[HEADER..].copy_from_slice(&payload);
        (message, HEADER + len as usize)
    }
}

/// A message with the descriptors that came along.
pub(super) struct Message {
    pub(super) request: Request,
    pub(super) files: Vec<OwnedFd>,
}

#[cfg(test)]
mod tests {
    use super::{Broken, HEADER, Header, PAIRS, Reply, Request, feature};

    #[test]
    fn features_are_those_of_the_original() {
        assert_eq!(feature::ORIGINAL, 0x4442_9983);
    }

    #[test]
    fn short_and_absurd_messages_are_refused() {
        for request in 0..64 {
            for len in 0..64 {
                // Whatever comes out, nothing panics.
                let _ = Request::parse(request, &vec![0xff; len]);
            }
        }
        assert_eq!(Request::parse(9, &[0; 39]), Err(Broken::Short));
        assert_eq!(Request::parse(18, &[PAIRS as u8 * 2, 0, 0, 0, 1, 0, 0, 0]), Err(Broken::Ring));
        assert_eq!(Request::parse(5, &[9, 0, 0, 0, 0, 0, 0, 0]), Err(Broken::Regions));
        assert_eq!(Request::parse(5, &[1, 0, 0, 0, 0, 0, 0, 0]), Err(Broken::Short));
        assert_eq!(Request::parse(99, &[]), Ok(Request::Nothing));
    }

    #[test]
    fn headers_need_version_one_and_a_length_in_bounds() {
        let header = |flags: u32, len: u32| {
            let mut bytes = [0; HEADER];
            bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
            bytes[8..].copy_from_slice(&len.to_ne_bytes());
            Header::parse(bytes)
        };
        assert_eq!(header(0, 0), Err(Broken::Version));
        assert_eq!(header(1, u32::MAX), Err(Broken::Long));
        assert_eq!(header(9, 264).map(|header| header.len), Ok(264));
    }

    #[test]
    fn replies_have_the_layout_that_front_ends_read() {
        let (message, len) = Reply::VringBase(3, 0x1234).encode();
        assert_eq!(len, 20);
        assert_eq!(message[..4], 11_u32.to_ne_bytes());
        assert_eq!(message[4..8], 5_u32.to_ne_bytes());
        assert_eq!(message[12..16], 3_u32.to_ne_bytes());
        assert_eq!(message[16..20], 0x1234_u32.to_ne_bytes());
        assert_eq!(Reply::LogBase.encode().1, HEADER);
    }
}
