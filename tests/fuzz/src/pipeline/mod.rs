//! Drives the whole pipeline: packets from every interface with any metadata, and meanwhile an agent that
//! decides about flows and changes tables.

mod events;
mod flows;
mod node;

use std::time::Duration;

use vr_forward::{Forwarder, Now, Output, Shared, make_plain};
use vr_frame::{Batch, FramePool, Offload, Packet, PoolSet, PoolSizes, leaked_frames};
use vr_tables::control::{AttachError, Attached, Datapath, GracefulRestart, Limits, Tables, TablesConfig};
use vr_tables::drop_log::DropLogging;
use vr_tables::geometry::Geometry;
use vr_tables::options::Options;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, VifId, WorkerId};
use vr_wire::ipv4::{self, Ipv4};

use events::{Event, Events, Frames};

const POOL: PoolSizes = PoolSizes { packets: 2048, supers: 8 };
/// Events of one input.
const MOST_EVENTS: usize = 64;
/// Most copies, traps, mirrored copies and fragments that one packet of a usual size may become.
const MOST_OUTPUTS: usize = 64;
/// The longest frame that the agent takes and sends. It knows no metadata.
const AGENT_FRAME: usize = 9060;
/// The longest frame that the underlay takes.
const UNDERLAY: usize = 1514;

/// Gives the events that `data` describes to a node.
///
/// # Panics
///
/// If a frame gets lost, or what is to be sent is not what the interface can take.
pub fn pipeline(data: &[u8]) {
    let leaked = leaked_frames();
    // With some inputs agents restart gracefully.
    let mut node = Node::new(data.len() % 2 == 1);
    for event in Events::new(data).take(MOST_EVENTS) {
        node.handle(event);
    }
    node.close();
    assert_eq!(leaked_frames(), leaked);
}

/// Remembers what the workers would be told.
#[derive(Default)]
struct Changes(Vec<FlowIndex>);

impl Datapath for Changes {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, flow: FlowIndex) {
        self.0.push(flow);
    }

    fn settle(&mut self) {}
}

struct Node {
    tables: Tables,
    changes: Changes,
    forwarder: Forwarder,
    pool: FramePool,
    out: Output,
    now: Now,
    /// Flows that the agent was told about, with their generations.
    waiting: Vec<(FlowIndex, u8)>,
    /// The last frame that was sent.
    last: Vec<u8>,
}

impl Node {
    fn new(graceful: bool) -> Self {
        let limits = Limits {
            interfaces: 16,
            nexthops: 64,
            labels: 64,
            vrfs: 8,
            mirrors: 4,
            qos_maps: 4,
            forwarding_classes: 4,
            flows: Geometry { entries: 32, overflow: 16 },
            bridge: Geometry { entries: 64, overflow: 16 },
            drop_log: 3,
        };
        let drop_log = DropLogging { minimal: false, only: None };
        let options = Options { drop_log, ..Options::default() };
        let never = Duration::MAX;
        let graceful_restart = graceful.then_some(GracefulRestart { grace: never, quiet: never });
        let config = TablesConfig { limits, options, graceful_restart, ..TablesConfig::default() };
        let mut tables = Tables::new(config).expect("memory for small tables");
        let mut changes = Changes::default();
        node::program(&mut tables, &mut changes).expect("the node can be programmed");
        assert!(flows::add(&mut tables, &mut changes), "flows can be added");
        changes.0.clear();
        tables.publish();
        let forwarder = Forwarder::new(Shared {
            worker: WorkerId(0),
            tables: tables.reader(),
            flows: tables.flow_table().clone(),
            grace: tables.grace().clone(),
            stats: tables.worker_stats()[0].clone(),
            holds: tables.holds().clone(),
        });
        let (_, mut pools) = PoolSet::new(1, POOL).expect("memory for a few frames");
        Self {
            tables,
            changes,
            forwarder,
            pool: pools.pop().expect("a pool"),
            out: Output::new(),
            now: Now(1_000_000_000),
            waiting: Vec::new(),
            last: Vec::new(),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Frames(frames) => {
                let is_usual = !frames.offload.is_super_frame() && frames.bytes.len() <= UNDERLAY;
                let most = if is_usual { frames.count * MOST_OUTPUTS } else { usize::MAX };
                self.receive(&frames, most);
            }
            Event::Echo { to, turned } => {
                let mut bytes = std::mem::take(&mut self.last);
                if turned {
                    events::turn(&mut bytes);
                }
                self.receive(&Frames::plain(to, bytes), usize::MAX);
            }
            Event::Decide { waiting, decision } => self.decide(waiting, decision),
            Event::Time { milliseconds, tick } => {
                self.now.0 += milliseconds * 1_000_000;
                if tick {
                    self.forwarder.tick(self.now, &mut self.pool, &mut self.out);
                }
                self.tables.housekeep();
            }
            Event::Change(change) => {
                events::change(&mut self.tables, &mut self.changes, change);
                self.tell_worker();
            }
        }
        self.send(false);
    }

    fn receive(&mut self, frames: &Frames, most: usize) {
        let (mut bytes, mut offload) = (&frames.bytes[..], frames.offload);
        if frames.from == node::AGENT {
            bytes = &bytes[..bytes.len().min(AGENT_FRAME)];
            offload = Offload::NONE;
        }
        let mut batch = Batch::new();
        for _ in 0..frames.count {
            let Some(frame) = self.pool.copy_of(bytes) else { break };
            let full = batch.push(Packet { frame, offload });
            assert!(full.is_ok(), "a batch has room for all frames of an event");
        }
        self.forwarder.process(frames.from, &mut batch, self.now, &mut self.pool, &mut self.out);
        assert!(batch.is_empty());
        assert!(self.out.len() <= most, "{} packets to send", self.out.len());
        let from_guest = matches!(frames.from, node::GUEST_A | node::GUEST_B);
        self.send(from_guest);
    }

    /// The agent decides about a flow that it was told about.
    fn decide(&mut self, waiting: u8, decision: u8) {
        if self.waiting.is_empty() {
            return;
        }
        let (flow, generation) = self.waiting.swap_remove(usize::from(waiting) % self.waiting.len());
        events::decide(&mut self.tables, &mut self.changes, flow, generation, decision);
        self.tell_worker();
    }

    fn tell_worker(&mut self) {
        self.tables.publish();
        for flow in std::mem::take(&mut self.changes.0) {
            self.forwarder.release_held(flow, self.now, &mut self.pool, &mut self.out);
        }
    }

    /// Checks and frees what is to be sent; `of_guest` if all of it comes of frames of a guest, just
    /// received.
    fn send(&mut self, of_guest: bool) {
        let mut finished = Vec::new();
        let mut in_force = self.tables.reader();
        for (to, packet) in self.out.drain() {
            assert!(in_force.latest().vif(to).is_some(), "an interface that is not there");
            if to == node::AGENT {
                assert!(packet.offload.is_plain() && packet.frame.len() <= AGENT_FRAME);
                self.waiting.extend(events::flow_of_trap(packet.frame.bytes()));
            }
            if to == node::FABRIC && of_guest {
                check_underlay(&packet);
            }
            self.last.clear();
            self.last.extend_from_slice(packet.frame.bytes());
            // Not every packet can be finished: its metadata may be wrong.
            let _ = make_plain(packet, &mut self.pool, &mut finished);
            for packet in finished.drain(..) {
                assert!(packet.offload.is_plain());
                self.pool.free(packet.frame);
            }
        }
    }

    /// All frames are there again once the forwarder has given back those that it held.
    fn close(mut self) {
        self.forwarder.close(&mut self.pool);
        assert_eq!(self.pool.available(), POOL.packets as usize);
        let supers: Vec<_> = std::iter::from_fn(|| self.pool.super_frame()).collect();
        assert_eq!(supers.len(), POOL.supers as usize);
        for frame in supers {
            self.pool.free(frame);
        }
    }
}

/// What a guest's frame becomes for the underlay is finished, and fits; tunnel packets and copies for the analyzer have
/// outer headers that are right.
fn check_underlay(sent: &Packet) {
    let frame = sent.frame.bytes();
    assert!(sent.offload.is_plain());
    assert!(frame.len() <= UNDERLAY, "{} bytes", frame.len());
    let Some(packet) = frame.get(14..) else { return };
    let Ok(header) = Ipv4::new_checked(packet) else { return };
    if ![node::PEER, node::PEER_2, node::ANALYZER].contains(&header.destination()) {
        return;
    }
    assert_eq!(usize::from(header.total_len()), packet.len());
    assert_eq!(ipv4::checksum_is_valid(packet), Ok(true));
}
