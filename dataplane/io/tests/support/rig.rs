//! One port of each kind, with something at its other side.

use std::any::Any;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use tempfile::TempDir;
use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_io::afxdp::{self, AfXdpConfig, Rung, XdpHook, XskBackend};
use vr_io::{
    MemoryPort, PacketConfig, PacketPort, PcapPort, Pkt0Port, Pkt0Socket, Port, TapConfig, TapPort,
    VhostUser, VhostUserConfig, VhostUserPort, VhostUserRole,
};

use super::bpf::{Hook, Redirect};
use super::front_end::{CSUM, FrontEnd, GUEST_CSUM, GUEST_TSO, HOST_TSO, MRG_RXBUF, Manners};
use super::raw::RawPeer;
use super::wire;

/// The other side of a port.
pub trait Peer: Send {
    /// Sends one frame to the port; may block.
    fn send(&mut self, frame: &[u8]);

    /// The next frame from the port that is one of ours.
    fn receive(&mut self, wait: Duration) -> Option<Vec<u8>>;
}

/// Every way to have a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Pcap,
    Packet,
    Tap,
    Pkt0,
    VhostUser,
    Xdp(XskBackend, Hook),
}

/// All kinds, or all that were built in.
pub fn kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind::Memory, Kind::Pcap, Kind::Packet, Kind::Tap, Kind::Pkt0, Kind::VhostUser];
    kinds.extend([Hook::Native, Hook::Generic].map(|hook| Kind::Xdp(XskBackend::Ring, hook)));
    if cfg!(feature = "xsk-rs") {
        kinds.extend([Hook::Native, Hook::Generic].map(|hook| Kind::Xdp(XskBackend::XskRs, hook)));
    }
    kinds
}

pub struct Rig {
    pub port: Box<dyn Port>,
    pub pool: FramePool,
    pub peer: Box<dyn Peer>,
    /// What has to live as long as the port.
    _keep: Vec<Box<dyn Any>>,
}

/// Packet buffers of the port's pool.
pub const PACKETS: u32 = 4096;
const SUPERS: u32 = 80;

/// Two pools over one arena.
fn pools() -> [FramePool; 2] {
    let sizes = PoolSizes { packets: PACKETS, supers: SUPERS };
    let pools = PoolSet::new(2, sizes).unwrap().1;
    pools.try_into().ok().unwrap()
}

impl Rig {
    /// A port of this kind in the network namespace of the thread. `coming` is what the peer will send: a file
    /// has to be there before.
    pub fn new(kind: Kind, coming: &[Vec<u8>]) -> Self {
        let [pool, other] = pools();
        let mut keep: Vec<Box<dyn Any>> = Vec::new();
        let (port, peer): (Box<dyn Port>, Box<dyn Peer>) = match kind {
            Kind::Memory => {
                let (port, end) = MemoryPort::pair(256);
                (Box::new(port), Box::new(MemoryPeer { end: Some(end), pool: other }))
            }
            Kind::Pcap => {
                let (port, peer) = files(coming);
                (Box::new(port), Box::new(peer))
            }
            Kind::Packet => {
                wire("vrx-a", "vrx-b", 1, 1500);
                let port = PacketPort::open(&PacketConfig::new("vrx-a")).unwrap().remove(0);
                (Box::new(port), Box::new(RawPeer::on("vrx-b")))
            }
            Kind::Tap => {
                let port = TapPort::open(&TapConfig::new("vrx-tap")).unwrap().remove(0);
                vr_io::netdev::set_ipv6_autoconfiguration("vrx-tap", false).unwrap();
                (Box::new(port), Box::new(RawPeer::on("vrx-tap")))
            }
            Kind::Pkt0 => {
                let (port, peer) = sockets();
                (Box::new(port), Box::new(peer))
            }
            Kind::VhostUser => {
                let (port, peer) = machine(&mut keep);
                (Box::new(port), Box::new(peer))
            }
            Kind::Xdp(backend, hook) => {
                wire("vrx-a", "vrx-b", 1, 1500);
                let (port, redirect) = xdp("vrx-a", 0, backend, hook, &pool);
                keep.push(Box::new(redirect));
                (port, Box::new(RawPeer::on("vrx-b")))
            }
        };
        Self { port, pool, peer, _keep: keep }
    }

    /// Receives until `count` frames of ours are there or nothing comes for a while.
    pub fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        receive(&mut *self.port, &mut self.pool, count)
    }

    /// Whether nothing of ours is there. The first call gives the kernel buffers to receive into.
    pub fn receive_nothing(&mut self) -> bool {
        receive_now(&mut *self.port, &mut self.pool).is_empty()
    }

    /// Transmits frames, in batches as large as they may be.
    pub fn transmit(&mut self, frames: &[Vec<u8>]) {
        transmit(&mut *self.port, &mut self.pool, frames);
    }

    /// Closes the port, checks that no buffer is missing, and returns the peer.
    pub fn close(mut self) -> Box<dyn Peer> {
        self.port.close(&mut self.pool);
        assert_eq!(self.pool.available(), PACKETS as usize, "buffers are missing");
        let supers: Vec<_> = std::iter::from_fn(|| self.pool.super_frame()).collect();
        assert_eq!(supers.len(), SUPERS as usize, "super-frames are missing");
        for frame in supers {
            self.pool.free(frame);
        }
        self.peer
    }
}

/// An `AF_XDP` port that a program redirects to.
pub fn xdp(
    device: &str,
    queue: u32,
    backend: XskBackend,
    hook: Hook,
    pool: &FramePool,
) -> (Box<dyn afxdp::XdpPort>, Redirect) {
    let redirect = Redirect::on(device, hook);
    let mut config = AfXdpConfig { backend, ..AfXdpConfig::new(device, queue) };
    if hook == Hook::Generic {
        config.hook = XdpHook::Generic { reason: "the test wants it".to_owned() };
    }
    let port = afxdp::open(&config, pool.arena()).unwrap();
    let expected = if hook == Hook::Native { Rung::NativeCopy } else { Rung::Generic };
    assert_eq!(port.report().rung, expected, "{}", port.report());
    redirect.insert(queue, port.socket());
    (port, redirect)
}

/// Receives until `count` frames of ours are there or nothing comes for a while.
pub fn receive(port: &mut dyn Port, pool: &mut FramePool, count: usize) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    let mut last = Instant::now();
    while got.len() < count && last.elapsed() < Duration::from_secs(3) {
        let now = receive_now(port, pool);
        port.flush(pool);
        if now.is_empty() {
            std::thread::sleep(Duration::from_micros(100));
        } else {
            last = Instant::now();
        }
        got.extend(now);
    }
    got
}

/// Receives once; returns the frames that are ours.
pub fn receive_now(port: &mut dyn Port, pool: &mut FramePool) -> Vec<Vec<u8>> {
    let mut batch = Batch::new();
    port.receive(pool, &mut batch);
    let mut got = Vec::new();
    for packet in batch.drain() {
        if super::frames::is_ours(packet.frame.bytes()) {
            got.push(packet.frame.bytes().to_vec());
        }
        pool.free(packet.frame);
    }
    got
}

/// Transmits frames, in batches as large as they may be.
pub fn transmit(port: &mut dyn Port, pool: &mut FramePool, frames: &[Vec<u8>]) {
    let mut batch = Batch::new();
    for frames in frames.chunks(vr_frame::BATCH) {
        for frame in frames {
            batch.push(Packet::plain(pool.copy_of(frame).unwrap())).unwrap();
        }
        port.transmit(pool, &mut batch);
        assert!(batch.is_empty(), "a port takes all there is");
        let end = Instant::now() + Duration::from_secs(3);
        while port.flush(pool) && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

struct MemoryPeer {
    end: Option<MemoryPort>,
    pool: FramePool,
}

impl Peer for MemoryPeer {
    fn send(&mut self, frame: &[u8]) {
        let mut packet = Packet::plain(self.pool.copy_of(frame).unwrap());
        while let Err(back) = self.end.as_mut().unwrap().send(packet) {
            packet = back;
            std::thread::yield_now();
        }
    }

    fn receive(&mut self, _: Duration) -> Option<Vec<u8>> {
        let packet = self.end.as_mut().unwrap().take()?;
        let bytes = packet.frame.bytes().to_vec();
        self.pool.free(packet.frame);
        Some(bytes)
    }
}

impl Drop for MemoryPeer {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            Box::new(end).close(&mut self.pool);
        }
    }
}

struct FilePeer {
    coming: Vec<Vec<u8>>,
    output: PathBuf,
    read: usize,
    _directory: TempDir,
}

fn files(coming: &[Vec<u8>]) -> (PcapPort, FilePeer) {
    let directory = TempDir::with_prefix("vrx-io-").unwrap();
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    let header = PcapHeader { snaplen: 1 << 18, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(fs::File::create(&input).unwrap(), header).unwrap();
    for frame in coming {
        writer.write_packet(&PcapPacket::new(Duration::ZERO, frame.len() as u32, frame)).unwrap();
    }
    drop(writer);
    let port = PcapPort::open(Some(&input), Some(&output)).unwrap();
    let coming = coming.iter().rev().cloned().collect();
    (port, FilePeer { coming, output, read: 0, _directory: directory })
}

impl Peer for FilePeer {
    /// It is in the file already.
    fn send(&mut self, frame: &[u8]) {
        assert_eq!(self.coming.pop().unwrap(), frame);
    }

    fn receive(&mut self, _: Duration) -> Option<Vec<u8>> {
        let mut reader = PcapReader::new(fs::File::open(&self.output).unwrap()).unwrap();
        for _ in 0..self.read {
            reader.next_packet()?.unwrap();
        }
        self.read += 1;
        Some(reader.next_packet()?.unwrap().data.into_owned())
    }
}

/// A guest whose buffers hold more than a batch of anything.
struct MachinePeer {
    front_end: FrontEnd,
    received: VecDeque<Vec<u8>>,
}

fn machine(keep: &mut Vec<Box<dyn Any>>) -> (VhostUserPort, MachinePeer) {
    let directory = TempDir::with_prefix("vrx-io-").unwrap();
    let path = directory.path().join("uvh_vif_vm");
    let mut thread = VhostUser::start().unwrap();
    let config = VhostUserConfig::new(path.clone(), VhostUserRole::Client);
    let port = thread.open(&config).unwrap().remove(0);
    let features = CSUM | GUEST_CSUM | GUEST_TSO | HOST_TSO | MRG_RXBUF;
    let manners =
        Manners { features: Some(features), ring: 1024, buffers: (900, 2048), ..Manners::default() };
    let front_end = FrontEnd::listen(&path, &manners);
    keep.push(Box::new((thread, directory)));
    (port, MachinePeer { front_end, received: VecDeque::new() })
}

impl Peer for MachinePeer {
    fn send(&mut self, frame: &[u8]) {
        self.front_end.send(0, &[0; 10], frame);
    }

    fn receive(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + wait;
        while self.received.is_empty() && Instant::now() <= end {
            let packets = self.front_end.receive(0);
            self.received.extend(packets.into_iter().map(|packet| packet[12..].to_vec()));
        }
        self.received.pop_front()
    }
}

struct AgentPeer {
    socket: UnixDatagram,
    _ours: Pkt0Socket,
    _directory: TempDir,
}

fn sockets() -> (Pkt0Port, AgentPeer) {
    // Per network namespace, and 10 without this.
    fs::write("/proc/sys/net/unix/max_dgram_qlen", "1024").unwrap();
    let directory = TempDir::with_prefix("vrx-io-").unwrap();
    let ours = Pkt0Socket::bind(directory.path()).unwrap();
    let port = ours.port().unwrap();
    let socket = UnixDatagram::bind(directory.path().join(Pkt0Port::AGENTS)).unwrap();
    socket.connect(directory.path().join(Pkt0Port::OURS)).unwrap();
    (port, AgentPeer { socket, _ours: ours, _directory: directory })
}

impl Peer for AgentPeer {
    fn send(&mut self, frame: &[u8]) {
        assert_eq!(self.socket.send(frame).unwrap(), frame.len());
    }

    fn receive(&mut self, wait: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut bytes = vec![0; 128 * 1024];
        let len = self.socket.recv(&mut bytes).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }
}
