//! The fabric device and the pair of vhost0, joined while there is no dataplane.

use crate::{maps, verdict};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{TC_ACT_OK, TC_ACT_SHOT, bpf_hdr_start_off::BPF_HDR_START_MAC},
    helpers::{
        bpf_redirect, bpf_skb_change_head, bpf_skb_load_bytes, bpf_skb_load_bytes_relative,
        bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use steer_abi::{Counter, SteerConfig, flags};

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

/// What the kernel would get from the fabric device.
#[inline(always)]
pub fn to_host(ctx: &TcContext, config: &SteerConfig) -> i32 {
    if config.pair_ifindex == 0 || config.flags & flags::BYPASS != 0 {
        return TC_ACT_OK;
    }
    if !begins_with_ethernet(ctx) {
        return TC_ACT_SHOT;
    }
    redirect(config.pair_ifindex)
}

/// What the host sends.
#[inline(always)]
pub fn from_host(config: &SteerConfig) -> i32 {
    if verdict::has_dataplane(config) {
        maps::count(Counter::TakenFromHost);
        return TC_ACT_SHOT;
    }
    maps::count(Counter::JoinedToFabric);
    redirect(config.fabric_ifindex)
}

#[inline(always)]
fn redirect(ifindex: u32) -> i32 {
    // SAFETY: takes two numbers; a device that is gone costs the packet.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}

/// Whether the packet begins with its Ethernet header, if need be after putting it there.
///
/// Where generic XDP has copied a packet, the kernel forgets how long the Ethernet header is (seen on 6.18): the
/// packet would be sent without it.
#[inline(always)]
fn begins_with_ethernet(ctx: &TcContext) -> bool {
    let skb = ctx.as_ptr();
    let (mut header, mut first) = ([0_u64; 2], [0_u64; 2]);
    let (to, length) = (header.as_mut_ptr().cast(), ETHERNET);
    // SAFETY: writes so many bytes to memory that has more.
    if unsafe { bpf_skb_load_bytes_relative(skb, 0, to, length, BPF_HDR_START_MAC) } != 0 {
        return false;
    }
    // SAFETY: as above.
    let read = unsafe { bpf_skb_load_bytes(skb, 0, first.as_mut_ptr().cast(), length) };
    if read == 0 && first[0] == header[0] && first[1] == header[1] {
        return true;
    }
    // SAFETY: the context is the kernel's, and nothing of the packet is held.
    let room = unsafe { bpf_skb_change_head(skb.cast(), length, 0) };
    // SAFETY: reads so many bytes from memory that has more.
    room == 0 && unsafe { bpf_skb_store_bytes(skb.cast(), 0, header.as_ptr().cast(), length, 0) } == 0
}
