//! Which CPUs the threads beside the workers run on.

use vr_runtime::cpus;

/// Keeps the calling thread on these CPUs; without any it runs wherever the process may.
pub(crate) fn confine(thread: &str, cpus: &[u16]) {
    if cpus.is_empty() {
        return;
    }
    let numbers: Vec<usize> = cpus.iter().map(|cpu| usize::from(*cpu)).collect();
    match cpus::confine(&numbers) {
        Ok(()) => tracing::info!(thread, ?cpus, "thread placed"),
        Err(error) => {
            tracing::warn!(thread, ?cpus, %error, "none of these CPUs can be used; the system chooses");
        }
    }
}
