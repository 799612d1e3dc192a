//! How the daemons reach their devices, and what that costs in system calls.

use crate::cluster::Cluster;

/// Prints the rung that each fabric device has reached, and system calls per packet for each kind of port.
pub(crate) fn print(cluster: &Cluster) {
    println!("\nPorts:");
    for (node, report) in cluster.status() {
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                println!("  {node}: {error:#}");
                continue;
            }
        };
        for port in report.ports.iter().filter(|port| port.kind == "af_xdp") {
            println!("  {node}: {}", port.detail);
        }
        for kind in report.kinds().iter().filter(|kind| kind.packets > 0) {
            let per_packet = kind.syscalls_per_packet();
            println!(
                "  {node}: {:<7} {:>9} packets, {per_packet:.2} system calls each",
                kind.kind, kind.packets
            );
        }
    }
}
