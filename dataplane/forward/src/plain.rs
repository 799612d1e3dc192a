//! Packets for ports that take nothing but finished frames.

use vr_frame::{FramePool, Offload, Packet};
use vr_types::DropReason;
use vr_wire::checksum;
use vr_wire::segment::GsoPlan;

use crate::bytes::be16;

/// Does in software what a port cannot: cuts a super-frame into segments and completes a partial checksum. The
/// finished packets are appended to `out`; a packet that is finished already is appended as it is.
///
/// `packet` is an Ethernet frame, with VLAN tags or without, that has not been encapsulated: what enters a tunnel
/// is finished by the pipeline.
///
/// # Errors
/// Why the packet, or the rest of it, was dropped: [`DropReason::InvalidPacket`] when its headers are not what its
/// metadata says, [`DropReason::NoMemory`] when its segments would take more than half of the frames that are free, or
/// the pool ran dry. Its frame is free; counting is left to the caller.
pub fn make_plain(mut packet: Packet, pool: &mut FramePool, out: &mut Vec<Packet>) -> Result<(), DropReason> {
    if packet.offload.is_super_frame() {
        let result = cut(&packet, pool, out);
        pool.free(packet.frame);
        return result;
    }
    if packet.offload.needs_csum {
        let (start, offset) = (packet.offload.csum_start, packet.offload.csum_offset);
        if !checksum::complete(packet.frame.bytes_mut(), usize::from(start), usize::from(offset)) {
            pool.free(packet.frame);
            return Err(DropReason::InvalidPacket);
        }
        packet.offload = Offload { needs_csum: false, csum_start: 0, csum_offset: 0, ..packet.offload };
    }
    out.push(packet);
    Ok(())
}

fn cut(packet: &Packet, pool: &mut FramePool, out: &mut Vec<Packet>) -> Result<(), DropReason> {
    let frame = packet.frame.bytes();
    let network = network_header(frame).ok_or(DropReason::InvalidPacket)?;
    let size = usize::from(packet.offload.gso_size);
    let plan = GsoPlan::new(frame, network, size).map_err(|_| DropReason::InvalidPacket)?;
    // The others need frames as well, to receive into.
    if plan.segments() > pool.available() / 2 {
        return Err(DropReason::NoMemory);
    }
    for index in 0..plan.segments() {
        let mut segment = pool.frame_for(plan.longest()).ok_or(DropReason::NoMemory)?;
        // A frame for that many bytes has room for them.
        let _ = segment.extend(plan.longest());
        let Some(len) = plan.write(index, frame, segment.bytes_mut()) else {
            pool.free(segment);
            return Err(DropReason::InvalidPacket);
        };
        segment.truncate(len);
        out.push(Packet::plain(segment));
    }
    Ok(())
}

/// Offset of what follows the Ethernet header and its tags.
fn network_header(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    while matches!(be16(frame, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    Some(at + 2)
}
