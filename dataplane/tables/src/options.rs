//! Runtime options of `vrouter_ops` (control.md 4.2).

use vr_types::Release;

use crate::drop_log::DropLogging;
use crate::flow::{BurstLimits, QuotaLimits};

/// What the configuration says about flows, beyond what the original has. Clients neither see nor change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOptions {
    /// Packets that one flow may keep waiting for the agent.
    pub hold_queue: usize,
    /// Whether half-open and one-way flows make room when there is little.
    pub protect: bool,
    /// How many entries flows of a VRF and of an interface may have.
    pub quotas: QuotaLimits,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self { hold_queue: 3, protect: false, quotas: QuotaLimits::default() }
    }
}

/// Settings that the agent and the `vrouter` utility read and change. What this forwarder has no use for is
/// remembered all the same, so that a GET shows what was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Release of the other side. It does not change while the tables exist.
    pub release: Release,
    /// Receive offload for guests.
    pub perfr: i32,
    /// Segment before encapsulation.
    pub perfs: i32,
    /// Clamp the MSS of SYNs from guests.
    pub from_vm_mss_adj: i32,
    /// Clamp the MSS of SYNs to guests.
    pub to_vm_mss_adj: i32,
    /// Steering stages.
    pub perfr1: i32,
    /// Steering stages.
    pub perfr2: i32,
    /// Steering stages.
    pub perfr3: i32,
    /// Pull inner headers.
    pub perfp: i32,
    /// Processor of a steering stage.
    pub perfq1: i32,
    /// Processor of a steering stage.
    pub perfq2: i32,
    /// Processor of a steering stage.
    pub perfq3: i32,
    /// Outer UDP checksum by the device.
    pub udp_coff: i32,
    /// Flows that may wait for the agent at a time; 0 for no limit.
    pub flow_hold_limit: i32,
    /// Send MPLS over UDP on GRE nexthops.
    pub mudp: i32,
    /// Flows that may be created beyond the hold limit.
    pub burst_tokens: i32,
    /// Milliseconds after which tokens are added.
    pub burst_interval: i32,
    /// Tokens added each interval.
    pub burst_step: i32,
    /// Priority tags for frames without VLAN.
    pub priority_tagging: u32,
    /// Log packets.
    pub packet_dump: i32,
    /// Which drops are logged; whether any are, is a size of the tables.
    pub drop_log: DropLogging,
    /// Close flows on any RST.
    pub close_flow_on_rst: bool,
    /// Flows.
    pub flows: FlowOptions,
    /// Log level, 1 to 8.
    pub log_level: u32,
    /// Log types that are on, each at its place of the original's list.
    pub log_types: Vec<i32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            release: Release::Current,
            perfr: 1,
            perfs: 1,
            from_vm_mss_adj: 1,
            to_vm_mss_adj: 1,
            perfr1: 0,
            perfr2: 1,
            perfr3: 1,
            perfp: 1,
            perfq1: 0,
            perfq2: 0,
            perfq3: 0,
            udp_coff: 0,
            flow_hold_limit: 8192,
            mudp: 0,
            burst_tokens: 0,
            burst_interval: 0,
            burst_step: 0,
            priority_tagging: 0,
            packet_dump: 0,
            drop_log: DropLogging::default(),
            close_flow_on_rst: false,
            flows: FlowOptions::default(),
            log_level: 7,
            log_types: original_log_types(),
        }
    }
}

/// The 48 places for log types that the original shows: its own four are on, behind those of its libraries
/// (agent-startup-trace.txt).
fn original_log_types() -> Vec<i32> {
    let mut types = vec![0; 48];
    types[FIRST_LOG_TYPE..][..LOG_TYPES.len()].copy_from_slice(&LOG_TYPES);
    types
}

const LOG_TYPES: [i32; 4] = [1, 2, 4, 8];
const FIRST_LOG_TYPE: usize = 24;

impl Options {
    /// Flows that may be made beyond the hold limit; what makes no sense is nothing.
    #[must_use]
    pub fn burst(&self) -> BurstLimits {
        let [tokens, interval, step] = [self.burst_tokens, self.burst_interval, self.burst_step]
            .map(|value| u32::try_from(value).unwrap_or(0));
        BurstLimits { tokens, interval, step }
    }

    /// Switches a log type on or off; one that does not exist is ignored.
    pub(crate) fn set_log_type(&mut self, kind: i32, is_on: bool) {
        let place = LOG_TYPES.iter().position(|known| *known == kind).map(|number| FIRST_LOG_TYPE + number);
        if let Some(place) = place.and_then(|place| self.log_types.get_mut(place)) {
            *place = if is_on { kind } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn only_log_types_that_exist_are_switched() {
        let mut options = Options::default();
        options.set_log_type(4, false);
        options.set_log_type(0, true);
        options.set_log_type(7, true);
        assert_eq!((options.log_types.len(), options.log_types[24..28].to_vec()), (48, vec![1, 2, 0, 8]));
        options.set_log_type(4, true);
        assert_eq!(options, Options::default());
    }
}
