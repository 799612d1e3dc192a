//! The node under test, and the picture of the cluster that its agent has.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_sim::topology::{AGENT_VIF, FABRIC_VIF, HOST_VIF, Network, Node, Pod, Topology, pod_vif};
use anyhow::Context;
use vr_frame::{PoolSet, PoolSizes};
use vr_io::{MemoryPort, Pkt0Socket};
use vr_runtime::{Monitor, Workers, WorkersConfig};
use vr_tables::control::{Limits, Tables, TablesConfig};
use vr_tables::geometry::Geometry;
use vr_tables::stats::Cores;
use vr_types::{DropReason, VifId};

use super::pods::Pods;
use crate::serving::{Prepared, Serving};

/// Frames of the worker and of the pods each.
const POOL: PoolSizes = PoolSizes { packets: 16_384, supers: 8 };
/// Frames that a wire holds.
const WIRE: usize = 8192;

pub(super) struct UnderTest {
    pub(super) topology: Arc<Topology>,
    pub(super) monitor: Monitor,
    serving: Serving,
    /// The agent's, and nothing comes from the host.
    _held: (Pkt0Socket, MemoryPort),
}

impl UnderTest {
    /// Starts the first node of the cluster with room for that many flows.
    pub(super) fn start(directory: &Path, flows: u32) -> anyhow::Result<(Self, Pods)> {
        let flows = Geometry::with_default_overflow((2 * flows).next_power_of_two().max(4096));
        let limits = Limits { flows, ..Limits::default() };
        limits.check()?;
        let config =
            TablesConfig { limits, directory: Some(directory.to_owned()), ..TablesConfig::default() };
        let tables = Tables::new(config)?;
        let (_, mut pools) = PoolSet::new(2, POOL)?;
        let pool = pools.pop().context("a second pool")?;
        let mut workers = Workers::start(&tables, pools, &WorkersConfig::default(), Prepared::default())?;
        let [fabric, host, guest] = [FABRIC_VIF, HOST_VIF, pod_vif(0)].map(|vif| {
            let (port, end) = MemoryPort::pair(WIRE);
            workers.factory().insert(VifId(vif as u16), port);
            end
        });
        let socket = Pkt0Socket::bind(directory)?;
        workers.factory().insert(VifId(AGENT_VIF as u16), socket.port()?);
        let monitor = workers.monitor();
        let topology = Arc::new(topology());
        let pods = Pods::new(&topology, guest, fabric, pool);
        let serving = Serving::start(directory, tables, workers)?;
        Ok((Self { topology, monitor, serving, _held: (socket, host) }, pods))
    }

    /// How long the control thread has had a processor.
    pub(super) fn control_time(&self) -> anyhow::Result<Duration> {
        self.serving.processor_time()
    }

    /// System calls that the control thread has made to serve its clients.
    pub(super) fn control_calls(&self) -> u64 {
        self.serving.calls()
    }

    /// Ends it; what it has dropped.
    pub(super) fn stop(self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let drops = self.serving.stop()?.stats().drops(Cores::All);
        let named = DropReason::ALL.map(DropReason::name).into_iter().zip(drops);
        Ok(named.filter(|(_, count)| *count > 0).collect())
    }
}

/// Two nodes with a pod each, in one network.
fn topology() -> Topology {
    let network = Network {
        name: "net".to_owned(),
        vni: 5001,
        subnet: Ipv4Addr::new(10, 1, 0, 0),
        length: 24,
        router: Ipv4Addr::new(10, 1, 0, 1),
    };
    let node = |number: u8| Node {
        name: format!("node{number}"),
        device: "eth0".to_owned(),
        address: Ipv4Addr::new(172, 30, 0, number),
        mac: [2, 0, 0, 0, 1, number],
        pods: vec![Pod {
            name: format!("pod{number}"),
            port: format!("port{number}"),
            network: 0,
            address: Ipv4Addr::new(10, 1, 0, 10 + number),
            mac: [2, 0, 0, 1, 0, number],
        }],
        gateway: None,
    };
    Topology { networks: vec![network], nodes: vec![node(1), node(2)], ..Topology::default() }
}
