//! The underlay: `AF_XDP` behind the steering program, or `AF_PACKET`.

use steer_loader::{AttachMode, Steer, SteerOptions};
use vr_io::afxdp::{self, AfXdpConfig, XdpHook, XskBackend};
use vr_io::{PacketConfig, PacketFilter, PacketPort, netdev};
use vr_runtime::{Opened, Queue};
use vr_tables::control::Attached;
use vr_tables::vif::Vif;
use vr_types::Mac;

use super::Factory;
use super::error::OpenError;
use super::follow::Underlay;
use super::host::VHOST0;
use crate::config::{Backend, HostMode};

/// Bytes of an Ethernet header, which the MTU of an interface includes.
pub(super) const ETHERNET: u32 = 14;
/// Sizes of rings: more is not faster, fewer overflow when a worker is late.
const RINGS: std::ops::RangeInclusive<u32> = 64..=2048;

/// What `vhost0` takes over from the fabric device.
#[derive(Clone, Copy)]
pub(super) struct FabricDevice {
    pub(super) mac: Mac,
    pub(super) mtu: u32,
}

impl FabricDevice {
    fn find(device: &str) -> Result<Self, OpenError> {
        Ok(Self { mac: netdev::mac(device)?, mtu: netdev::mtu(device)? })
    }

    /// As an interface has it.
    const fn attached(self) -> Attached {
        Attached { mtu: Some(self.mtu + ETHERNET), mac: Some(self.mac) }
    }
}

impl Factory {
    /// What can be there before any agent comes: `vhost0`, for which agents wait, and if the address of the host is on
    /// it, its way to the fabric device and back.
    ///
    /// # Errors
    /// When the device is not there, or something that the system refuses.
    pub(crate) fn prepare(&mut self) -> Result<(), OpenError> {
        let Some(device) = self.fabric.device.clone().filter(|_| !self.mock) else { return Ok(()) };
        let device = self.enter_vlan(device)?;
        let device = device.as_str();
        self.take_note_of(device)?;
        self.make_pair(VHOST0)?;
        if self.fabric.host == HostMode::Vhost0 {
            netdev::set_up(device, true)?;
            let steer = self.attach(device)?;
            self.fabrics.add(None, device, steer);
        }
        Ok(())
    }

    fn take_note_of(&mut self, device: &str) -> Result<FabricDevice, OpenError> {
        let found = FabricDevice::find(device)?;
        self.fabric_device = Some(found);
        Ok(found)
    }

    fn fabric_name(&self, vif: &Vif) -> String {
        let configured = self.fabric.device.as_ref().map(|device| device.as_str().to_owned());
        configured.unwrap_or_else(|| vif.details.name.clone())
    }

    /// What opening the device would say about it.
    pub(super) fn look_at_fabric(&self, vif: &Vif) -> Result<Attached, OpenError> {
        FabricDevice::find(&self.fabric_name(vif)).map(FabricDevice::attached)
    }

    pub(super) fn open_fabric(&mut self, vif: &Vif) -> Result<Opened, OpenError> {
        let device = self.fabric_name(vif);
        let noted = self.take_note_of(&device)?;
        let queues = match self.fabric.backend {
            Backend::Packet => open_packet(&device)?,
            Backend::Auto | Backend::Ring => self.open_steered(vif, &device, XskBackend::Ring)?,
            Backend::XskRs => self.open_steered(vif, &device, XskBackend::XskRs)?,
        };
        let up = netdev::is_running(&device)?;
        self.underlays.push(Underlay { vif: vif.id, device, mtu: noted.mtu, up });
        self.outside.stale = true;
        Ok(Opened { queues, device: noted.attached() })
    }

    /// Attaches the steering program, in place of one that is there.
    fn attach(&self, device: &str) -> Result<Steer, OpenError> {
        let pair = match self.fabric.host {
            HostMode::Nic => None,
            HostMode::Vhost0 => Some(self.make_pair(VHOST0)?),
        };
        let options = SteerOptions { instance: self.instance.clone(), pair, ..SteerOptions::default() };
        let steer = Steer::attach(device, &options)?;
        if steer.is_joined() && steer.attachment().mode == AttachMode::Generic {
            keep_apart(device);
        }
        Ok(steer)
    }

    /// One `AF_XDP` socket for each receive queue.
    fn open_steered(
        &mut self,
        vif: &Vif,
        device: &str,
        backend: XskBackend,
    ) -> Result<Vec<Queue>, OpenError> {
        let mut steer = self.attach(device)?;
        match self.open_queues(device, backend, &mut steer) {
            Ok(queues) => {
                self.fabrics.add(Some(vif.id), device, steer);
                Ok(queues)
            }
            // Without the programs the host would be cut off.
            Err(error) if steer.is_joined() => {
                self.fabrics.add(None, device, steer);
                Err(error)
            }
            Err(error) => {
                // Nobody would serve what it steers.
                if let Err(error) = steer.detach() {
                    tracing::warn!(device, %error, "the steering program stays on the device");
                }
                Err(error)
            }
        }
    }

    fn open_queues(
        &self,
        device: &str,
        backend: XskBackend,
        steer: &mut Steer,
    ) -> Result<Vec<Queue>, OpenError> {
        let attachment = steer.attachment();
        let hook = match attachment.mode {
            AttachMode::Native => XdpHook::Native,
            AttachMode::Generic => XdpHook::Generic { reason: attachment.reason.clone() },
        };
        let count = netdev::queues(device)?.receive.max(1);
        if count > 1 {
            spread(device);
        }
        let ring = self.ring_size(count);
        let mut queues = Vec::new();
        for number in 0..count {
            let config =
                AfXdpConfig { backend, hook: hook.clone(), ring, ..AfXdpConfig::new(device, number) };
            let port = afxdp::open(&config, self.pools.arena())?;
            steer.set_socket(number, port.socket())?;
            steer.set_queue(number, number, 1)?;
            let detail = port.report().to_string();
            queues.push(Queue { detail, ..Queue::new(port) });
        }
        if self.fabric.host == HostMode::Nic {
            queues.extend(open_neighbours(device)?);
        }
        Ok(queues)
    }

    /// As many buffers lie ready in each receiving ring; all of them together take a quarter of what there is.
    fn ring_size(&self, queues: u32) -> u32 {
        let per_worker = queues.div_ceil(self.workers.max(1));
        if let Some(ring) = self.fabric.ring {
            // Not more than half of the buffers, or nothing could be forwarded.
            return ring.get().min(1 << (self.buffers / 2 / per_worker).max(*RINGS.start()).ilog2());
        }
        let share = (self.buffers / 4 / per_worker).clamp(*RINGS.start(), *RINGS.end());
        1 << share.ilog2()
    }
}

/// All tunnels between two nodes would come by one queue otherwise.
fn spread(device: &str) {
    match netdev::spread_udp(device) {
        Ok(true) => tracing::info!(device, "queues of UDP packets are chosen by ports as well from now on"),
        Ok(false) => {}
        Err(error) => tracing::warn!(device, %error, "all tunnels from one node may come by one queue"),
    }
}

/// A generic program comes behind the joining of received frames, and what is joined does not fit a socket's buffers.
fn keep_apart(device: &str) {
    if let Err(error) = netdev::set_feature(device, netdev::Feature::Gro, false) {
        tracing::warn!(device, %error, "frames of the host may be joined and then lost; turn gro off with ethtool");
    }
}

/// What resolves addresses goes to the kernel, and a copy comes by a socket of its own, for the agent.
fn open_neighbours(device: &str) -> Result<Vec<Queue>, OpenError> {
    let config = PacketConfig {
        promiscuous: false,
        filter: PacketFilter::Control,
        buffer: 256 << 10,
        ..PacketConfig::new(device)
    };
    let detail = "copies of ARP, neighbour discovery and ICMP errors about tunnels".to_owned();
    let queue = |port| Queue { sends: false, detail: detail.clone(), ..Queue::new(Box::new(port)) };
    Ok(PacketPort::open(&config)?.into_iter().map(queue).collect())
}

/// Tunnels and what resolves addresses, as copies. The kernel handles the same packets: it has nobody who listens on
/// these ports, and tells the senders so.
fn open_packet(device: &str) -> Result<Vec<Queue>, OpenError> {
    let config =
        PacketConfig { promiscuous: false, filter: PacketFilter::Tunnels, ..PacketConfig::new(device) };
    let detail = "the configuration chooses AF_PACKET".to_owned();
    let queue = |port| Queue { detail: detail.clone(), ..Queue::new(Box::new(port)) };
    Ok(PacketPort::open(&config)?.into_iter().map(queue).collect())
}
