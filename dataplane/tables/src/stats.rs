//! Counters: each worker writes its own, readers add them up. Reading stops nobody.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use vr_types::{DropReason, VifId, VrfId};

use crate::drop_log::DropLog;
use crate::mapped::{MapError, Mapped};

/// A packet counter per kind of nexthop that a VRF's packets ended at (forwarding.md 10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum VrfCounter {
    /// Discard nexthop.
    Discards,
    /// Resolve nexthop.
    Resolves,
    /// Receive nexthop.
    Receives,
    /// L2 receive nexthop.
    L2Receives,
    /// ECMP composite.
    EcmpComposites,
    /// Composite of local interfaces.
    EncapComposites,
    /// Composite of EVPN peers or top of rack switches.
    EvpnComposites,
    /// Root of a replication tree.
    L2McastComposites,
    /// Composite of tree neighbours.
    FabricComposites,
    /// VRF translation, counted in the new VRF.
    VrfTranslates,
    /// Routed to a local interface.
    Encaps,
    /// Bridged to a local interface.
    L2Encaps,
    /// Given to receive offload.
    Gros,
    /// Diagnostic packets.
    Diags,
    /// Mirror tunnel.
    UdpTunnels,
    /// MPLS over GRE.
    GreMplsTunnels,
    /// MPLS over UDP.
    UdpMplsTunnels,
    /// VXLAN.
    VxlanTunnels,
    /// PBB.
    PbbTunnels,
    /// Two labels.
    UdpMplsOverMplsTunnels,
    /// ARP of a guest answered with the interface's MAC.
    ArpVirtualProxy,
    /// ARP of a guest answered with a stitched MAC.
    ArpVirtualStitch,
    /// ARP of a guest flooded.
    ArpVirtualFlood,
    /// ARP from the fabric answered.
    ArpPhysicalStitch,
    /// ARP from the fabric flooded.
    ArpPhysicalFlood,
    /// Unknown unicast flooded.
    UucFloods,
}

impl VrfCounter {
    /// How many there are.
    pub const COUNT: usize = Self::UucFloods as usize + 1;
}

/// Number of counters of an interface besides its drops.
const VIF_COUNTERS: usize = 6;
const VIF_STRIDE: usize = VIF_COUNTERS + DropReason::COUNT;

/// Counters of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum VifCounter {
    /// Packets received.
    InPackets,
    /// Bytes received.
    InBytes,
    /// Receive errors.
    InErrors,
    /// Packets sent.
    OutPackets,
    /// Bytes sent.
    OutBytes,
    /// Transmit errors.
    OutErrors,
}

/// Totals of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in VifCounter")]
pub struct VifTotals {
    pub in_packets: u64,
    pub in_bytes: u64,
    pub in_errors: u64,
    pub out_packets: u64,
    pub out_bytes: u64,
    pub out_errors: u64,
}

/// Counters of one worker, and its log of dropped packets. Only that worker adds to them.
pub struct WorkerStats {
    /// The packets that it dropped lately.
    pub drop_log: DropLog,
    vifs: Mapped<AtomicU64>,
    vrfs: Mapped<AtomicU64>,
    vif_limit: usize,
    vrf_limit: usize,
    recompilations: AtomicU64,
}

#[inline]
fn add(cell: &AtomicU64, count: u64) {
    // One writer, so no read-modify-write is needed.
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

impl WorkerStats {
    /// Counters for tables of these sizes. One more of each stands for numbers outside. Of dropped packets so many
    /// are logged.
    ///
    /// # Errors
    /// [`MapError`] when memory is not to be had.
    pub fn new(vifs: usize, vrfs: usize, drop_log: usize) -> Result<Self, MapError> {
        Ok(Self {
            drop_log: DropLog::new(drop_log)?,
            vifs: Mapped::private((vifs + 1) * VIF_STRIDE)?,
            vrfs: Mapped::private((vrfs + 1) * VrfCounter::COUNT)?,
            vif_limit: vifs,
            vrf_limit: vrfs,
            recompilations: AtomicU64::new(0),
        })
    }

    #[inline]
    fn vif_cell(&self, vif: VifId, counter: usize) -> &AtomicU64 {
        &self.vifs[vif.index().min(self.vif_limit) * VIF_STRIDE + counter]
    }

    /// Adds to a counter of an interface.
    #[inline]
    pub fn vif(&self, vif: VifId, counter: VifCounter, count: u64) {
        add(self.vif_cell(vif, counter as usize), count);
    }

    /// Counts a received packet.
    #[inline]
    pub fn received(&self, vif: VifId, bytes: usize) {
        self.vif(vif, VifCounter::InPackets, 1);
        self.vif(vif, VifCounter::InBytes, bytes as u64);
    }

    /// Counts a sent packet.
    #[inline]
    pub fn sent(&self, vif: VifId, bytes: usize) {
        self.vif(vif, VifCounter::OutPackets, 1);
        self.vif(vif, VifCounter::OutBytes, bytes as u64);
    }

    /// Counts a drop of a packet that came from `vif` ([`VifId::NONE`] if from none).
    #[inline]
    pub fn dropped(&self, vif: VifId, reason: DropReason) {
        self.dropped_many(vif, reason, 1);
    }

    /// Counts such drops.
    #[inline]
    pub fn dropped_many(&self, vif: VifId, reason: DropReason, count: u64) {
        add(self.vif_cell(vif, VIF_COUNTERS + reason.index()), count);
    }

    /// Counts a flow that was compiled anew because the tables had changed.
    pub fn recompiled(&self) {
        add(&self.recompilations, 1);
    }

    /// Such flows so far.
    #[must_use]
    pub fn recompilations(&self) -> u64 {
        self.recompilations.load(Ordering::Relaxed)
    }

    /// Counts a packet of a VRF.
    #[inline]
    pub fn vrf(&self, vrf: VrfId, counter: VrfCounter) {
        self.vrf_many(vrf, counter, 1);
    }

    /// Counts packets of a VRF.
    #[inline]
    pub fn vrf_many(&self, vrf: VrfId, counter: VrfCounter, count: u64) {
        add(&self.vrfs[vrf.index().min(self.vrf_limit) * VrfCounter::COUNT + counter as usize], count);
    }
}

/// The reading side over all workers, with what was cleared taken off.
pub struct Stats {
    workers: Vec<Arc<WorkerStats>>,
    /// Values at the last clearing, by worker.
    bases: Vec<Base>,
}

/// What the counters of one worker were when they were cleared last.
struct Base {
    vifs: HashMap<usize, u64>,
    vrfs: HashMap<usize, u64>,
    /// Drops of all interfaces; clearing an interface does not touch them.
    drops: [u64; DropReason::COUNT],
}

impl Default for Base {
    fn default() -> Self {
        Self { vifs: HashMap::new(), vrfs: HashMap::new(), drops: [0; DropReason::COUNT] }
    }
}

/// Which workers to add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// All of them.
    All,
    /// One; a number that no worker has counts nothing.
    One(usize),
}

impl Cores {
    /// Whether the worker is one of them.
    #[must_use]
    pub fn include(self, worker: usize) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => worker == one,
        }
    }
}

impl Stats {
    /// Over these workers.
    #[must_use]
    pub fn new(workers: Vec<Arc<WorkerStats>>) -> Self {
        let bases = workers.iter().map(|_| Base::default()).collect();
        Self { workers, bases }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    fn chosen(&self, cores: Cores) -> impl Iterator<Item = usize> {
        (0..self.workers.len()).filter(move |worker| cores.include(*worker))
    }

    fn cell(&self, cores: Cores, vif: usize, counter: usize) -> u64 {
        self.chosen(cores)
            .map(|worker| {
                let stats = &self.workers[worker];
                let position = vif.min(stats.vif_limit) * VIF_STRIDE + counter;
                above(&stats.vifs[position], &self.bases[worker].vifs, position)
            })
            .sum()
    }

    /// Totals of an interface.
    #[must_use]
    pub fn vif(&self, vif: VifId, cores: Cores) -> VifTotals {
        let get = |counter: VifCounter| self.cell(cores, vif.index(), counter as usize);
        VifTotals {
            in_packets: get(VifCounter::InPackets),
            in_bytes: get(VifCounter::InBytes),
            in_errors: get(VifCounter::InErrors),
            out_packets: get(VifCounter::OutPackets),
            out_bytes: get(VifCounter::OutBytes),
            out_errors: get(VifCounter::OutErrors),
        }
    }

    /// Drops of an interface, by reason.
    #[must_use]
    pub fn vif_drops(&self, vif: VifId, cores: Cores) -> [u64; DropReason::COUNT] {
        std::array::from_fn(|reason| self.cell(cores, vif.index(), VIF_COUNTERS + reason))
    }

    /// Drops of all interfaces and of packets that belong to none, by reason.
    #[must_use]
    pub fn drops(&self, cores: Cores) -> [u64; DropReason::COUNT] {
        let mut sum = [0u64; DropReason::COUNT];
        for worker in self.chosen(cores) {
            let now = self.all_drops(worker);
            for ((total, now), base) in sum.iter_mut().zip(now).zip(self.bases[worker].drops) {
                *total += now.wrapping_sub(base);
            }
        }
        sum
    }

    fn all_drops(&self, worker: usize) -> [u64; DropReason::COUNT] {
        let mut sum = [0u64; DropReason::COUNT];
        for vif in self.workers[worker].vifs.chunks_exact(VIF_STRIDE) {
            for (total, cell) in sum.iter_mut().zip(&vif[VIF_COUNTERS..]) {
                *total += cell.load(Ordering::Relaxed);
            }
        }
        sum
    }

    /// Counters of a VRF; one outside the table is the counter of packets without a valid VRF.
    #[must_use]
    pub fn vrf(&self, vrf: VrfId) -> [u64; VrfCounter::COUNT] {
        let mut sum = [0; VrfCounter::COUNT];
        for (stats, base) in self.workers.iter().zip(&self.bases) {
            let first = vrf.index().min(stats.vrf_limit) * VrfCounter::COUNT;
            for (counter, total) in sum.iter_mut().enumerate() {
                *total += above(&stats.vrfs[first + counter], &base.vrfs, first + counter);
            }
        }
        sum
    }

    /// Starts the counters of an interface at zero again, its drops included.
    pub fn clear_vif(&mut self, vif: VifId, cores: Cores) {
        let chosen: Vec<usize> = self.chosen(cores).collect();
        for worker in chosen {
            let first = vif.index().min(self.workers[worker].vif_limit) * VIF_STRIDE;
            let counters = &self.workers[worker].vifs;
            set_base(&mut self.bases[worker].vifs, counters, first..first + VIF_STRIDE);
        }
    }

    /// Starts the drop counters of the router at zero again; those of interfaces stay.
    pub fn clear_drops(&mut self, cores: Cores) {
        let chosen: Vec<usize> = self.chosen(cores).collect();
        for worker in chosen {
            self.bases[worker].drops = self.all_drops(worker);
        }
    }

    /// Starts the counters of all VRFs at zero again.
    pub fn clear_vrfs(&mut self) {
        for (stats, base) in self.workers.iter().zip(&mut self.bases) {
            set_base(&mut base.vrfs, &stats.vrfs, 0..stats.vrfs.len());
        }
    }
}

/// How much a counter has grown since it was cleared.
fn above(cell: &AtomicU64, base: &HashMap<usize, u64>, position: usize) -> u64 {
    match cell.load(Ordering::Relaxed) {
        0 => 0,
        now => now.wrapping_sub(base.get(&position).copied().unwrap_or(0)),
    }
}

fn set_base(base: &mut HashMap<usize, u64>, counters: &[AtomicU64], positions: Range<usize>) {
    for position in positions {
        match counters[position].load(Ordering::Relaxed) {
            // Mostly nothing was ever counted, and then nothing is looked up.
            0 if base.is_empty() => {}
            0 => {
                base.remove(&position);
            }
            now => {
                base.insert(position, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cores, Stats, VifCounter, VrfCounter, WorkerStats};
    use std::sync::Arc;
    use vr_types::{DropReason, VifId, VrfId};

    #[test]
    fn clearing_one_kind_of_counter_leaves_the_others() {
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerStats::new(8, 4, 0).unwrap())).collect();
        let mut stats = Stats::new(workers.clone());
        for worker in &workers {
            worker.received(VifId(3), 60);
            worker.dropped(VifId(3), DropReason::Discard);
            worker.dropped(VifId::NONE, DropReason::Pull);
            worker.vrf(VrfId(1), VrfCounter::Encaps);
        }
        assert_eq!(stats.vif(VifId(3), Cores::All).in_bytes, 120);
        assert_eq!(stats.vif(VifId(3), Cores::One(1)).in_packets, 1);
        assert_eq!(stats.vif(VifId(3), Cores::One(2)).in_packets, 0);

        stats.clear_vif(VifId(3), Cores::One(0));
        assert_eq!(stats.vif(VifId(3), Cores::All).in_packets, 1);
        stats.clear_vif(VifId(3), Cores::All);
        assert_eq!(stats.vif_drops(VifId(3), Cores::All)[DropReason::Discard.index()], 0);
        assert_eq!(stats.drops(Cores::All)[DropReason::Discard.index()], 2, "the router's counter stays");
        assert_eq!(stats.drops(Cores::One(0))[DropReason::Pull.index()], 1);

        workers[0].vif(VifId(3), VifCounter::OutErrors, 5);
        workers[0].dropped(VifId(3), DropReason::Discard);
        stats.clear_drops(Cores::All);
        assert_eq!(stats.drops(Cores::All), [0; DropReason::COUNT]);
        assert_eq!(stats.vif_drops(VifId(3), Cores::All)[DropReason::Discard.index()], 1);
        assert_eq!(stats.vif(VifId(3), Cores::All).out_errors, 5);

        assert_eq!(stats.vrf(VrfId(1))[VrfCounter::Encaps as usize], 2);
        stats.clear_vrfs();
        workers[1].vrf(VrfId(1), VrfCounter::Encaps);
        assert_eq!(stats.vrf(VrfId(1))[VrfCounter::Encaps as usize], 1);
    }
}
