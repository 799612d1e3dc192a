//! An agent that answers many traps at a time, as agents do that have much to do (control.md 2.2 and 7.1).

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_sim::packet::{FiveTuple, Trap, parse};
use agent_sim::topology::{Reach, Topology, Tunnel, nexthop};
use agent_sim::{Control, program, startup};
use anyhow::{Context, ensure};
use nix::sys::socket::{MsgFlags, recv};
use sandesh::messages::FlowReq;
use sandesh::{Compat, encode};
use vr_io::Pkt0Port;

use crate::flow_request::{End, forwarding};

/// Pairs whose requests fit into one message of 4,096 bytes.
const PAIRS: usize = 7;
/// How often the thread looks whether it shall end.
const GLANCE: Duration = Duration::from_millis(100);
const LARGEST_TRAP: usize = 9216;
/// Flags of a request: active, and the reverse flow is named.
const LINKED: i16 = 0x1001;

/// Requests that are sent before the answer to the first of them is read, at the most: what the buffers of the socket
/// take with their answers.
const AHEAD: usize = 32;

/// Answers until it is stopped.
pub(super) struct BulkAgent {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl BulkAgent {
    /// Starts as an agent does, and sends all objects of the first node. It waits for the answer to each request, or sends
    /// as many `ahead` as there are traps for.
    pub(super) fn start(
        directory: &Path,
        topology: &Topology,
        patience: Duration,
        ahead: bool,
    ) -> anyhow::Result<Self> {
        let socket = UnixDatagram::bind(directory.join(Pkt0Port::AGENTS)).context("binding pkt0")?;
        socket.connect(directory.join(Pkt0Port::OURS)).context("connecting pkt0")?;
        socket.set_read_timeout(Some(GLANCE))?;
        let mut control = startup::start(directory, patience)?;
        control.apply(&program::node(topology, 0, Tunnel::MplsOverUdp, Reach::Bridged))?;
        let stop = Arc::<AtomicBool>::default();
        let answering =
            Answering { socket, control, ahead: if ahead { AHEAD } else { 1 }, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("agent".to_owned());
        Ok(Self { stop, thread: thread.spawn(move || answering.run())? })
    }

    /// Ends it; fails if an answer was not as it has to be.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Relaxed);
        self.thread.join().ok().context("the agent has failed")?
    }
}

struct Answering {
    socket: UnixDatagram,
    control: Control,
    /// Requests at a time.
    ahead: usize,
    stop: Arc<AtomicBool>,
}

impl Answering {
    fn run(mut self) -> anyhow::Result<()> {
        let mut datagram = vec![0; LARGEST_TRAP];
        while !self.stop.load(Relaxed) {
            let mut flags = MsgFlags::empty();
            let mut messages = Vec::new();
            while messages.len() < 2 * PAIRS * self.ahead
                && let Ok(length) = recv(self.socket.as_raw_fd(), &mut datagram, flags)
            {
                flags = MsgFlags::MSG_DONTWAIT;
                let trap = Trap::parse(&datagram[..length]).context("a datagram that is no trap")?;
                if trap.reason == Trap::FLOW_MISS {
                    messages.extend(requests(&trap)?);
                }
            }
            if !messages.is_empty() {
                let answers = self.control.ask_ahead(&messages.chunks(2 * PAIRS).collect::<Vec<_>>());
                let answers = answers.context("setting flows")?;
                let wrong = answers.iter().find(|answer| answer.code < 0);
                ensure!(wrong.is_none(), "setting flows: {wrong:?}");
            }
        }
        Ok(())
    }
}

/// The reverse flow, which names the entry of the trap, then this one.
fn requests(trap: &Trap<'_>) -> anyhow::Result<[Vec<u8>; 2]> {
    let FiveTuple { source, destination, protocol, source_port, destination_port, .. } =
        parse(trap.frame, false).context("a trap without a flow")?.tuple;
    let near: End = end(source, source_port);
    let far = end(destination, destination_port);
    let key = trap.key_nexthop as u32;
    let vrf = trap.vrf as u16;
    let reverse = FlowReq {
        fr_rindex: trap.flow,
        fr_flags: LINKED,
        fr_flow_vrf: vrf,
        fr_src_nh_index: nexthop::tunnel(1, Tunnel::MplsOverUdp) as u32,
        ..forwarding(protocol, far, near, key)
    };
    let forward = FlowReq {
        fr_index: trap.flow,
        fr_gen_id: trap.generation,
        fr_flags: LINKED,
        fr_flow_vrf: vrf,
        fr_src_nh_index: key,
        ..forwarding(protocol, near, far, key)
    };
    Ok([reverse, forward].map(|request| {
        let mut message = Vec::new();
        encode(&request, Compat::Current, &mut message);
        message
    }))
}

fn end(address: Ipv4Addr, port: [u8; 2]) -> End {
    (u32::from_le_bytes(address.octets()), u16::from_le_bytes(port))
}
