//! The report as data, and as a table.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Flows, KindFigures};

/// What a daemon reports. Counters start with the daemon, or with the port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the daemon.
    pub version: String,
    /// Name of the instance.
    pub instance: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// The TCP port of this host on which clients are served instead of the socket, those of R2.20.
    #[serde(default)]
    pub control_port: Option<u16>,
    /// Its workers, by number.
    pub workers: Vec<Worker>,
    /// Its ports, one entry for each queue.
    pub ports: Vec<Port>,
    /// Its steering programs, one for each fabric device.
    pub steering: Vec<Steering>,
    /// How entries that packets touched are brought into the mapped tables.
    #[serde(default)]
    pub folding: Folding,
    /// The flow table.
    #[serde(default)]
    pub flows: Flows,
}

/// Rounds in which the entries of the mapped tables that packets touched are brought up to date. Entries are marked in
/// blocks, and all of a marked block are looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Folding {
    /// Rounds so far.
    pub rounds: u64,
    /// Flow entries looked at in the last round.
    pub last_flows: u64,
    /// Bridge entries looked at in the last round.
    pub last_bridge: u64,
    /// Flow entries looked at in all rounds.
    pub flows: u64,
    /// Bridge entries looked at in all rounds.
    pub bridge: u64,
    /// Microseconds of the longest round.
    pub longest_us: u64,
}

/// One worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Packets received from ports.
    pub packets: u64,
    /// Passes over the ports that found something to do.
    pub busy_passes: u64,
    /// Passes that found nothing.
    pub idle_passes: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// Nanoseconds in busy passes.
    pub busy_ns: u64,
    /// Nanoseconds in idle passes.
    pub idle_ns: u64,
    /// Nanoseconds asleep.
    pub asleep_ns: u64,
    /// System calls that asked which ports have something, or waited for that.
    pub looks: u64,
    /// Packets handed to another worker.
    pub handed_off: u64,
    /// Packets dropped because that worker's ring was full.
    pub handoff_full: u64,
    /// Packet buffers of its own that are free.
    pub free_buffers: u64,
}

/// One queue of a port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Number of the interface.
    pub vif: u16,
    /// Its name.
    pub name: String,
    /// Kind of port.
    pub kind: String,
    /// The worker that polls it.
    pub worker: u8,
    /// How the device is used and why so; empty if there is one way only.
    pub detail: String,
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// Frames dropped on their way in.
    pub rx_dropped: u64,
    /// System calls made to receive.
    pub rx_syscalls: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Frames dropped on their way out.
    pub tx_dropped: u64,
    /// System calls made to send.
    pub tx_syscalls: u64,
}

/// One steering program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// The device.
    pub device: String,
    /// The rung of the ladder on which it is attached.
    pub mode: String,
    /// Why on this rung.
    pub reason: String,
    /// Addresses whose tunnel packets are taken.
    pub endpoints: Vec<std::net::IpAddr>,
    /// Its counters, by name.
    pub counters: Vec<(String, u64)>,
}

impl Report {
    /// What the ports of each kind did, system calls per packet included.
    #[must_use]
    pub fn kinds(&self) -> Vec<KindFigures> {
        KindFigures::of(&self.ports)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "vrouterd {}, instance {}, up {} s", self.version, self.instance, self.uptime)?;
        self.write_workers(f)?;
        self.write_ports(f)?;
        writeln!(f, "\n{:<10} {:>14} {:>14} {:>16}", "port kind", "packets", "syscalls", "syscalls/packet")?;
        for kind in self.kinds() {
            let per_packet = kind.syscalls_per_packet();
            writeln!(f, "{:<10} {:>14} {:>14} {per_packet:>16.3}", kind.kind, kind.packets, kind.syscalls)?;
        }
        self.write_folding(f)?;
        self.flows.fmt(f)?;
        self.write_steering(f)
    }
}

impl Report {
    fn write_workers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<7} {:>14} {:>7} {:>7} {:>7} {:>10} {:>12} {:>12} {:>12}",
            "worker", "packets", "busy", "idle", "asleep", "sleeps", "looks", "handed off", "handoff full"
        )?;
        for (number, worker) in self.workers.iter().enumerate() {
            let all = (worker.busy_ns + worker.idle_ns + worker.asleep_ns).max(1) as f64;
            let share = |ns: u64| format!("{:.1}%", 100.0 * ns as f64 / all);
            writeln!(
                f,
                "{number:<7} {:>14} {:>7} {:>7} {:>7} {:>10} {:>12} {:>12} {:>12}",
                worker.packets,
                share(worker.busy_ns),
                share(worker.idle_ns),
                share(worker.asleep_ns),
                worker.sleeps,
                worker.looks,
                worker.handed_off,
                worker.handoff_full
            )?;
        }
        Ok(())
    }

    fn write_ports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<5} {:<16} {:<8} {:>6} {:>13} {:>9} {:>13} {:>9}  detail",
            "vif", "name", "kind", "worker", "received", "dropped", "sent", "dropped"
        )?;
        for port in &self.ports {
            writeln!(
                f,
                "{:<5} {:<16} {:<8} {:>6} {:>13} {:>9} {:>13} {:>9}  {}",
                port.vif,
                port.name,
                port.kind,
                port.worker,
                port.rx_packets,
                port.rx_dropped,
                port.tx_packets,
                port.tx_dropped,
                port.detail
            )?;
        }
        Ok(())
    }

    fn write_folding(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Folding { rounds, last_flows, last_bridge, flows, bridge, longest_us } = self.folding;
        writeln!(f, "\nmapped tables: {rounds} rounds, the longest {longest_us} us")?;
        writeln!(f, "{:<16} {:>14} {:>14}", "entries scanned", "last round", "all rounds")?;
        writeln!(f, "{:<16} {last_flows:>14} {flows:>14}", "flow")?;
        writeln!(f, "{:<16} {last_bridge:>14} {bridge:>14}", "bridge")
    }

    fn write_steering(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for steering in &self.steering {
            writeln!(f, "\nsteering on {}: {} ({})", steering.device, steering.mode, steering.reason)?;
            let endpoints: Vec<String> = steering.endpoints.iter().map(ToString::to_string).collect();
            writeln!(f, "  tunnel endpoints: {}", endpoints.join(" "))?;
            for (name, count) in steering.counters.iter().filter(|(_, count)| *count > 0) {
                writeln!(f, "  {name:<24} {count:>14}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Flows, Folding, Port, Report, Steering, Worker};
    use crate::Quota;

    fn report() -> Report {
        let port = |kind: &str, packets, syscalls| Port {
            name: "eth0".to_owned(),
            kind: kind.to_owned(),
            rx_packets: packets,
            rx_syscalls: syscalls,
            ..Port::default()
        };
        Report {
            version: "1.2".to_owned(),
            uptime: 3,
            workers: vec![Worker { busy_ns: 1, asleep_ns: 3, ..Worker::default() }],
            ports: vec![port("packet", 10, 5), port("af_xdp", 100, 1), port("packet", 10, 15)],
            steering: vec![Steering {
                device: "eth0".to_owned(),
                endpoints: vec!["172.16.0.1".parse().unwrap()],
                counters: vec![("passed_other".to_owned(), 7), ("dropped_stale".to_owned(), 0)],
                ..Steering::default()
            }],
            flows: Flows {
                used: 12_345,
                evicted: 678,
                recompiled: vec![4321],
                vrf_quotas: vec![Quota { number: 1, used: 900, refused: 11 }],
                vif_quotas: vec![Quota { number: 3, used: 900, refused: 77 }],
                ..Flows::default()
            },
            folding: Folding { rounds: 9, last_flows: 64, flows: 4160, ..Folding::default() },
            ..Report::default()
        }
    }

    #[test]
    fn the_table_has_what_people_look_for() {
        let text = report().to_string();
        for part in [
            "25.0%",
            "75.0%",
            "172.16.0.1",
            "passed_other",
            "0.010",
            "1.000",
            "9 rounds",
            "4160",
            "12345",
            "678",
            "4321",
            " 77",
            "88 packets of new flows refused by quotas",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(!text.contains("dropped_stale"), "what did not happen is left out:\n{text}");
    }

    #[test]
    fn a_report_survives_json() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }
}
