//! Rounds: frames are refilled untimed, then forwarded timed from port to port.

use anyhow::{Context, ensure};
use vr_forward::{Now, Output};
use vr_frame::{BATCH, Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_tables::stats::Cores;
use vr_tables::stats::Stats;
use vr_types::VifId;

use super::node::{FABRIC, GUEST_VIF, Node};
use super::{Direction, Row};
use crate::{alloc, tsc};

/// Packets of a round.
const ROUND: usize = 4096;

/// Minimum, median and maximum over the rounds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Spread {
    /// Least.
    pub min: f64,
    /// Middle.
    pub median: f64,
    /// Most.
    pub max: f64,
}

impl Spread {
    /// Of a list of values, which is sorted.
    #[must_use]
    pub fn of(values: &mut [f64]) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        Self { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }

    /// Divided by a number.
    #[must_use]
    pub fn per(self, divisor: f64) -> Self {
        Self { min: self.min / divisor, median: self.median / divisor, max: self.max / divisor }
    }
}

/// Result of a row.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// TSC cycles per packet over the rounds of all runs.
    pub cycles: Spread,
    /// Heap allocations per packet in the timed parts.
    pub allocations: f64,
}

/// A port whose received frames were put there beforehand, burst by burst, and whose sent frames pile up.
struct MemoryPort {
    /// The last burst is received first.
    waiting: Vec<Vec<Packet>>,
    empty: Vec<Vec<Packet>>,
    sent: Vec<Packet>,
}

impl MemoryPort {
    fn new() -> Self {
        let bursts = ROUND / BATCH;
        Self {
            waiting: Vec::with_capacity(bursts),
            empty: (0..bursts).map(|_| Vec::with_capacity(BATCH)).collect(),
            sent: Vec::with_capacity(ROUND),
        }
    }

    #[inline]
    fn receive(&mut self, batch: &mut Batch) {
        if let Some(mut burst) = self.waiting.pop() {
            batch.append(&mut burst);
            self.empty.push(burst);
        }
    }
}

struct Bench<'a> {
    row: &'a Row,
    node: Node,
    pool: FramePool,
    rx: MemoryPort,
    tx: MemoryPort,
    out: Output,
    batch: Box<Batch>,
    random: u64,
    /// The input frame of every flow: all of one length.
    inputs: Vec<u8>,
    input_len: usize,
    flows: Vec<u32>,
    sent: u64,
}

impl Bench<'_> {
    fn ingress(&self) -> VifId {
        if self.row.direction == Direction::Encap { GUEST_VIF } else { FABRIC }
    }

    fn next_flow(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 32) * u64::from(self.row.flows) >> 32) as u32
    }

    /// Puts a round of frames into the receive port.
    fn refill(&mut self, mut flow: impl FnMut(&mut Self) -> u32) -> anyhow::Result<()> {
        for packet in self.tx.sent.drain(..) {
            self.pool.free(packet.frame);
        }
        self.flows.clear();
        while let Some(mut burst) = self.rx.empty.pop() {
            for _ in 0..BATCH {
                let flow = flow(self);
                let from = flow as usize * self.input_len;
                let frame =
                    self.pool.copy_of(&self.inputs[from..from + self.input_len]).context("no frame free")?;
                self.flows.push(flow);
                burst.push(Packet::plain(frame));
            }
            self.rx.waiting.push(burst);
        }
        Ok(())
    }

    /// One round from port to port; cycles and allocations.
    fn round(&mut self) -> (u64, u64) {
        let ingress = self.ingress();
        let allocations = alloc::count();
        let start = tsc::now();
        while !self.rx.waiting.is_empty() {
            self.rx.receive(&mut self.batch);
            self.node.forwarder.process(ingress, &mut self.batch, Now(0), &mut self.pool, &mut self.out);
            let egress = self.out.single_target();
            debug_assert!(egress.is_some(), "all packets go one way");
            self.out.append_to(&mut self.tx.sent);
        }
        let cycles = tsc::now() - start;
        self.sent += ROUND as u64;
        (cycles, alloc::count() - allocations)
    }

    /// Compares every sent frame with what had to be sent.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.tx.sent.len() == ROUND, "{} of {ROUND} packets came out", self.tx.sent.len());
        let in_order = self.flows.rchunks(BATCH).flatten();
        for (packet, flow) in self.tx.sent.iter().zip(in_order) {
            let sent = packet.frame.bytes();
            let expected = self.row.output(*flow, sent);
            ensure!(sent == expected, "flow {flow}: sent {sent:02x?}\nexpected {expected:02x?}");
        }
        Ok(())
    }

    fn check_counters(&self) -> anyhow::Result<()> {
        let stats = Stats::new(vec![std::sync::Arc::clone(&self.node.stats)]);
        let (ingress, egress) =
            if self.row.direction == Direction::Encap { (GUEST_VIF, FABRIC) } else { (FABRIC, GUEST_VIF) };
        let received = stats.vif(ingress, Cores::All).in_packets;
        let sent = stats.vif(egress, Cores::All).out_packets;
        let flows: u64 = self.node.flows.indexes().map(|index| self.node.flows.counters(index).0).sum();
        ensure!(
            received == self.sent && sent == self.sent && flows == self.sent,
            "{} packets were sent; interfaces counted {received} in, {sent} out, flows {flows}",
            self.sent
        );
        Ok(())
    }
}

/// Measures a row: `runs` times `rounds` rounds, after every flow was met once.
///
/// # Errors
/// When memory is not to be had, a frame came out wrong, or a counter is wrong.
pub fn measure(row: &Row, runs: usize, rounds: usize) -> anyhow::Result<Measured> {
    let sizes = PoolSizes { packets: ROUND as u32 + 64, supers: 1 };
    let (_, mut pools) = PoolSet::new(1, sizes)?;
    let inputs: Vec<u8> = (0..row.flows).flat_map(|flow| row.input(flow)).collect();
    let mut bench = Bench {
        row,
        node: Node::new(row)?,
        pool: pools.remove(0),
        rx: MemoryPort::new(),
        tx: MemoryPort::new(),
        out: Output::new(),
        batch: Box::new(Batch::new()),
        random: 0x9e37_79b9_7f4a_7c15,
        input_len: inputs.len() / row.flows as usize,
        inputs,
        flows: Vec::with_capacity(ROUND),
        sent: 0,
    };
    let mut next = 0;
    for _ in 0..=(row.flows as usize).div_ceil(ROUND) {
        bench.refill(|bench| {
            next = (next + 1) % bench.row.flows;
            next
        })?;
        bench.round();
    }
    bench.refill(Bench::next_flow)?;
    bench.round();
    bench.check().with_context(|| format!("{row:?}"))?;
    let mut cycles = Vec::with_capacity(runs * rounds);
    let mut allocations = 0;
    for _ in 0..runs * rounds {
        bench.refill(Bench::next_flow)?;
        let (taken, allocated) = bench.round();
        cycles.push(taken as f64 / ROUND as f64);
        allocations += allocated;
    }
    bench.check().with_context(|| format!("{row:?}"))?;
    bench.check_counters().with_context(|| format!("{row:?}"))?;
    for packet in bench.tx.sent.drain(..) {
        bench.pool.free(packet.frame);
    }
    let packets = (runs * rounds * ROUND) as f64;
    Ok(Measured { cycles: Spread::of(&mut cycles), allocations: allocations as f64 / packets })
}
