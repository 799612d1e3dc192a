//! The maps, under the names that `steer_abi::map` lists.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, XskMap},
};
use steer_abi::{
    Counter, EndpointKey, MAX_ENDPOINTS, MAX_QUEUES, MAX_SLOTS, QueueSlots, SteerConfig, SwallowCounter,
};

#[map]
pub static CONFIG: Array<SteerConfig> = Array::with_max_entries(1, 0);

#[map]
pub static HEARTBEAT: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static ENDPOINTS: HashMap<EndpointKey, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

#[map]
pub static QUEUES: Array<QueueSlots> = Array::with_max_entries(MAX_QUEUES, 0);

#[map]
pub static SOCKETS: XskMap = XskMap::with_max_entries(MAX_SLOTS, 0);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

#[map]
pub static SWALLOWED: PerCpuArray<u64> = PerCpuArray::with_max_entries(SwallowCounter::ALL.len() as u32, 0);

/// Counts one packet.
#[inline(always)]
pub fn count(counter: Counter) {
    add(&COUNTERS, counter.index(), 1);
}

/// Adds to a counter of this CPU.
#[inline(always)]
pub fn add(counters: &PerCpuArray<u64>, index: u32, amount: u64) {
    if let Some(value) = counters.get_ptr_mut(index) {
        // SAFETY: the kernel returned a pointer to this CPU's u64; the program is not preempted by another
        // packet of the same CPU while it runs.
        unsafe { *value = (*value).wrapping_add(amount) };
    }
}
