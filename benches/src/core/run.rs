//! Rounds: frames are put on the wire untimed, then forwarded timed from port to port.

use std::sync::Arc;

use anyhow::{Context, ensure};
use vr_forward::{Forwarder, Now, Output};
use vr_frame::{BATCH, Batch, FramePool, Offload, Packet, PoolSet, PoolSizes};
use vr_io::{MemoryPort, Port};
use vr_tables::stats::{Cores, Stats, WorkerStats};
use vr_types::{VifId, WorkerId};

use super::tables::{FABRIC, GUEST_VIF, Tables};
use super::{Direction, Row, Traffic};
use crate::{alloc, tsc};

/// Packets of a round.
const ROUND: usize = 4096;

/// Figures of a run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// TSC cycles per packet, the median over the rounds.
    pub cycles: f64,
    /// Heap allocations per packet.
    pub allocations: f64,
}

/// A row ready to be measured.
pub struct Bench {
    row: Row,
    tables: Arc<Tables>,
    forwarder: Forwarder,
    stats: Arc<WorkerStats>,
    /// Which of the flows are used: the first one, and how far it is from one to the next.
    share: (u32, u32),
    /// Acknowledgement number of the frames on the wire.
    turn: u32,
    pool: FramePool,
    /// Ports of the worker: the one that it receives from and the one that it has to send by.
    ingress: (VifId, Box<dyn Port>),
    egress: (VifId, Box<dyn Port>),
    /// The other ends of their wires.
    source: MemoryPort,
    sink: MemoryPort,
    batch: Batch,
    out: Output,
    /// Packets on their way to a port.
    moving: Vec<Packet>,
    random: u64,
    /// Input frames of all flows, one behind the other, all of one length.
    inputs: Vec<u8>,
    input_len: usize,
    /// Flows of the frames on the wire, in order.
    flows: Vec<u32>,
    /// Frames that came out, in order.
    arrived: Vec<Packet>,
    /// Packets sent of every flow so far.
    sent: Vec<u64>,
}

impl Bench {
    /// Fills the tables of a row and sends a packet of every flow, so that all are established.
    ///
    /// # Errors
    /// When memory is not to be had, or a frame came out wrong.
    pub fn new(row: &Row) -> anyhow::Result<Self> {
        Self::of_worker(row, &Arc::new(Tables::new(row, 1)?), (WorkerId(0), 1))
    }

    /// A worker of so many on these tables; each uses its part of the flows.
    pub(super) fn of_worker(
        row: &Row,
        tables: &Arc<Tables>,
        (worker, workers): (WorkerId, u32),
    ) -> anyhow::Result<Self> {
        let sizes = PoolSizes { packets: ROUND as u32 + 64, supers: 1 };
        let (_, mut pools) = PoolSet::new(1, sizes)?;
        let share = (worker.index() as u32, workers);
        let used = (row.flows - share.0).div_ceil(workers);
        let inputs: Vec<u8> = (0..used).flat_map(|n| row.input(share.0 + n * workers, 0)).collect();
        let (ingress, source) = MemoryPort::pair(ROUND);
        let (egress, sink) = MemoryPort::pair(ROUND);
        let (from, to) = match row.direction {
            Direction::Encap => (GUEST_VIF, FABRIC),
            Direction::Decap => (FABRIC, GUEST_VIF),
        };
        let (forwarder, stats) = tables.forwarder(worker)?;
        let mut bench = Self {
            row: *row,
            tables: Arc::clone(tables),
            forwarder,
            stats,
            share,
            turn: 0,
            pool: pools.remove(0),
            ingress: (from, Box::new(ingress)),
            egress: (to, Box::new(egress)),
            source,
            sink,
            batch: Batch::new(),
            out: Output::new(),
            moving: Vec::with_capacity(BATCH),
            random: tsc::now() | 1,
            input_len: inputs.len() / used as usize,
            inputs,
            flows: Vec::with_capacity(ROUND),
            arrived: Vec::with_capacity(ROUND),
            sent: vec![0; used as usize],
        };
        // The first packet of a flow passes the full path, the second one the fast lane.
        for _ in 0..2 {
            bench.send_all_flows().with_context(|| format!("{row:?}"))?;
        }
        Ok(bench)
    }

    /// One packet of every flow, and as many more as fill the last round. Every frame that comes out is checked.
    fn send_all_flows(&mut self) -> anyhow::Result<()> {
        let mut next = 0;
        for _ in 0..self.sent.len().div_ceil(ROUND) {
            self.refill(|bench| {
                next = (next + 1) % bench.sent.len() as u32;
                next
            })?;
            self.round();
            self.collect()?;
            self.check()?;
        }
        Ok(())
    }

    /// Times `rounds` rounds of packets of random flows, then sends the same packets again, untimed, and
    /// checks every frame that comes out and all counters.
    ///
    /// # Errors
    /// When a frame came out wrong, or a counter is wrong.
    pub fn run(&mut self, rounds: usize) -> anyhow::Result<Run> {
        let seed = tsc::now() | 1;
        self.random = seed;
        let mut cycles = Vec::with_capacity(rounds);
        let mut allocations = 0;
        for _ in 0..rounds {
            let (time, allocated) = self.timed_round()?;
            cycles.push(time);
            allocations += allocated;
        }
        self.random = seed;
        for _ in 0..rounds {
            self.refill(Self::next_flow)?;
            self.round();
            self.collect()?;
            self.check().with_context(|| format!("{:?}", self.row))?;
        }
        self.check_counters().with_context(|| format!("{:?}", self.row))?;
        cycles.sort_by(f64::total_cmp);
        Ok(Run {
            cycles: cycles.get(rounds / 2).copied().unwrap_or(f64::NAN),
            allocations: allocations as f64 / (rounds * ROUND) as f64,
        })
    }

    /// One round of packets of random flows; its cycles per packet and allocations.
    pub(super) fn timed_round(&mut self) -> anyhow::Result<(f64, u64)> {
        self.refill(Self::next_flow)?;
        let before = alloc::count();
        let start = tsc::now();
        self.round();
        let cycles = (tsc::now() - start) as f64 / ROUND as f64;
        let allocated = alloc::count() - before;
        self.collect()?;
        Ok((cycles, allocated))
    }

    fn next_flow(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (((self.random >> 32) * self.sent.len() as u64) >> 32) as u32
    }

    /// Puts the frames of a round on the wire. `next` gives the position of a flow among those that are used.
    fn refill(&mut self, mut next: impl FnMut(&mut Self) -> u32) -> anyhow::Result<()> {
        for packet in self.arrived.drain(..) {
            self.pool.free(packet.frame);
        }
        self.flows.clear();
        self.turn = self.turn.wrapping_add(1);
        for _ in 0..ROUND {
            let position = next(self) as usize;
            let flow = self.share.0 + position as u32 * self.share.1;
            let frame = if self.row.traffic.is_tcp() {
                self.pool.copy_of(&self.row.input(flow, self.turn))
            } else {
                self.pool.copy_of(&self.inputs[position * self.input_len..][..self.input_len])
            };
            self.flows.push(flow);
            self.sent[position] += 1;
            let offload = self.row.offload();
            if let Err(packet) =
                self.source.send(Packet { frame: frame.context("no frame is free")?, offload })
            {
                self.pool.free(packet.frame);
            }
        }
        Ok(())
    }

    /// What a worker does until nothing is left to receive.
    fn round(&mut self) {
        let (from, ingress) = &mut self.ingress;
        let (to, egress) = &mut self.egress;
        let capabilities = egress.capabilities();
        loop {
            ingress.receive(&mut self.pool, &mut self.batch);
            if self.batch.is_empty() {
                break;
            }
            self.forwarder.process(*from, &mut self.batch, Now(0), &mut self.pool, &mut self.out);
            let all_to = self.out.single_target();
            self.out.append_to(&mut self.moving);
            let taken = self
                .moving
                .iter()
                .all(|packet| packet.offload.is_plain() || capabilities.take(&packet.offload));
            if all_to == Some(*to) && taken && self.batch.append(&mut self.moving) {
                egress.transmit(&mut self.pool, &mut self.batch);
            }
            // What is left went astray, and will be missed.
            for packet in self.moving.drain(..) {
                self.pool.free(packet.frame);
            }
        }
    }

    /// Takes the frames of a round off the wire.
    fn collect(&mut self) -> anyhow::Result<()> {
        self.arrived.extend(std::iter::from_fn(|| self.sink.take()));
        ensure!(self.arrived.len() == ROUND, "{} of {ROUND} packets came out", self.arrived.len());
        Ok(())
    }

    /// Compares every frame that came out with what had to come out.
    fn check(&self) -> anyhow::Result<()> {
        for (packet, flow) in self.arrived.iter().zip(&self.flows) {
            let (sent, expected) =
                (packet.frame.bytes(), self.row.output(*flow, self.turn, self.tables.entropy_port(*flow)));
            ensure!(
                sent == expected && packet.offload.is_plain(),
                "flow {flow}: sent {sent:02x?}\nexpected {expected:02x?}"
            );
        }
        Ok(())
    }

    pub(super) fn check_counters(&self) -> anyhow::Result<()> {
        let stats = Stats::new(vec![Arc::clone(&self.stats)]);
        let (received, sent) = (stats.vif(self.ingress.0, Cores::All), stats.vif(self.egress.0, Cores::All));
        let packets: u64 = self.sent.iter().sum();
        let output_len = self.row.output(0, 0, 0).len() as u64;
        ensure!(
            (received.in_packets, received.in_bytes) == (packets, packets * self.input_len as u64),
            "{packets} packets were sent, and the interface counted {received:?}"
        );
        ensure!(
            (sent.out_packets, sent.out_bytes) == (packets, packets * output_len),
            "{packets} packets came out, and the interface counted {sent:?}"
        );
        for (position, packets) in self.sent.iter().enumerate() {
            let flow = self.share.0 + position as u32 * self.share.1;
            let counted = self.tables.flow_counters(flow);
            let expected = (*packets, packets * self.row.flow_bytes());
            ensure!(counted == expected, "flow {flow}: counted {counted:?}, expected {expected:?}");
        }
        Ok(())
    }
}

impl Row {
    /// What the guest's device says about checksums.
    const fn offload(&self) -> Offload {
        match self.traffic {
            Traffic::TcpPartial => {
                Offload { needs_csum: true, csum_start: 34, csum_offset: 16, ..Offload::NONE }
            }
            _ => Offload::NONE,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for packet in self.arrived.drain(..).chain(std::iter::from_fn(|| self.sink.take())) {
            self.pool.free(packet.frame);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use vr_types::TunnelKind;

    use super::super::{Direction, Row, Traffic};
    use super::Bench;

    fn bench(direction: Direction, tunnel: TunnelKind) -> Bench {
        of_traffic(direction, tunnel, Traffic::Udp)
    }

    fn of_traffic(direction: Direction, tunnel: TunnelKind, traffic: Traffic) -> Bench {
        Bench::new(&Row { direction, tunnel, flows: 50, routes: 7, traffic }).unwrap()
    }

    #[test]
    fn all_kinds_of_packets_come_out_right() {
        for traffic in [Traffic::Tcp, Traffic::TcpPartial, Traffic::Nat, Traffic::Paired] {
            for direction in [Direction::Encap, Direction::Decap] {
                if traffic != Traffic::TcpPartial || direction == Direction::Encap {
                    of_traffic(direction, TunnelKind::MplsOverUdp, traffic).run(1).unwrap();
                }
            }
        }
    }

    #[test]
    fn any_byte_that_is_wrong_is_noticed() {
        for tunnel in TunnelKind::ALL {
            for direction in [Direction::Encap, Direction::Decap] {
                let mut bench = bench(direction, tunnel);
                bench.run(1).unwrap();
                bench.check().unwrap();
                for at in 0..bench.arrived[17].frame.len() {
                    bench.arrived[17].frame.bytes_mut()[at] ^= 0x10;
                    assert!(bench.check().is_err(), "{direction:?} {tunnel} byte {at}");
                    bench.arrived[17].frame.bytes_mut()[at] ^= 0x10;
                }
                bench.arrived[17].frame.truncate(60);
                assert!(bench.check().is_err());
            }
        }
    }

    #[test]
    fn a_packet_that_is_missing_is_noticed() {
        let mut bench = bench(Direction::Encap, TunnelKind::MplsOverUdp);
        bench.refill(Bench::next_flow).unwrap();
        bench.round();
        let packet = bench.sink.take().unwrap();
        assert!(bench.collect().is_err());
        bench.pool.free(packet.frame);
    }

    #[test]
    fn a_packet_that_was_not_counted_is_noticed() {
        let mut bench = bench(Direction::Decap, TunnelKind::Vxlan);
        bench.check_counters().unwrap();
        bench.sent[3] += 1;
        bench.sent[4] -= 1;
        assert!(bench.check_counters().is_err());
    }
}
