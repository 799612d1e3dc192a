//! What changes outside while the daemon runs: addresses, MTU and state of devices.

use vr_io::netdev::{self, DeviceWatch};
use vr_tables::control::{DeviceChange, DeviceTotals};
use vr_types::VifId;

use super::Factory;
use super::fabric::ETHERNET;
use super::host::{VHOST0, our_end};
use crate::config::HostMode;

/// The device of a fabric interface, as it was when it was looked at last.
pub(super) struct Underlay {
    pub(super) vif: VifId,
    pub(super) device: String,
    /// Bytes behind the Ethernet header.
    pub(super) mtu: u32,
    pub(super) up: bool,
}

/// Hears of changes; without a socket for that, everything may have changed at any time.
pub(super) struct Outside {
    watch: Option<DeviceWatch>,
    /// Something of ours has changed.
    pub(super) stale: bool,
}

impl Outside {
    pub(super) fn new() -> Self {
        let watch = DeviceWatch::new();
        if let Err(error) = &watch {
            tracing::warn!(%error, "devices are looked at again and again");
        }
        Self { watch: watch.ok(), stale: true }
    }

    fn changed(&mut self) -> bool {
        // Both: what has come until now is known then.
        let heard = self.watch.as_ref().is_none_or(DeviceWatch::changed);
        std::mem::take(&mut self.stale) | heard
    }
}

impl Factory {
    /// Follows what has changed outside. To be called now and then; gives what the tables should know.
    pub(crate) fn refresh(&mut self) -> Vec<DeviceChange> {
        if !self.outside.changed() {
            return Vec::new();
        }
        self.fabrics.refresh();
        self.pods.sweep();
        for (_, device, address) in &self.kernel_macs {
            // A device that is gone keeps the address that it had.
            if let Ok(mac) = netdev::mac(device) {
                address.set(mac);
            }
        }
        let changes: Vec<DeviceChange> = self.underlays.iter_mut().filter_map(Underlay::look).collect();
        self.follow_mtu();
        changes
    }

    /// `vhost0` follows the fabric device; with the address of the host on it, the fabric device follows `vhost0` as
    /// well (control.md 4.3).
    fn follow_mtu(&mut self) {
        let Some(underlay) = self.underlays.first() else { return };
        let (device, mtu) = (underlay.device.as_str(), underlay.mtu);
        let Ok(of_host) = netdev::mtu(VHOST0) else { return };
        let before = self.fabric_device.map_or(mtu, |fabric| fabric.mtu);
        let ours = our_end(VHOST0);
        let wanted: &[(&str, u32)] = if mtu != before {
            &[(VHOST0, mtu), (&ours, mtu)]
        } else if of_host != mtu && self.fabric.host == HostMode::Vhost0 {
            &[(device, of_host), (&ours, of_host)]
        } else {
            &[(&ours, of_host)]
        };
        for (name, mtu) in wanted.iter().filter(|(name, mtu)| netdev::mtu(name).is_ok_and(|now| now != *mtu))
        {
            match netdev::set_mtu(name, *mtu) {
                Ok(()) => tracing::info!(name, mtu, "the MTU follows that of another device"),
                Err(error) => tracing::warn!(name, mtu, %error, "the MTU is not that of the other device"),
            }
        }
        if let Some(fabric) = &mut self.fabric_device {
            fabric.mtu = mtu;
        }
    }
}

impl Underlay {
    /// What the device has counted; nothing when it is gone.
    pub(super) fn totals(&self) -> DeviceTotals {
        let figures = netdev::statistics(&self.device).unwrap_or_default();
        DeviceTotals {
            in_bytes: figures.rx_bytes,
            in_packets: figures.rx_packets,
            in_errors: figures.rx_errors + figures.rx_no_room,
            in_no_buffers: figures.rx_no_room,
            out_bytes: figures.tx_bytes,
            out_packets: figures.tx_packets,
            out_errors: figures.tx_errors,
        }
    }

    /// What has changed. A device that is gone is down.
    fn look(&mut self) -> Option<DeviceChange> {
        let mtu = netdev::mtu(&self.device).unwrap_or(self.mtu);
        let up = netdev::is_running(&self.device).unwrap_or(false);
        if (mtu, up) == (self.mtu, self.up) {
            return None;
        }
        tracing::info!(device = self.device, mtu, up, "the fabric device has changed");
        let [mtu_before, mtu_now] = [self.mtu, mtu].map(|mtu| mtu + ETHERNET);
        (self.mtu, self.up) = (mtu, up);
        Some(DeviceChange { vif: self.vif, mtu_before, mtu: mtu_now, up })
    }
}
