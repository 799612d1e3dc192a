//! The one prefetch helper.
#![allow(unsafe_code, reason = "the intrinsic takes a raw pointer")]

/// Asks the processor to load the cache line of `target` before it is needed. Never faults, changes nothing.
#[inline(always)]
pub fn prefetch<T>(target: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no architectural effect and accepts any address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(target).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}
