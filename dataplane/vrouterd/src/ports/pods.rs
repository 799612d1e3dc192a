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
    /// The number that the kernel gave the device, and gives no other one of its name.
    index: u32,
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
        let index = netdev::index(device)?;
        let swallow = Swallow::attach(device, &options)?;
        self.attached.push(Attached { vif: Some(vif), device: device.to_owned(), index, swallow });
        Ok(())
    }

    /// Whether the device of an interface is gone, or another one has its name.
    pub(super) fn has_lost(&self, vif: VifId) -> bool {
        let of_vif = |attached: &&Attached| attached.vif == Some(vif);
        self.attached.iter().find(of_vif).is_some_and(|attached| is_gone(&attached.device, attached.index))
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

/// Whether the device that had this number is no longer there under this name.
fn is_gone(device: &str, index: u32) -> bool {
    netdev::index(device).ok() != Some(index)
}

#[cfg(test)]
mod tests {
    use super::is_gone;
    use vr_io::netdev;

    #[test]
    fn a_device_is_known_by_its_number() {
        let index = netdev::index("lo").unwrap();
        assert!(!is_gone("lo", index));
        assert!(is_gone("lo", index + 1), "another one of that name");
        assert!(is_gone("vrx-none", index));
    }
}
