//! Which CPUs workers run on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs that exist and that this thread may use. What the affinity mask says beyond that is left out.
#[must_use]
pub fn usable() -> Vec<usize> {
    let this_thread = Pid::from_raw(0);
    // The kernel answers with CPUs that exist, whatever was asked for when the mask was set.
    let mask = sched_getaffinity(this_thread).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| mask.is_set(*cpu).unwrap_or(false)).collect()
}

/// The CPU of each of `workers` workers: those of `wanted` that are `usable`, in turn, or all usable ones when
/// none is left. `None` when nothing is usable: the worker then runs wherever the system puts it.
#[must_use]
pub fn assign(workers: u8, wanted: &[usize], usable: &[usize]) -> Vec<Option<usize>> {
    let mut chosen: Vec<usize> = wanted.iter().copied().filter(|cpu| usable.contains(cpu)).collect();
    if chosen.is_empty() {
        chosen = usable.to_vec();
    }
    (0..workers).map(|worker| chosen.get(usize::from(worker) % chosen.len().max(1)).copied()).collect()
}

/// Keeps this thread on these CPUs, whatever the process was started with.
///
/// # Errors
/// What the system says when none of them exists, or none may be used.
pub fn confine(cpus: &[usize]) -> nix::Result<()> {
    let mut mask = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < CpuSet::count()) {
        mask.set(*cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &mask)
}

/// Ties this thread to one CPU. The system may refuse; the thread then runs where it may.
pub(crate) fn pin(cpu: usize) -> nix::Result<()> {
    confine(&[cpu])
}

#[cfg(test)]
mod tests {
    use super::{assign, pin, usable};

    #[test]
    fn cpus_that_do_not_exist_are_left_out() {
        assert_eq!(assign(3, &[], &[0, 1]), [Some(0), Some(1), Some(0)]);
        assert_eq!(assign(2, &[1, 7], &[0, 1]), [Some(1), Some(1)], "CPU 7 is absent");
        assert_eq!(assign(2, &[6, 7], &[0]), [Some(0), Some(0)], "all of them are absent");
        assert_eq!(assign(1, &[0], &[]), [None]);
    }

    #[test]
    fn a_pinned_thread_may_use_its_cpu_only() {
        let first = usable()[0];
        let left = std::thread::spawn(move || {
            pin(first).unwrap();
            usable()
        });
        assert_eq!(left.join().unwrap(), [first]);
        assert!(pin(100_000).is_err(), "no such CPU");
    }
}
