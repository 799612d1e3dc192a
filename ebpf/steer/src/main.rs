//! Programs that run in the kernel.
//!
//! `steer` (XDP, multi-buffer capable) gives tunnel packets to local endpoints to the `AF_XDP` sockets of their
//! queue and everything else to the kernel. `swallow` (tc ingress) drops and counts what an `AF_PACKET` socket
//! on the same device has already copied. `to_host` and `from_host` (tc ingress) join the fabric device and the pair
//! of vhost0 while there is no dataplane. `steer-abi` describes the maps; `ebpf/README.md` says how to build.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod cursor;
mod inner;
mod join;
mod maps;
mod outer;
mod verdict;

use aya_ebpf::{
    bindings::{TC_ACT_OK, TC_ACT_SHOT, xdp_action::XDP_PASS},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use cursor::Cursor;
use outer::Outer;
use steer_abi::{Counter, SwallowCounter, flags};

/// Decides about one received packet.
#[xdp(frags)]
pub fn steer(ctx: XdpContext) -> u32 {
    let Some(config) = maps::CONFIG.get(0) else {
        return XDP_PASS;
    };
    if config.flags & flags::BYPASS != 0 {
        maps::count(Counter::PassedBypass);
        return XDP_PASS;
    }
    match outer::parse(Cursor::of(&ctx)) {
        Outer::Tunnel(tunnel, payload) => verdict::tunnel(&ctx, config, tunnel, payload),
        Outer::Other(counter) => verdict::other(&ctx, config, counter),
    }
}

/// Drops and counts one packet.
#[classifier]
pub fn swallow(ctx: TcContext) -> i32 {
    maps::add(&maps::SWALLOWED, SwallowCounter::Packets.index(), 1);
    maps::add(&maps::SWALLOWED, SwallowCounter::Bytes.index(), ctx.len() as u64);
    TC_ACT_SHOT
}

/// On the fabric device: sends to vhost0 what `steer` has passed, if the address of the host is there.
#[classifier]
pub fn to_host(ctx: TcContext) -> i32 {
    maps::CONFIG.get(0).map_or(TC_ACT_OK, |config| join::to_host(&ctx, config))
}

/// On the dataplane's end of the pair of vhost0: what the host sends.
#[classifier]
pub fn from_host(_: TcContext) -> i32 {
    maps::CONFIG.get(0).map_or(TC_ACT_SHOT, join::from_host)
}

/// The kernel compares this with its list of GPL-compatible licences.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
