//! How interfaces get their ports: by type, transport and what device there is (control.md 4.3).

mod agent;
mod endpoints;
mod error;
mod fabric;
mod fabrics;
mod follow;
mod guest;
mod host;
mod mock;
mod monitor;
mod pods;
mod probe;
mod vhost_user;
mod vlan;

use std::path::PathBuf;

use vr_frame::PoolSet;
use vr_io::{Pkt0Socket, netdev};
use vr_runtime::{KernelMac, Opened, PortFactory, Queue};
use vr_tables::control::{AttachError, Attached, DeviceTotals};
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::VifId;

use crate::config::{Config, Fabric};

pub(crate) use fabrics::Fabrics;

use agent::AgentWatch;
use error::OpenError;
use fabric::FabricDevice;
use follow::{Outside, Underlay};
use vhost_user::Machines;

/// Transport of interfaces that no network device stands for (control.md 4.3).
const TRANSPORT_PMD: u8 = 2;

/// Opens the ports of this daemon.
pub(crate) struct Factory {
    directory: PathBuf,
    instance: String,
    fabric: Fabric,
    /// Rings of one fabric queue may keep so many buffers.
    buffers: u32,
    pools: PoolSet,
    fabrics: Fabrics,
    pods: pods::Pods,
    machines: Machines,
    /// Test mode.
    mock: bool,
    agent: Option<AgentWatch>,
    /// From the first interface of an agent on.
    pkt0: Option<Pkt0Socket>,
    /// Addresses of the kernel's devices that workers send to.
    kernel_macs: Vec<(VifId, String, KernelMac)>,
    /// The fabric device that was looked at last.
    fabric_device: Option<FabricDevice>,
    /// The devices of fabric interfaces.
    underlays: Vec<Underlay>,
    outside: Outside,
    workers: u32,
}

impl Factory {
    pub(crate) fn new(config: &Config, pools: PoolSet, fabrics: Fabrics) -> Self {
        let workers = config.workers.count.get();
        Self {
            directory: config.socket_dir(),
            instance: config.instance.as_str().to_owned(),
            fabric: config.fabric.clone(),
            buffers: config.buffers.sizes().packets,
            pools,
            fabrics,
            pods: pods::Pods::new(config.instance.as_str()),
            machines: Machines::new(config),
            mock: config.mock,
            agent: None,
            pkt0: None,
            kernel_macs: Vec::new(),
            fabric_device: None,
            underlays: Vec::new(),
            outside: Outside::new(),
            workers,
        }
    }

    /// Agents ask for a vhost-user socket also where a pod has a network device (control.md 8).
    fn open_guest(&mut self, vif: &Vif) -> Result<Opened, OpenError> {
        let name = &vif.details.name;
        if vif.details.transport == TRANSPORT_PMD && netdev::index(name).is_err() {
            return self.machines.open(vif, &self.directory);
        }
        guest::open(vif.id, name, &mut self.pods)
    }

    /// The interfaces of virtual machines, and the flags that follow from what they have negotiated.
    pub(crate) fn negotiated(&self) -> impl Iterator<Item = (VifId, VifFlags)> + '_ {
        self.machines.negotiated()
    }

    /// Whether the agent has added its interface and is no longer there.
    pub(crate) fn is_agent_lost(&mut self) -> bool {
        if let Some(pkt0) = &self.pkt0 {
            pkt0.let_go();
        }
        self.agent.as_mut().is_some_and(AgentWatch::is_lost)
    }

    fn open_agent(&mut self, vif: VifId) -> Result<Opened, OpenError> {
        let socket = match &self.pkt0 {
            Some(socket) => socket,
            None => self.pkt0.insert(Pkt0Socket::bind(&self.directory)?),
        };
        let port = socket.port()?;
        self.agent = Some(AgentWatch::new(vif, &self.directory));
        Ok(single(Queue::new(Box::new(port))))
    }
}

impl PortFactory for Factory {
    fn open(&mut self, vif: &Vif) -> Result<Opened, AttachError> {
        let opened = match vif.kind {
            VifKind::Stats | VifKind::Vlan => return Err(AttachError::Unsupported),
            VifKind::VirtualVlan => Ok(Opened::default()),
            VifKind::Monitoring => monitor::open(vif),
            _ if self.mock => self.open_mock(vif),
            VifKind::Physical => self.open_fabric(vif),
            VifKind::Host => self.open_vhost0(vif),
            VifKind::Agent => self.open_agent(vif.id),
            VifKind::Gateway | VifKind::XenLinkLocal => self.open_tap(vif),
            VifKind::Virtual => self.open_guest(vif),
        };
        let opened = opened.map_err(|error| {
            tracing::error!(vif = %vif.id, name = vif.details.name, %error, "no port");
            AttachError::from(error)
        })?;
        for queue in &opened.queues {
            let (kind, detail) = (queue.port.kind(), &queue.detail);
            tracing::info!(vif = %vif.id, name = vif.details.name, %kind, detail, "port opened");
        }
        Ok(opened)
    }

    fn probe(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        self.look_at(vif)
    }

    fn has_lost_device(&self, vif: VifId) -> bool {
        self.pods.has_lost(vif)
    }

    fn renumbered(&mut self, moves: &[(VifId, VifId)]) {
        let of = |vif: VifId| moves.iter().find(|(old, _)| *old == vif).map_or(vif, |(_, new)| *new);
        self.kernel_macs.iter_mut().for_each(|(vif, ..)| *vif = of(*vif));
        self.fabrics.renumber(of);
        self.pods.renumber(of);
        self.machines.renumber(of);
        self.underlays.iter_mut().for_each(|underlay| underlay.vif = of(underlay.vif));
        if let Some(agent) = &mut self.agent {
            agent.renumber(of);
        }
        for (old, new) in moves {
            tracing::info!(%old, %new, "an interface keeps its port under another number");
        }
    }

    fn device_totals(&self, vif: VifId) -> DeviceTotals {
        self.underlays
            .iter()
            .find(|underlay| underlay.vif == vif)
            .map_or_else(DeviceTotals::default, Underlay::totals)
    }

    fn changed(&mut self, vif: &Vif) {
        if vif.kind == VifKind::Host && !self.mock {
            self.set_host(vif);
        }
    }

    fn closed(&mut self, vif: VifId) {
        self.kernel_macs.retain(|(of, ..)| *of != vif);
        self.fabrics.remove(vif);
        self.underlays.retain(|underlay| underlay.vif != vif);
        self.outside.stale = true;
        self.pods.park(vif);
        self.machines.closed(vif);
        self.agent.take_if(|agent| agent.is_of(vif));
        tracing::info!(%vif, "port closed");
    }
}

/// One queue, and nothing known of its MTU.
fn single(queue: Queue) -> Opened {
    Opened { queues: vec![queue], ..Opened::default() }
}
