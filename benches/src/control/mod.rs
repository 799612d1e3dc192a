//! What `bench-control` measures: objects programmed through the control socket, while packets are forwarded on the
//! same tables.
//!
//! The server is what `vrouterd` runs: the control socket, the tables, and one worker. A client sends requests as an
//! agent does, as many in one message as fit and without waiting for each answer.

mod client;
mod objects;
mod report;
mod served;
mod traffic;

use std::time::Instant;

use anyhow::ensure;

pub use report::{print, write_json};

use client::Client;
use objects::Requests;
use served::Served;
use traffic::Traffic;

/// How many objects of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tunnels.
    pub nexthops: u32,
    /// IPv4 routes of the VRF in which the packets are forwarded.
    pub routes: u32,
    /// Flow entries, two for each connection.
    pub flows: u32,
    /// Packets a second that are sent meanwhile, at the most.
    pub rate: u32,
}

/// The figures of one kind of object.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Phase {
    what: &'static str,
    objects: u32,
    /// Netlink messages that carried them.
    messages: u32,
    seconds: f64,
    objects_per_second: f64,
    /// Processor time of the control thread.
    cpu_us_per_object: f64,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// By kind of object, in the order in which they were programmed.
    pub phases: Vec<Phase>,
    /// Packets sent while the objects were programmed.
    pub sent: u64,
    /// Of these, packets that arrived.
    pub received: u64,
}

impl Plan {
    /// Programs everything.
    ///
    /// # Errors
    /// When the system refuses something, a request is refused, or an object is missing at the end.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        let directory = tempfile::tempdir()?;
        let (served, ends) = Served::start(directory.path(), self)?;
        let traffic = Traffic::start(ends, self.rate)?;
        let mut client = Client::connect(directory.path())?;
        let mut phases = Vec::new();
        for kind in [objects::nexthops, objects::routes, objects::flows] {
            // Encoding is the client's work and not part of what is measured.
            let requests: Requests = kind(self);
            let (cpu, start) = (served.processor_time()?, Instant::now());
            client.program(&requests)?;
            let seconds = start.elapsed().as_secs_f64();
            let cpu = served.processor_time()?.saturating_sub(cpu).as_secs_f64();
            let Requests { what, objects, messages, .. } = requests;
            phases.push(Phase {
                what,
                objects,
                messages,
                seconds,
                objects_per_second: f64::from(objects) / seconds,
                cpu_us_per_object: cpu * 1e6 / f64::from(objects),
            });
        }
        let (sent, received) = traffic.stop()?;
        let there = served.stop()?;
        ensure!(Plan { rate: self.rate, ..there } == *self, "programmed {self:?}, there are {there:?}");
        Ok(Outcome { phases, sent, received })
    }
}
