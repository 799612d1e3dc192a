//! The texts of `vr_info_req`, in the layout of the recordings (utility-samples.txt) with our own facts.

use std::fmt::Write;

use sandesh::constants::info_msg;
use sandesh::{LOG_LEVELS, LOG_TYPES};
use vr_tables::control::Tables;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::VifId;

use crate::{About, Machine, MachinePort};

/// Cores of the original that are no workers: the numbers of its forwarding cores start here.
const FIRST_LCORE: usize = 10;
/// The packet buffers of all workers.
const POOL: &str = "rss_mempool";
/// Fragments take no buffers of their own; tools look for these rows.
const UNUSED_POOLS: [&str; 2] = ["frag_direct_mempool", "frag_indirect_mempool"];

/// Number of the first of the vrouter's own log types in the list.
const FIRST_LOG_TYPE: usize = 24;

/// The text about a topic, if there is something to tell.
pub(super) fn text(topic: i16, about: &About, machine: &Machine, tables: &Tables) -> Option<String> {
    let text = match topic {
        info_msg::INFO_VER => version(about),
        info_msg::INFO_VER_DPDK => {
            format!("DPDK Version: none, vrouter-xdp {}\n{}", about.version, version(about))
        }
        info_msg::INFO_MEMPOOL => pools(machine),
        info_msg::INFO_LCORE => workers(machine),
        info_msg::INFO_STATS => stats(&fabric(machine, tables)),
        info_msg::INFO_APP => application(machine, &fabric(machine, tables)),
        info_msg::CONF_LOG_LIST => log_list(tables),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn version(about: &About) -> String {
    format!("vRouter version: {}\n", about.build_info())
}

fn pools(machine: &Machine) -> String {
    let line = "-".repeat(51);
    let mut text = format!("{line}\nName\t\t\tSize\tUsed\tAvailable\n{line}\n");
    let (all, free) = (machine.buffers, machine.free_buffers);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{POOL:<20}\t{all}\t{}\t{free}\t", all.saturating_sub(free));
    for name in UNUSED_POOLS {
        let _ = writeln!(text, "{name:<20}\t0\t0\t0\t");
    }
    text.push('\n');
    text
}

fn workers(machine: &Machine) -> String {
    let mut text = format!("No. of forwarding lcores: {} \n", machine.workers);
    for worker in 0..machine.workers {
        let _ = writeln!(text, "\nLcore {}: ", FIRST_LCORE + worker);
        for (number, port) in machine.ports.iter().enumerate().filter(|(_, port)| port.worker == worker) {
            let queue = machine.ports[..number].iter().filter(|other| other.vif == port.vif).count();
            let _ = writeln!(text, "\tInterface: {:<20}Queue ID: {queue} ", port.name);
        }
    }
    text
}

/// The queues of devices of the fabric.
fn fabric<'a>(machine: &'a Machine, tables: &Tables) -> Vec<&'a MachinePort> {
    let is_fabric = |port: &&MachinePort| {
        tables
            .vif(VifId(port.vif))
            .is_ok_and(|vif| vif.kind == VifKind::Physical && !vif.flags.contains(VifFlags::MOCK_DEVICE))
    };
    machine.ports.iter().filter(is_fabric).collect()
}

fn stats(queues: &[&MachinePort]) -> String {
    if queues.is_empty() {
        return String::new();
    }
    let sum = |count: fn(&MachinePort) -> u64| queues.iter().map(|queue| count(queue)).sum::<u64>();
    let each = |count: fn(&MachinePort) -> u64| -> String {
        let counts = queues.iter().enumerate().map(|(number, queue)| format!("[{number}]{}", count(queue)));
        counts.collect::<Vec<_>>().join(" ")
    };
    format!(
        "Master Info: \nRX Device Packets:{}, Bytes:{}, Errors:0, Nombufs:0\nDropped RX Packets:{}\n\
         TX Device Packets:{}, Bytes:{}, Errors:{}\nQueue Rx: {} \n      Tx: {} \n      Rx Bytes: {} \n      \
         Tx Bytes: {} \n      Errors:\n{}\n",
        sum(|queue| queue.rx_packets),
        sum(|queue| queue.rx_bytes),
        sum(|queue| queue.rx_dropped),
        sum(|queue| queue.tx_packets),
        sum(|queue| queue.tx_bytes),
        sum(|queue| queue.tx_dropped),
        each(|queue| queue.rx_packets),
        each(|queue| queue.tx_packets),
        each(|queue| queue.rx_bytes),
        each(|queue| queue.tx_bytes),
        "-".repeat(69)
    )
}

fn application(machine: &Machine, fabric: &[&MachinePort]) -> String {
    let Some(first) = fabric.first() else { return String::new() };
    format!(
        "No. of lcores: {0} \nNo. of forwarding lcores: {0} \nFabric interface: {1}\nEthdev (Master):\n\
         \tEthdev nb rx queues: {2}\n\tEthdev nb tx queues: {2}\n",
        machine.workers,
        first.name,
        fabric.len()
    )
}

fn log_list(tables: &Tables) -> String {
    let options = tables.options();
    let level = LOG_LEVELS.iter().find(|(number, _)| *number == options.log_level);
    let level = level.map_or("info", |(_, name)| name);
    let line = format!(" {} \n", "-".repeat(60));
    let mut text = format!("global log level is {level}\n{line}");
    let _ = write!(text, "| ID |              LOGTYPE               |     LOGLEVEL     |\n{line}");
    for (place, (kind, name)) in LOG_TYPES.into_iter().enumerate() {
        let level = if options.log_types.contains(&kind) { level } else { "disabled" };
        let _ = writeln!(text, "| {:>2} | {name:<34} | {level:<16} |", FIRST_LOG_TYPE + place);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{stats, workers};
    use crate::{Machine, MachinePort};

    fn port(vif: u16, worker: usize) -> MachinePort {
        let name = format!("eth{vif}");
        MachinePort { vif, name, worker, rx_packets: 7, tx_bytes: 100, ..MachinePort::default() }
    }

    #[test]
    fn queues_are_numbered_for_each_interface() {
        let ports = vec![port(0, 0), port(0, 1), port(5, 1)];
        let machine = Machine { workers: 2, ports, buffers: 16_384, free_buffers: 16_000 };
        assert!(super::pools(&machine).contains("\nrss_mempool         \t16384\t384\t16000\t\n"));
        assert_eq!(
            workers(&machine),
            "No. of forwarding lcores: 2 \n\nLcore 10: \n\tInterface: eth0                Queue ID: 0 \n\n\
             Lcore 11: \n\tInterface: eth0                Queue ID: 1 \n\tInterface: eth5                Queue ID: 0 \n"
        );
    }

    #[test]
    fn counters_are_summed_over_queues() {
        let (one, other) = (port(0, 0), port(0, 1));
        let text = stats(&[&one, &other]);
        assert!(
            text.contains("RX Device Packets:14, Bytes:0,") && text.contains("Queue Rx: [0]7 [1]7 \n"),
            "{text}"
        );
        assert_eq!(stats(&[]), "");
    }
}
