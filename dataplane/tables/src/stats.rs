//! Counters: each worker writes its own, readers add them up. Reading stops nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vr_types::{DropReason, VifId, VrfId};

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

/// Counters of one worker. Only that worker adds to them.
pub struct WorkerStats {
    vifs: Mapped<AtomicU64>,
    vrfs: Mapped<AtomicU64>,
    vif_limit: usize,
    vrf_limit: usize,
}

#[inline]
fn add(cell: &AtomicU64, count: u64) {
    // One writer, so no read-modify-write is needed.
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

impl WorkerStats {
    /// Counters for tables of these sizes. One more of each stands for numbers outside.
    ///
    /// # Errors
    /// [`MapError`] when memory is not to be had.
    pub fn new(vifs: usize, vrfs: usize) -> Result<Self, MapError> {
        Ok(Self {
            vifs: Mapped::private((vifs + 1) * VIF_STRIDE)?,
            vrfs: Mapped::private((vrfs + 1) * VrfCounter::COUNT)?,
            vif_limit: vifs,
            vrf_limit: vrfs,
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
        add(self.vif_cell(vif, VIF_COUNTERS + reason.index()), 1);
    }

    /// Counts a packet of a VRF.
    #[inline]
    pub fn vrf(&self, vrf: VrfId, counter: VrfCounter) {
        add(&self.vrfs[vrf.index().min(self.vrf_limit) * VrfCounter::COUNT + counter as usize], 1);
    }
}

/// The reading side over all workers, with what was cleared taken off.
pub struct Stats {
    workers: Vec<Arc<WorkerStats>>,
    /// Values at the last clearing, by worker.
    vif_base: Vec<hashbrown::HashMap<usize, u64>>,
}

/// Which workers to add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// All of them.
    All,
    /// One; a number that no worker has counts nothing.
    One(usize),
}

impl Stats {
    /// Over these workers.
    #[must_use]
    pub fn new(workers: Vec<Arc<WorkerStats>>) -> Self {
        let vif_base = workers.iter().map(|_| hashbrown::HashMap::new()).collect();
        Self { workers, vif_base }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    fn chosen(&self, cores: Cores) -> impl Iterator<Item = usize> {
        (0..self.workers.len()).filter(move |worker| match cores {
            Cores::All => true,
            Cores::One(one) => *worker == one,
        })
    }

    fn cell(&self, cores: Cores, vif: usize, counter: usize) -> u64 {
        self.chosen(cores)
            .map(|worker| {
                let stats = &self.workers[worker];
                let position = vif.min(stats.vif_limit) * VIF_STRIDE + counter;
                let base = self.vif_base[worker].get(&position).copied().unwrap_or(0);
                stats.vifs[position].load(Ordering::Relaxed).wrapping_sub(base)
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
            let stats = &self.workers[worker];
            for vif in 0..=stats.vif_limit {
                let first = vif * VIF_STRIDE + VIF_COUNTERS;
                for (reason, total) in sum.iter_mut().enumerate() {
                    let base = self.vif_base[worker].get(&(first + reason)).copied().unwrap_or(0);
                    *total += stats.vifs[first + reason].load(Ordering::Relaxed).wrapping_sub(base);
                }
            }
        }
        sum
    }

    /// Counters of a VRF; one outside the table is the counter of packets without a valid VRF.
    #[must_use]
    pub fn vrf(&self, vrf: VrfId) -> [u64; VrfCounter::COUNT] {
        let mut sum = [0; VrfCounter::COUNT];
        for stats in &self.workers {
            let first = vrf.index().min(stats.vrf_limit) * VrfCounter::COUNT;
            for (counter, total) in sum.iter_mut().enumerate() {
                *total += stats.vrfs[first + counter].load(Ordering::Relaxed);
            }
        }
        sum
    }

    fn clear_range(&mut self, cores: Cores, positions: &(impl Iterator<Item = usize> + Clone)) {
        let chosen: Vec<usize> = self.chosen(cores).collect();
        for worker in chosen {
            for position in positions.clone() {
                let now = self.workers[worker].vifs[position].load(Ordering::Relaxed);
                if now == 0 {
                    self.vif_base[worker].remove(&position);
                } else {
                    self.vif_base[worker].insert(position, now);
                }
            }
        }
    }

    /// Starts the counters of an interface at zero again.
    pub fn clear_vif(&mut self, vif: VifId, cores: Cores) {
        let first = vif.index() * VIF_STRIDE;
        self.clear_range(cores, &(first..first + VIF_STRIDE));
    }

    /// Starts all drop counters at zero again.
    pub fn clear_drops(&mut self, cores: Cores) {
        let limit = self.workers.first().map_or(0, |stats| stats.vif_limit);
        let reasons = (0..=limit).flat_map(|vif| {
            let first = vif * VIF_STRIDE + VIF_COUNTERS;
            first..first + DropReason::COUNT
        });
        self.clear_range(cores, &reasons);
    }
}
