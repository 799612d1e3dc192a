//! UDP datagrams in small frames, as guests send them.

use vr_types::Mac;
use vr_wire::checksum;

/// Bytes of a frame without frame check sequence.
const FRAME: usize = 64;
/// Where its ports are.
const PORTS: std::ops::Range<usize> = 34..38;

/// A frame with a UDP datagram over IPv4, without UDP checksum. Addresses and ports: source, then destination.
pub(crate) fn datagram(to: Mac, from: Mac, addresses: [[u8; 4]; 2], ports: [u16; 2]) -> Vec<u8> {
    let mut bytes = [to.0, from.0].concat();
    let length = ((FRAME - 14) as u16).to_be_bytes();
    bytes.extend([8, 0, 0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(addresses.concat());
    let sum = checksum::of(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(ports.into_iter().flat_map(u16::to_be_bytes));
    bytes.extend(((FRAME - 34) as u16).to_be_bytes());
    bytes.resize(FRAME, 0);
    bytes
}

/// Gives a frame of [`datagram`] other ports.
pub(crate) fn set_ports(frame: &mut [u8], [source, destination]: [u16; 2]) {
    let ports = u32::from(source) << 16 | u32::from(destination);
    frame[PORTS].copy_from_slice(&ports.to_be_bytes());
}
