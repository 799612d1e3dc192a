//! The pod that opens flows, and the fabric behind which the other one is.

use std::ops::Range;
use std::time::{Duration, Instant};

use agent_sim::topology::Topology;
use anyhow::ensure;
use vr_frame::{FramePool, Packet};
use vr_io::MemoryPort;
use vr_types::Mac;

use crate::datagram::{datagram, set_ports};

/// How often packets are sent and taken.
const TICK: Duration = Duration::from_micros(200);
/// How long nothing may arrive before packets are lost.
const LOST: Duration = Duration::from_secs(7);
/// Ports that flows take as source, from the first one on.
const SOURCES: u32 = 60_000;
const FIRST_SOURCE: u32 = 1024;
const FIRST_DESTINATION: u32 = 6000;
/// Outer Ethernet, IPv4 and UDP header, and the label.
const OUTER: usize = 14 + 20 + 8 + 4;

pub(super) struct Pods {
    /// The first packet of a flow, but for its ports.
    packet: Vec<u8>,
    guest: MemoryPort,
    fabric: MemoryPort,
    pool: FramePool,
}

impl Pods {
    pub(super) fn new(topology: &Topology, guest: MemoryPort, fabric: MemoryPort, pool: FramePool) -> Self {
        let [here, there] = [0, 1].map(|node| &topology.nodes[node].pods[0]);
        let addresses = [here, there].map(|pod| pod.address.octets());
        let packet = datagram(Mac(there.mac), Mac(here.mac), addresses, [0; 2]);
        Self { packet, guest, fabric, pool }
    }

    /// Opens flows by their numbers, and goes on when the first packets of all have left the node, or no more of them
    /// will. So many wait at a time. Says how many have left.
    pub(super) fn open(&mut self, flows: Range<u32>, window: usize) -> anyhow::Result<u64> {
        let mut left = vec![false; flows.len()];
        let (mut sent, mut arrived) = (0, 0);
        let mut last = Instant::now();
        while arrived < flows.len() {
            while sent < flows.len() && sent < arrived + window {
                if !self.send(ports(flows.start + sent as u32)) {
                    break;
                }
                sent += 1;
            }
            std::thread::sleep(TICK);
            let before = arrived;
            while let Some(packet) = self.fabric.take() {
                let number = self.number_of(packet.frame.bytes());
                self.pool.free(packet.frame);
                let Some(number) = number else { continue };
                let place = number.checked_sub(flows.start).and_then(|place| left.get_mut(place as usize));
                ensure!(
                    place.is_some_and(|place| !std::mem::replace(place, true)),
                    "packet {number} was not expected"
                );
                arrived += 1;
            }
            self.pool.collect();
            if arrived > before {
                last = Instant::now();
            } else if last.elapsed() > LOST {
                break;
            }
        }
        Ok(arrived as u64)
    }

    fn send(&mut self, ports: [u16; 2]) -> bool {
        set_ports(&mut self.packet, ports);
        let Some(frame) = self.pool.copy_of(&self.packet) else { return false };
        match self.guest.send(Packet::plain(frame)) {
            Ok(()) => true,
            Err(packet) => {
                self.pool.free(packet.frame);
                false
            }
        }
    }

    /// The number of the flow of a packet in a tunnel; none for what the node sends by itself.
    fn number_of(&mut self, frame: &[u8]) -> Option<u32> {
        let inner = frame.get(OUTER..)?;
        let word = inner.get(34..38)?;
        let (source, destination) =
            (u16::from_be_bytes([word[0], word[1]]), u16::from_be_bytes([word[2], word[3]]));
        set_ports(&mut self.packet, [source, destination]);
        let source = u32::from(source).checked_sub(FIRST_SOURCE)?;
        let number = u32::from(destination).checked_sub(FIRST_DESTINATION)? * SOURCES + source;
        (inner == self.packet).then_some(number)
    }
}

fn ports(flow: u32) -> [u16; 2] {
    [FIRST_SOURCE + flow % SOURCES, FIRST_DESTINATION + flow / SOURCES].map(|port| port as u16)
}
