//! The tc program on the host end of a pod's veth.
//!
//! An `AF_PACKET` socket gets a copy of a packet, and the kernel goes on with the packet itself: it might answer
//! ARP, or forward. The copy is made before tc, so a tc program that drops everything on ingress leaves the
//! packet to the socket alone.

use crate::{
    device,
    error::SteerError,
    object::{map_error, open, take_map},
    pins::{Persistence, Pins, pin_error},
    steer::sum,
    tc::{HookChoice, Ingress, SwallowHook},
};
use aya::maps::{MapData, PerCpuArray};
use std::{fmt, path::PathBuf};
use steer_abi::{SwallowCounter, map, program};

/// How to attach.
#[derive(Debug, Clone)]
pub struct SwallowOptions {
    /// Name of this daemon, as in [`SteerOptions`](crate::SteerOptions).
    pub instance: String,
    /// Hooks to try.
    pub hook: HookChoice,
    /// Whether the program outlives the process. If not, the kernel handles the pod's packets once it ends.
    pub persistence: Persistence,
    /// Where a bpffs is, as in [`SteerOptions`](crate::SteerOptions).
    pub bpffs: Option<PathBuf>,
}

impl Default for SwallowOptions {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            hook: HookChoice::Auto,
            persistence: Persistence::Pinned,
            bpffs: None,
        }
    }
}

/// The attached program, which drops and counts everything that the device receives.
///
/// Dropping it leaves a pinned program on the device, as the death of the process does; [`detach`](Self::detach)
/// removes it.
pub struct Swallow {
    interface: String,
    ingress: Ingress,
    counters: PerCpuArray<MapData, u64>,
}

const PINNED_COUNTERS: &str = "swallowed";

impl Swallow {
    /// Loads the program and attaches it to the ingress of `interface`, in place of a predecessor's of the same
    /// instance.
    pub fn attach(interface: &str, options: &SwallowOptions) -> Result<Self, SteerError> {
        device::index_of(interface)?;
        let mut object = open()?;
        let pins = Pins::of(options.persistence, options.bpffs.as_deref(), &options.instance, interface)?;
        let ingress = Ingress::attach(&mut object, program::SWALLOW, interface, options.hook, pins)?;
        if let Some(pins) = ingress.pins() {
            let counters = object.map(map::SWALLOWED);
            let counters =
                counters.ok_or_else(|| SteerError::Object(format!("no map {}", map::SWALLOWED)))?;
            pins.remove(PINNED_COUNTERS)?;
            let path = pins.path(PINNED_COUNTERS);
            counters.pin(&path).map_err(|error| pin_error(&path, &error))?;
        }
        let counters = take_map(&mut object, map::SWALLOWED)?;
        Ok(Self { interface: interface.to_owned(), ingress, counters })
    }

    /// The hook in use.
    #[must_use]
    pub const fn hook(&self) -> SwallowHook {
        self.ingress.hook()
    }

    /// All counters, summed over the CPUs. They start at 0 with each attach.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, SteerError> {
        SwallowCounter::ALL.iter().map(|&counter| Ok((counter.name(), self.counter(counter)?))).collect()
    }

    /// One counter, summed over the CPUs.
    pub fn counter(&self, counter: SwallowCounter) -> Result<u64, SteerError> {
        sum(&self.counters, counter.index()).map_err(map_error(map::SWALLOWED))
    }

    /// Takes the program off the device: the kernel handles what it receives.
    pub fn detach(self) -> Result<(), SteerError> {
        if let Some(pins) = self.ingress.pins() {
            pins.remove(PINNED_COUNTERS)?;
        }
        self.ingress.detach()
    }
}

impl fmt::Debug for Swallow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = self.hook();
        formatter
            .debug_struct("Swallow")
            .field("interface", &self.interface)
            .field("hook", &hook)
            .finish_non_exhaustive()
    }
}
