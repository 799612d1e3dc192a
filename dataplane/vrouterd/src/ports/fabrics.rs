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
    host: Option<Host>,
}

struct Fabric {
    /// The interface; none while there is only the way between `vhost0` and the device.
    vif: Option<VifId>,
    device: String,
    steer: Steer,
    endpoints: BTreeSet<IpAddr>,
}

/// The interface of the host.
struct Host {
    vif: VifId,
    device: String,
    /// The addresses that the agent has named for it.
    addresses: Vec<IpAddr>,
}

impl Fabrics {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device whose queues are served from now on, or one that is only joined with `vhost0`. It takes the place of
    /// what was known of the device.
    pub(super) fn add(&self, vif: Option<VifId>, device: &str, steer: Steer) {
        let mut state = self.lock();
        state.fabrics.retain(|fabric| fabric.device != device);
        // A predecessor's endpoints are taken over, or given up, like those that were set here.
        let endpoints =
            steer.endpoints().unwrap_or_default().into_iter().map(|(address, _)| address).collect();
        state.fabrics.push(Fabric { vif, device: device.to_owned(), steer, endpoints });
        state.refresh();
    }

    /// The interface of the host is served from now on. The agent's words for its addresses, its own and that of
    /// loopback, may be on another device than the fabric's.
    pub(super) fn set_host(&self, vif: VifId, device: &str, addresses: [Ipv4Addr; 2]) {
        let mut state = self.lock();
        let named = addresses.into_iter().filter(|address| !address.is_unspecified()).map(IpAddr::V4);
        state.host = Some(Host { vif, device: device.to_owned(), addresses: named.collect() });
        state.refresh();
    }

    /// The interface is gone. The programs stay, pinned: tunnel packets are dropped, and the kernel joins what has to
    /// be joined.
    pub(super) fn remove(&self, vif: VifId) {
        let mut state = self.lock();
        state.host.take_if(|host| host.vif == vif);
        for fabric in &mut state.fabrics {
            fabric.vif.take_if(|own| *own == vif);
        }
        state.fabrics.retain(|fabric| fabric.vif.is_some() || fabric.steer.is_joined());
        state.stop_unserved();
    }

    /// Interfaces have other numbers.
    pub(super) fn renumber(&self, of: impl Fn(VifId) -> VifId) {
        let mut state = self.lock();
        if let Some(host) = &mut state.host {
            host.vif = of(host.vif);
        }
        for vif in state.fabrics.iter_mut().filter_map(|fabric| fabric.vif.as_mut()) {
            *vif = of(*vif);
        }
    }

    /// Follows the addresses of the devices.
    pub(super) fn refresh(&self) {
        self.lock().refresh();
    }

    /// Tells the kernel's side when a worker last showed that it lives, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn beat(&self, last: u64) {
        let state = self.lock();
        let served = state.fabrics.iter().filter(|fabric| state.serves(fabric));
        served.for_each(|fabric| fabric.steer.heartbeat().beat(last));
    }

    /// What the steering programs report.
    pub(crate) fn report(&self) -> Vec<Steering> {
        self.lock().fabrics.iter().map(Fabric::report).collect()
    }
}

impl State {
    /// Whether packets of the device may come to us: with the address of the host on `vhost0` only when both are
    /// served, for what we take from one we have to give to the other.
    const fn serves(&self, fabric: &Fabric) -> bool {
        fabric.vif.is_some() && (self.host.is_some() || !fabric.steer.is_joined())
    }

    /// What is not served any more is joined at once, not when its heartbeat is old.
    fn stop_unserved(&self) {
        let unserved = self.fabrics.iter().filter(|fabric| !self.serves(fabric));
        unserved.for_each(|fabric| fabric.steer.heartbeat().stop());
    }

    fn refresh(&mut self) {
        for fabric in &mut self.fabrics {
            let mut wanted = endpoints::of_device(&fabric.device);
            if let Some(host) = &self.host {
                wanted.extend(&host.addresses);
                if fabric.steer.is_joined() {
                    wanted.extend(endpoints::of_device(&host.device));
                }
            }
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
