//! A node with running workers: guests in one network that reach each other by their MAC addresses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vr_frame::{FramePool, Packet, PoolSet, PoolSizes, leaked_frames};
use vr_io::{MemoryPort, Port};
use vr_runtime::{Monitor, Opened, Polling, PortFactory, Queue, Workers, WorkersConfig};
use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{
    AttachError, BridgeSpec, GivenMac, Limits, NexthopKind, NexthopSpec, Tables, TablesConfig, VifSpec,
};
use vr_tables::geometry::Geometry;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::stats::Cores;
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{Mac, NexthopId, VifId, VrfId};
use vr_wire::checksum;

/// Buffers of each worker and of the test.
pub(crate) const SIZES: PoolSizes = PoolSizes { packets: 4096, supers: 8 };
/// Frames that a wire of a guest holds.
pub(crate) const WIRE: usize = 2048;
/// How long anything may take on a slow day.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const AGENT: VifId = VifId(2);
const VRF: VrfId = VrfId(1);
const L2_RECEIVE: u32 = 3;

/// Ports made beforehand, and what became of them.
#[derive(Default)]
pub(crate) struct Prepared {
    ports: BTreeMap<VifId, Vec<Queue>>,
    pub(crate) closed: Vec<VifId>,
}

impl PortFactory for Prepared {
    fn open(&mut self, vif: &Vif) -> Result<Opened, AttachError> {
        let queues = self.ports.remove(&vif.id);
        let queues = queues.ok_or_else(|| AttachError::NoDevice(vif.details.name.clone()))?;
        Ok(Opened { queues, ..Opened::default() })
    }

    fn closed(&mut self, vif: VifId) {
        self.closed.push(vif);
    }
}

pub(crate) struct Lab {
    pub(crate) tables: Tables,
    pub(crate) workers: Workers<Prepared>,
    /// The test's own buffers.
    pub(crate) pool: FramePool,
    leaked: u64,
}

/// The vif of a guest by its number.
pub(crate) const fn guest(number: u8) -> VifId {
    VifId(10 + number as u16)
}

const fn mac(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, number])
}

impl Lab {
    pub(crate) fn new(workers: u8, polling: Polling) -> Self {
        let leaked = leaked_frames();
        let limits = Limits {
            interfaces: 64,
            nexthops: 128,
            labels: 128,
            vrfs: 4,
            flows: Geometry { entries: 1024, overflow: 64 },
            bridge: Geometry { entries: 64, overflow: 16 },
            ..Limits::default()
        };
        let mut tables = Tables::new(TablesConfig { workers, limits, ..TablesConfig::default() }).unwrap();
        let (_, mut pools) = PoolSet::new(workers + 1, SIZES).unwrap();
        let pool = pools.pop().unwrap();
        let config = WorkersConfig { cpus: Vec::new(), polling };
        let workers = Workers::start(&tables, pools, &config, Prepared::default()).unwrap();
        let flags = NexthopFlags::VALID;
        let (kind, family) = (NexthopKind::L2Receive, NexthopFamily::Inet);
        tables
            .nexthop_add(&NexthopSpec::new(NexthopId(L2_RECEIVE), kind, family, flags, VrfId::FABRIC))
            .unwrap();
        tables.bridge_add(&bridge(Mac::VIRTUAL_ROUTER, L2_RECEIVE)).unwrap();
        tables.publish();
        Self { tables, workers, pool, leaked }
    }

    pub(crate) fn monitor(&self) -> Monitor {
        self.workers.monitor()
    }

    /// Adds an interface over these queues. Every new interface begins with the next worker.
    pub(crate) fn add(&mut self, spec: &VifSpec, queues: Vec<Queue>) {
        self.workers.factory().ports.insert(spec.id, queues);
        self.tables.vif_add(spec, &mut self.workers).unwrap();
        self.tables.publish();
    }

    /// Adds the agent's interface.
    pub(crate) fn add_agent(&mut self, port: impl Port + 'static) {
        let spec = VifSpec { vrf: Some(VrfId::NONE), ..VifSpec::new(AGENT, VifKind::Agent, "pkt0") };
        self.add(&spec, vec![Queue::new(Box::new(port))]);
    }

    /// Adds a guest over these queues, and what leads to it.
    pub(crate) fn add_guest(&mut self, number: u8, flags: VifFlags, queues: Vec<Queue>) {
        let vif = guest(number);
        let [routed, bridged] = [20, 21].map(|first| first + 2 * u32::from(number));
        let spec = VifSpec {
            vrf: Some(VRF),
            mac: GivenMac::Mac(Mac::VIRTUAL_ROUTER),
            nexthop: NexthopId(routed),
            flags: flags | VifFlags::L2 | VifFlags::L3,
            ..VifSpec::new(vif, VifKind::Virtual, &format!("guest{number}"))
        };
        self.add(&spec, queues);
        self.lead(number, vif);
        self.tables.bridge_add(&bridge(mac(number), bridged)).unwrap();
        self.tables.publish();
    }

    /// Lets the nexthops of a guest lead to this interface, without publishing that.
    pub(crate) fn lead(&mut self, number: u8, vif: VifId) {
        let [routed, bridged] = [20, 21].map(|first| first + 2 * u32::from(number));
        for (id, family) in [(routed, NexthopFamily::Inet), (bridged, NexthopFamily::Bridge)] {
            let to_guest =
                NexthopSpec::new(NexthopId(id), NexthopKind::Encap, family, NexthopFlags::VALID, VRF);
            let rewrite =
                mac(number).0.into_iter().chain(Mac::VIRTUAL_ROUTER.0).chain([8, 0]).collect::<Vec<_>>();
            let spec = NexthopSpec { interfaces: vec![vif], rewrite, ..to_guest };
            self.tables.nexthop_add(&spec).unwrap();
        }
    }

    /// Adds a guest over so many memory ports, whose other ends these are.
    pub(crate) fn add_wired(&mut self, number: u8, flags: VifFlags, queues: usize) -> Vec<MemoryPort> {
        let (ports, ends): (Vec<_>, Vec<_>) = (0..queues).map(|_| MemoryPort::pair(WIRE)).unzip();
        let queues = ports.into_iter().map(|port| Queue::new(Box::new(port))).collect();
        self.add_guest(number, flags, queues);
        ends
    }

    /// Adds a guest over one memory port.
    pub(crate) fn add_plain(&mut self, number: u8) -> MemoryPort {
        self.add_wired(number, VifFlags::empty(), 1).remove(0)
    }

    pub(crate) fn remove(&mut self, vif: VifId) {
        self.tables.vif_delete(vif, "", &mut self.workers).unwrap();
        self.tables.publish();
    }

    /// Sends UDP datagrams from the port's guest to another, one for each of these source ports, and waits for
    /// buffers where there are none.
    pub(crate) fn send(&mut self, end: &mut MemoryPort, from: u8, to: u8, ports: std::ops::Range<u16>) {
        for port in ports {
            let bytes = datagram(from, to, port);
            let frame = patiently("a buffer", || self.pool.copy_of(&bytes));
            let mut packet = Some(Packet::plain(frame));
            patiently("room on the wire", || {
                packet = end.send(packet.take()?).err();
                packet.is_none().then_some(())
            });
        }
    }

    /// Takes a frame from the other end of a port, and says which source port it had.
    pub(crate) fn take(&mut self, end: &mut MemoryPort) -> Option<u16> {
        let packet = end.take()?;
        let port = source_port(packet.frame.bytes());
        self.pool.free(packet.frame);
        Some(port)
    }

    /// Takes so many frames.
    pub(crate) fn take_many(&mut self, end: &mut MemoryPort, count: usize) -> Vec<u16> {
        (0..count).map(|_| patiently("a frame", || self.take(end))).collect()
    }

    /// All drops.
    pub(crate) fn drops(&self) -> u64 {
        self.tables.stats().drops(Cores::All).iter().sum()
    }

    /// Packets that came in by an interface and that went out.
    pub(crate) fn packets(&self, vif: VifId) -> (u64, u64) {
        let totals = self.tables.stats().vif(vif, Cores::All);
        (totals.in_packets, totals.out_packets)
    }

    /// Ends the workers; every buffer of the test has to be back, and none may have been lost.
    pub(crate) fn close(self, ends: impl IntoIterator<Item = MemoryPort>) {
        let Self { workers, mut pool, leaked, .. } = self;
        drop(workers);
        for end in ends {
            Box::new(end).close(&mut pool);
        }
        pool.collect();
        assert_eq!(pool.available(), SIZES.packets as usize, "buffers of the test are missing");
        assert_eq!(leaked_frames(), leaked, "frames were dropped without being given back");
    }
}

fn bridge(mac: Mac, nexthop: u32) -> BridgeSpec {
    let (nexthop, flags) = (NexthopId(nexthop), BridgeFlags::empty());
    BridgeSpec { vrf: VRF, mac: GivenMac::Mac(mac), nexthop, label: 0, flags }
}

/// A UDP datagram between guests.
pub(crate) fn datagram(from: u8, to: u8, port: u16) -> Vec<u8> {
    let mut bytes = [mac(to).0, mac(from).0].concat();
    bytes.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    let sum = checksum::of(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    // To port 53, 12 bytes, no checksum, 4 bytes of content.
    bytes.extend([0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    bytes
}

/// The source port of a datagram as [`datagram`] makes it.
pub(crate) fn source_port(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

/// Waits until there is something.
pub(crate) fn patiently<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_micros(100));
    }
}
