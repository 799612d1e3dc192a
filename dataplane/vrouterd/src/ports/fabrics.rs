//! The steering programs of this daemon, for all of its threads.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steer_loader::{Steer, TunnelSet};
use vr_observe::Steering;
use vr_types::VifId;

use super::endpoints;

/// All steered devices. The control thread changes them, the housekeeping thread gives the sign of life and reads
/// counters.
#[derive(Clone, Default)]
pub(crate) struct Fabrics(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    fabrics: Vec<Fabric>,
    /// The address that the agent has named for the host.
    host: Option<(VifId, IpAddr)>,
}

struct Fabric {
    vif: VifId,
    device: String,
    steer: Steer,
    endpoints: BTreeSet<IpAddr>,
}

impl Fabrics {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device whose queues are served from now on.
    pub(super) fn add(&self, vif: VifId, device: &str, steer: Steer) {
        let mut state = self.lock();
        // A predecessor's endpoints are taken over, or given up, like those that were set here.
        let endpoints =
            steer.endpoints().unwrap_or_default().into_iter().map(|(address, _)| address).collect();
        state.fabrics.push(Fabric { vif, device: device.to_owned(), steer, endpoints });
        state.refresh();
    }

    /// The agent's word for the host's address; it may be on another device than the fabric's.
    pub(super) fn set_host(&self, vif: VifId, address: Ipv4Addr) {
        let mut state = self.lock();
        state.host = Some((vif, IpAddr::V4(address))).filter(|_| !address.is_unspecified());
        state.refresh();
    }

    /// The interface is gone. The program stays, pinned, and drops what it would have steered.
    pub(super) fn remove(&self, vif: VifId) {
        let mut state = self.lock();
        state.fabrics.retain(|fabric| fabric.vif != vif);
        if state.host.is_some_and(|(host, _)| host == vif) {
            state.host = None;
        }
    }

    /// Follows the addresses of the devices.
    pub(super) fn refresh(&self) {
        self.lock().refresh();
    }

    /// Tells the kernel's side when a worker last showed that it lives, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn beat(&self, last: u64) {
        self.lock().fabrics.iter().for_each(|fabric| fabric.steer.heartbeat().beat(last));
    }

    /// What the steering programs report.
    pub(crate) fn report(&self) -> Vec<Steering> {
        self.lock().fabrics.iter().map(Fabric::report).collect()
    }
}

impl State {
    fn refresh(&mut self) {
        let host = self.host.map(|(_, address)| address);
        for fabric in &mut self.fabrics {
            let mut wanted = endpoints::of_device(&fabric.device);
            wanted.extend(host);
            fabric.steer_to(wanted);
        }
    }
}

impl Fabric {
    /// Makes these the addresses whose tunnel packets are taken from the kernel.
    fn steer_to(&mut self, wanted: BTreeSet<IpAddr>) {
        if wanted == self.endpoints {
            return;
        }
        for address in wanted.difference(&self.endpoints) {
            tracing::info!(device = self.device, %address, "tunnels to this address are taken");
            if let Err(error) = self.steer.set_endpoint(*address, TunnelSet::ALL) {
                tracing::error!(device = self.device, %address, %error, "tunnels to this address are not taken");
            }
        }
        for address in self.endpoints.difference(&wanted) {
            tracing::info!(device = self.device, %address, "tunnels to this address go to the kernel");
            if let Err(error) = self.steer.remove_endpoint(*address) {
                tracing::error!(device = self.device, %address, %error, "tunnels to this address are taken still");
            }
        }
        self.endpoints = wanted;
    }

    fn report(&self) -> Steering {
        let attachment = self.steer.attachment();
        let counters = self.steer.counters().unwrap_or_default();
        Steering {
            device: self.device.clone(),
            mode: attachment.mode.name().to_owned(),
            reason: attachment.reason.clone(),
            endpoints: self.endpoints.iter().copied().collect(),
            counters: counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        }
    }
}
