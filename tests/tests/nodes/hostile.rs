//! Truncated, overlong, changed and random frames from a pod, from the underlay and from the agent's socket. The
//! daemons live, count what they drop, and go on forwarding.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use agent_sim::statistics;
use agent_sim::topology::{AGENT_VIF, FABRIC_VIF, Reach, Tunnel, pod_vif};
use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_io::{PacketConfig, PacketPort, Port};
use vr_tests::netns::Namespace;

use crate::capture::Capture;
use crate::pair::{PATIENCE, Pair};

const ETHERNET: usize = 14;
/// Datagrams to pkt0.
const DATAGRAMS: usize = 3000;
/// The longest frame that the underlay carries.
const LONGEST: usize = ETHERNET + 1500;

/// Numbers without a pattern (xorshift64, Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Sends frames as they are by a device of a namespace.
struct Injector {
    port: PacketPort,
    pool: FramePool,
}

impl Injector {
    fn new(namespace: &Namespace, device: &str) -> Self {
        let config = PacketConfig::new(device);
        let port = namespace.run(|| PacketPort::open(&config)).unwrap().unwrap().remove(0);
        let sizes = PoolSizes { packets: 1024, supers: 4 };
        Self { port, pool: PoolSet::new(1, sizes).unwrap().1.remove(0) }
    }

    fn send(&mut self, frame: &[u8]) {
        let mut batch = Batch::new();
        assert!(batch.push(Packet::plain(self.pool.copy_of(frame).unwrap())).is_ok());
        self.port.transmit(&mut self.pool, &mut batch);
        while self.port.flush(&mut self.pool) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn send_all(&mut self, frames: &[Vec<u8>]) {
        for (number, frame) in frames.iter().enumerate() {
            self.send(frame);
            if number % 32 == 31 {
                // Queues of devices would drop what comes all at once.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let sent = self.port.counters().figures().tx_packets;
        assert!(sent as usize >= frames.len() * 9 / 10, "{sent} of {} frames left", frames.len());
    }

    fn close(mut self) {
        Box::new(self.port).close(&mut self.pool);
    }
}

/// What can be made of a sound frame: every truncation, other lengths in its headers, and changed bytes. The first
/// `kept` bytes stay, so that the frame arrives.
fn variants(frame: &[u8], kept: usize, noise: &mut Noise) -> Vec<Vec<u8>> {
    let mut variants: Vec<Vec<u8>> =
        (ETHERNET..frame.len()).step_by(3).map(|length| frame[..length].to_vec()).collect();
    // Lengths beyond the frame: every pair of bytes of the headers, as large as can be.
    for at in (kept..frame.len().saturating_sub(1).min(110)).step_by(2) {
        let mut longer = frame.to_vec();
        longer[at..at + 2].fill(0xFF);
        variants.push(longer);
    }
    for _ in 0..100 {
        let mut changed = frame.to_vec();
        for _ in 0..=noise.below(4) {
            let at = kept + noise.below(frame.len() - kept);
            changed[at] ^= 1 << noise.below(8);
        }
        variants.push(changed);
    }
    let mut padded = frame.to_vec();
    padded.resize(LONGEST, 0xA5);
    variants.push(padded);
    variants
}

/// What a node has counted: packets of one of its interfaces, and drops.
#[derive(Debug)]
struct Counted {
    node: usize,
    vif: i32,
    packets: i64,
    drops: BTreeMap<String, i64>,
}

impl Counted {
    fn read(pair: &mut Pair, node: usize, vif: i32) -> Self {
        let control = pair.agents[node].control();
        let packets = statistics::port(control, vif).unwrap().in_packets;
        Self { node, vif, packets, drops: statistics::drops(control).unwrap() }
    }
}

/// Of so many frames most have come in and many were dropped, for several reasons; pods reach each other as before.
fn unharmed(pair: &mut Pair, before: &Counted, frames: usize) {
    let start = Instant::now();
    loop {
        let after = Counted::read(pair, before.node, before.vif);
        let came = after.packets - before.packets;
        let dropped = after.drops.values().sum::<i64>() - before.drops.values().sum::<i64>();
        if came >= frames as i64 * 7 / 10 && dropped >= frames as i64 / 10 && after.drops.len() > 2 {
            break println!("{came} of {frames} came in, {dropped} dropped: {:?}", after.drops);
        }
        assert!(start.elapsed() < PATIENCE, "of {frames} frames {came} came in: {after:?} after {before:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    pair.check();
    for pod in &pair.pods {
        // Who lies about its MAC address is believed by other pods' kernels.
        pod.ip(&["neigh", "flush", "dev", "eth0"]).unwrap();
    }
    pair.wait_connected();
    assert!(pair.pings(50), "pings after the flood");
    pair.check();
}

/// Frames of a conversation between the pods, one of each length, seen at a place.
fn examples(pair: &mut Pair, place: &Namespace) -> Vec<Vec<u8>> {
    let capture = Capture::start(place);
    for pod in &pair.pods {
        pod.ip(&["neigh", "flush", "dev", "eth0"]).unwrap();
    }
    pair.wait_connected();
    let mut frames = capture.finish();
    frames.sort_by_key(Vec::len);
    frames.dedup_by_key(|frame| frame.len());
    assert!(!frames.is_empty());
    frames
}

#[test]
fn frames_of_a_pod() {
    let mut pair = Pair::new("podnoise");
    pair.use_way(Tunnel::MplsOverUdp, Reach::Bridged);
    pair.wait_connected();
    // What the second pod receives, with the addresses the other way round, is what it sends.
    let place = pair.pods[1].clone();
    let mut frames = Vec::new();
    let mut noise = Noise(0x0bad_cafe_1234_5678);
    for frame in examples(&mut pair, &place) {
        let mut sound = frame;
        let (destination, source) = sound[..12].split_at_mut(6);
        destination.swap_with_slice(source);
        if sound[12..14] == [8, 0] {
            let (source, destination) = sound[26..34].split_at_mut(4);
            source.swap_with_slice(destination);
        }
        frames.extend(variants(&sound, 12, &mut noise));
    }
    let (own, router) = ([2, 0, 0, 1, 0, 2], [0, 0, 0x5e, 0, 1, 0]);
    let types = [0x0800_u16, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x8847, 0x8035, 0x0026];
    for round in 0..800 {
        let destination = if round % 5 == 0 { [0xFF; 6] } else { router };
        let mut frame = [destination, own].concat();
        frame.extend(types[round % types.len()].to_be_bytes());
        // Random bytes are hardly ever IP, so the first one is made right.
        frame.extend([[0x45, 0x46, 0x4F, 0x60][round % 4]]);
        let length = noise.below(1400);
        frame.extend(noise.bytes(length));
        frames.push(frame);
    }
    let before = Counted::read(&mut pair, 1, pod_vif(0));
    let mut injector = Injector::new(&pair.pods[1], "eth0");
    injector.send_all(&frames);
    injector.close();
    unharmed(&mut pair, &before, frames.len());
}

/// A tunnel packet of the first node to the second with any contents.
fn tunnelled(pair: &Pair, kind: usize, payload: &[u8]) -> Vec<u8> {
    let [from, to] = [0, 1].map(|node| &pair.topology.nodes[node]);
    let mut frame = [to.mac, from.mac].concat();
    let mut shim = Vec::new();
    let port = [4789_u16, 6635, 51_234][kind.min(2)];
    let protocol = if kind < 3 {
        shim.extend(49_152_u16.to_be_bytes());
        shim.extend(port.to_be_bytes());
        shim.extend((8 + payload.len() as u16).to_be_bytes());
        shim.extend([0, 0]);
        17
    } else {
        47
    };
    let total = (20 + shim.len() + payload.len()) as u16;
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend(from.address.octets());
    frame.extend(to.address.octets());
    let sum: u32 =
        frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend(shim);
    frame.extend(payload);
    frame
}

#[test]
fn frames_of_the_underlay() {
    let mut pair = Pair::new("netnoise");
    let mut noise = Noise(0xdead_beef_0bad_f00d);
    let mut frames = Vec::new();
    let ways = [
        (Tunnel::Vxlan, Reach::Bridged),
        (Tunnel::MplsOverUdp, Reach::Routed),
        (Tunnel::MplsOverGre, Reach::Routed),
        (Tunnel::MplsOverGre, Reach::Bridged),
    ];
    let segment = pair.segment.clone();
    for (tunnel, reach) in ways {
        pair.use_way(tunnel, reach);
        let second = pair.topology.nodes[1].mac;
        for frame in examples(&mut pair, &segment).iter().filter(|frame| frame[..6] == second) {
            frames.extend(variants(frame, 12, &mut noise));
        }
    }
    for round in 0..1200 {
        // Labels and VNIs that lead somewhere, in front of random bytes, and random ones.
        let start: &[u8] = match round % 12 {
            0 => &[8, 0, 0, 0, 0, 0x13, 0x89, 0],
            1 | 2 => &[0, 1, 0x01, 64],
            3 => &[0, 0, 0x88, 0x47, 0, 1, 0x01, 64],
            4 | 5 => &[0, 1, 0x11, 64],
            7 => &[0, 0, 0x88, 0x47, 0, 1, 0x11, 64],
            8 => &[0xFF; 8],
            _ => &[],
        };
        let length = noise.below(1300);
        let payload = [start, &noise.bytes(length)].concat();
        frames.push(tunnelled(&pair, round % 4, &payload));
    }
    let before = Counted::read(&mut pair, 1, FABRIC_VIF);
    let mut injector = Injector::new(&pair.segment, "segment");
    injector.send_all(&frames);
    injector.close();
    unharmed(&mut pair, &before, frames.len());
}

#[test]
fn datagrams_of_the_agent() {
    let mut pair = Pair::new("agentnoise");
    pair.wait_connected();
    let before = Counted::read(&mut pair, 0, AGENT_VIF);
    // The kernel takes datagrams of the agent that we are connected to, and of nobody else.
    let socket = pair.agents[0].pkt0().try_clone().unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let target = pair.sockets(0).join("dpdk_pkt0");
    let refused = UnixDatagram::unbound().unwrap().send_to(&[0; 60], &target).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let mut noise = Noise(0x5eed_5eed_5eed_5eed);
    for round in 0..DATAGRAMS {
        let length = if round < 200 { round } else { noise.below(9400) };
        let mut datagram = noise.bytes(length);
        if round % 2 == 0 && length > 44 {
            // Behind 14 bytes of Ethernet: a vif that there is, its VRF, and a command that there is.
            datagram[14..20].copy_from_slice(&[0, (round / 2 % 4) as u8, 0, 1, 0, (round / 8 % 5) as u8]);
        }
        socket.send(&datagram).unwrap();
    }
    unharmed(&mut pair, &before, DATAGRAMS);
}
