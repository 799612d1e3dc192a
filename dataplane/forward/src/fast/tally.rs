//! Counters of a batch, added to the worker's own once per run of packets that go the same way.

use vr_tables::stats::{VifCounter, VrfCounter, WorkerStats};
use vr_types::{TunnelKind, VifId, VrfId};

/// Packets of one VRF.
#[derive(Default)]
pub(super) struct VrfTally {
    pub(super) l2_receives: u32,
    /// By a member of a composite.
    pub(super) balanced: u32,
    pub(super) translates: u32,
    pub(super) encaps: u32,
    pub(super) l2_encaps: u32,
    /// By kind of tunnel.
    pub(super) tunnels: [u32; 3],
}

/// What the lane counted and has not written down yet.
pub(super) struct Tally {
    received: (u64, u64),
    to: VifId,
    sent: (u64, u64),
    current: VrfId,
    pub(super) vrf: VrfTally,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            received: (0, 0),
            to: VifId::NONE,
            sent: (0, 0),
            current: VrfId::NONE,
            vrf: VrfTally::default(),
        }
    }

    #[inline]
    pub(super) fn received(&mut self, bytes: usize) {
        self.received.0 += 1;
        self.received.1 += bytes as u64;
    }

    /// What is counted from now on belongs to this VRF.
    #[inline]
    pub(super) fn enter(&mut self, stats: &WorkerStats, vrf: VrfId) {
        if self.current != vrf {
            self.flush_vrf(stats);
            self.current = vrf;
        }
    }

    #[inline]
    pub(super) fn sent(&mut self, stats: &WorkerStats, vif: VifId, bytes: usize) {
        if self.to != vif {
            self.flush_sent(stats);
            self.to = vif;
        }
        self.sent.0 += 1;
        self.sent.1 += bytes as u64;
    }

    fn flush_sent(&mut self, stats: &WorkerStats) {
        let (packets, bytes) = std::mem::take(&mut self.sent);
        if packets > 0 {
            stats.vif(self.to, VifCounter::OutPackets, packets);
            stats.vif(self.to, VifCounter::OutBytes, bytes);
        }
    }

    fn flush_vrf(&mut self, stats: &WorkerStats) {
        let VrfTally { l2_receives, balanced, translates, encaps, l2_encaps, tunnels } =
            std::mem::take(&mut self.vrf);
        for (counter, count) in [
            (VrfCounter::L2Receives, l2_receives),
            (VrfCounter::EcmpComposites, balanced),
            (VrfCounter::VrfTranslates, translates),
            (VrfCounter::Encaps, encaps),
            (VrfCounter::L2Encaps, l2_encaps),
            (VrfCounter::GreMplsTunnels, tunnels[TunnelKind::MplsOverGre as usize]),
            (VrfCounter::UdpMplsTunnels, tunnels[TunnelKind::MplsOverUdp as usize]),
            (VrfCounter::VxlanTunnels, tunnels[TunnelKind::Vxlan as usize]),
        ] {
            if count > 0 {
                stats.vrf_many(self.current, counter, u64::from(count));
            }
        }
    }

    /// Writes everything down. All packets came from `from`; in the underlay's VRF, if they came from there,
    /// each of them passed a receive nexthop.
    pub(super) fn finish(mut self, stats: &WorkerStats, from: VifId, underlay: Option<VrfId>) {
        let (packets, bytes) = self.received;
        if packets > 0 {
            stats.vif(from, VifCounter::InPackets, packets);
            stats.vif(from, VifCounter::InBytes, bytes);
            if let Some(vrf) = underlay {
                stats.vrf_many(vrf, VrfCounter::Receives, packets);
            }
        }
        self.flush_sent(stats);
        self.flush_vrf(stats);
    }
}
