//! Header views, builders, checksums, hashes, encapsulation templates and the cutting of large packets.
//!
//! A view such as [`ipv4::Ipv4`] wraps an array of the header's fixed length: `Ipv4<&[u8; 20]>` reads,
//! `Ipv4<&mut [u8; 20]>` also writes, `Ipv4<[u8; 20]>` is a header to be built. `new_checked` looks once
//! whether the header is there and sound; after it every accessor is a plain load or store and none can
//! panic. Numbers are in host order, addresses and other byte arrays in the order of the wire.
//!
//! Nothing here allocates, and no input makes it panic.

mod header;

pub mod agent_header;
pub mod arp;
pub mod checksum;
pub mod encap;
mod error;
pub mod ethernet;
pub mod fragment;
pub mod gre;
pub mod hash;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod mpls;
pub mod ndisc;
pub mod sctp;
pub mod segment;
pub mod tcp;
pub mod udp;
pub mod vlan;
pub mod vxlan;

pub use error::Error;

/// IP protocol numbers (IANA) that the forwarder knows.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// Fragment header of IPv6.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}
