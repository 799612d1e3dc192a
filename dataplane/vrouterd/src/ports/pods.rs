//! The programs that keep the kernel from handling what pods send.

use steer_loader::{Swallow, SwallowOptions};
use vr_io::netdev;
use vr_types::VifId;

use super::error::OpenError;

/// One program for each device of a pod, and for `vhost0`.
///
/// A program stays when its interface is removed, because agents remove all interfaces when they restart and pods
/// must not get the kernel's path meanwhile. It goes with its device.
pub(super) struct Pods {
    instance: String,
    attached: Vec<Attached>,
}

struct Attached {
    /// The interface; none while the agent has removed it.
    vif: Option<VifId>,
    device: String,
    swallow: Swallow,
}

impl Pods {
    pub(super) fn new(instance: &str) -> Self {
        Self { instance: instance.to_owned(), attached: Vec::new() }
    }

    /// From now on the kernel drops what `device` receives, behind the socket that gets a copy.
    pub(super) fn guard(&mut self, vif: VifId, device: &str) -> Result<(), OpenError> {
        self.attached.retain(|attached| attached.device != device);
        let options = SwallowOptions { instance: self.instance.clone(), ..SwallowOptions::default() };
        let swallow = Swallow::attach(device, &options)?;
        self.attached.push(Attached { vif: Some(vif), device: device.to_owned(), swallow });
        Ok(())
    }

    /// The interface is removed; its device keeps the program.
    pub(super) fn park(&mut self, vif: VifId) {
        for attached in self.attached.iter_mut().filter(|attached| attached.vif == Some(vif)) {
            attached.vif = None;
        }
    }

    /// Interfaces have other numbers.
    pub(super) fn renumber(&mut self, of: impl Fn(VifId) -> VifId) {
        for vif in self.attached.iter_mut().filter_map(|attached| attached.vif.as_mut()) {
            *vif = of(*vif);
        }
    }

    /// Removes what is left of devices that are gone.
    pub(super) fn sweep(&mut self) {
        let gone =
            |attached: &mut Attached| attached.vif.is_none() && netdev::index(&attached.device).is_err();
        for Attached { device, swallow, .. } in self.attached.extract_if(.., gone) {
            match swallow.detach() {
                Ok(()) => tracing::debug!(device, "the device of a removed interface is gone"),
                Err(error) => tracing::warn!(device, %error, "something is left of a device that is gone"),
            }
        }
    }
}
