//! What happens to a packet once it is known what it is.

use crate::{
    cursor::Cursor,
    inner::{self, Inner},
    maps,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::{bpf_ktime_get_coarse_ns, bpf_xdp_adjust_meta},
    programs::XdpContext,
};
use core::ptr;
use steer_abi::{Counter, METADATA_LEN, SteerConfig, SteerMeta, Tunnel};

/// A tunnel packet to a local endpoint goes to a socket of its queue or nowhere: the kernel would answer that
/// the port is unreachable.
#[inline(always)]
pub fn tunnel(ctx: &XdpContext, config: &SteerConfig, tunnel: Tunnel, payload: Cursor) -> u32 {
    if !is_fresh(config) {
        maps::count(Counter::DroppedStale);
        return XDP_DROP;
    }
    let inner = inner::inspect(tunnel, payload);
    let hash = inner.hash;
    write_metadata(ctx, tunnel, payload, inner);
    let redirected = match tunnel {
        Tunnel::MplsUdp => Counter::RedirectedMplsUdp,
        Tunnel::MplsGre => Counter::RedirectedMplsGre,
        Tunnel::Vxlan => Counter::RedirectedVxlan,
    };
    if let Some(action) = to_socket(ctx, hash) {
        maps::count(redirected);
        return action;
    }
    maps::count(Counter::DroppedNoSocket);
    XDP_DROP
}

/// Anything else belongs to the host. What no socket takes of it passes, on to [`crate::to_host`] if the address is
/// on vhost0: that is past the driver, because a redirection here would lose what the driver knows of checksums, and
/// not every device takes redirected frames.
#[inline(always)]
pub fn other(ctx: &XdpContext, config: &SteerConfig, counter: Counter) -> u32 {
    if config.pair_ifindex == 0 {
        maps::count(counter);
        return XDP_PASS;
    }
    if is_fresh(config)
        && let Some(action) = to_socket(ctx, 0)
    {
        maps::count(Counter::RedirectedHost);
        return action;
    }
    maps::count(Counter::JoinedToHost);
    XDP_PASS
}

/// Whether there is a dataplane: it shows that it lives, and its sockets are there. They go with their process, which
/// is known sooner than a stale heartbeat.
#[inline(always)]
pub fn has_dataplane(config: &SteerConfig) -> bool {
    is_fresh(config) && first_socket().is_some()
}

/// What serves the first queue.
#[inline(always)]
fn first_socket() -> Option<u32> {
    maps::SOCKETS.get(maps::QUEUES.get(0)?.slot(0)?)
}

/// Whether a worker has shown within the timeout that it lives. The coarse clock lags behind the one of the
/// workers by up to a tick, so a heartbeat may lie ahead of it.
#[inline(always)]
fn is_fresh(config: &SteerConfig) -> bool {
    if config.heartbeat_timeout_ns == 0 {
        return true;
    }
    let Some(heartbeat) = maps::HEARTBEAT.get_ptr(0) else {
        return false;
    };
    // SAFETY: points to the one u64 of the map; workers store it whole.
    let last = unsafe { ptr::read_volatile(heartbeat) };
    // SAFETY: takes nothing and returns a number.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    last != 0 && now.saturating_sub(last) <= config.heartbeat_timeout_ns
}

/// Redirects to the socket of the packet's queue that `hash` chooses; `None` when there is none.
#[inline(always)]
fn to_socket(ctx: &XdpContext, hash: u32) -> Option<u32> {
    let slot = maps::QUEUES.get(ctx.rx_queue_index())?.slot(hash)?;
    maps::SOCKETS.redirect(slot, u64::from(XDP_DROP)).ok()
}

/// Puts [`SteerMeta`] in front of the packet. No cursor may be read afterwards.
#[inline(always)]
fn write_metadata(ctx: &XdpContext, tunnel: Tunnel, payload: Cursor, inner: Inner) {
    let start = Cursor::of(ctx);
    let layer3 = inner.layer3.map_or(0, |layer3| layer3.distance_from(start));
    let meta = SteerMeta::new(tunnel, payload.distance_from(start), layer3, inner.hash);
    // SAFETY: the context is the kernel's; the program reads it anew below.
    if unsafe { bpf_xdp_adjust_meta(ctx.as_ptr().cast(), -(METADATA_LEN as i32)) } != 0 {
        maps::count(Counter::NoMetadata);
        return;
    }
    let room = ctx.metadata() as *mut u8;
    if room.wrapping_add(METADATA_LEN) as usize > ctx.metadata_end() {
        maps::count(Counter::NoMetadata);
        return;
    }
    // SAFETY: METADATA_LEN bytes up to the packet's start are ours, as just compared.
    unsafe { ptr::write_unaligned(room.cast(), meta) };
}
