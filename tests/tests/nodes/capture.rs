//! Frames as they pass through a namespace.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use pcap_file::pcap::{PcapPacket, PcapWriter};
use vr_tests::netns::Namespace;

/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const OUTGOING: u8 = 4;
/// Time for the last frames to arrive.
const LAST: Duration = Duration::from_millis(200);

/// Records what devices of a namespace receive.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// Records from now on.
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::channel();
        let (namespace, stopped) = (namespace.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            namespace.enter().unwrap();
            record(&stopped, &ready)
        });
        started.recv().unwrap();
        Self { stop, thread }
    }

    /// The frames so far.
    pub(crate) fn finish(self) -> Vec<Vec<u8>> {
        std::thread::sleep(LAST);
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn record(stop: &AtomicBool, ready: &mpsc::Sender<()>) -> Vec<Vec<u8>> {
    let all = SockProtocol::EthAll;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, all).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50)).unwrap();
    ready.send(()).unwrap();
    let (mut frames, mut buffer) = (Vec::new(), vec![0; 65_536]);
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, Some(from))) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer)
            && from.pkttype() != OUTGOING
        {
            frames.push(buffer[..length].to_vec());
        }
    }
    frames
}

/// Writes frames as a pcap file.
pub(crate) fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for (number, frame) in frames.iter().enumerate() {
        let time = Duration::from_millis(number as u64);
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame)).unwrap();
    }
}
