//! Large transfers, a killed daemon, and the proof that nobody else carries the traffic.

use std::time::{Duration, Instant};

use agent_sim::topology::Tunnel;
use anyhow::{Context, Result, ensure};
use vr_tests::transfer::{Transfer, Transferred};

use crate::checks::{between, run};
use crate::cluster::{Cluster, namespace};
use crate::layout::{NODE1, NODE2};
use crate::report::{Finding, Report};

const MEBIBYTE: u64 = 1 << 20;
/// Within this time after the restart the pods must reach each other.
const BACK: Duration = Duration::from_secs(5);

/// Runs all checks of this module.
pub(crate) fn all(cluster: &mut Cluster, report: &mut Report, quick: bool) {
    let bytes = if quick { 16 } else { 256 } * MEBIBYTE;
    let transfers = [
        ("blue-1", "blue-3", Tunnel::MplsOverGre, 16 * MEBIBYTE),
        ("blue-1", "blue-3", Tunnel::Vxlan, 16 * MEBIBYTE),
        ("blue-1", "blue-3", Tunnel::MplsOverUdp, bytes),
        ("blue-3", "blue-1", Tunnel::MplsOverUdp, bytes),
    ];
    for (from, to, tunnel, bytes) in transfers {
        let title = format!("TCP {from} to {to}");
        run(cluster, report, &title, |cluster| tcp(cluster, from, to, tunnel, bytes));
    }
    report.add("no kernel route joins the pods", no_kernel_route(cluster));
    killed(cluster, report);
    report.add("agents and daemons sound", sound(cluster));
}

fn tcp(cluster: &mut Cluster, from: &str, to: &str, tunnel: Tunnel, bytes: u64) -> Result<Finding> {
    cluster.use_tunnel(tunnel)?;
    let address = cluster.pod(to)?.address;
    let (from, to) = (namespace(from), namespace(to));
    let done = Transfer { from: &from, to: &to, address, bytes, pause: Duration::ZERO }.run()?;
    Ok(transferred(done, tunnel.name()))
}

fn transferred(done: Transferred, tunnel: &str) -> Finding {
    Finding {
        pass: true,
        tunnel: tunnel.to_owned(),
        rate: Some(done.rate()),
        detail: format!("{} MiB, SHA-256 agrees", done.bytes / MEBIBYTE),
        ..Finding::default()
    }
}

fn no_kernel_route(cluster: &Cluster) -> Result<Finding> {
    let nodes = &cluster.topology.nodes[..=NODE2];
    for node in nodes {
        let host = namespace(&node.name);
        let forwards = host.run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward"))??;
        ensure!(forwards.trim() == "0", "{} forwards packets", node.name);
        let bridges = host.ip(&["link", "show", "type", "bridge"])?;
        ensure!(bridges.is_empty(), "{} has a bridge: {bridges}", node.name);
        for pod in nodes.iter().flat_map(|node| &node.pods) {
            if let Ok(route) = host.ip(&["route", "get", &pod.address.to_string()]) {
                anyhow::bail!("{} routes to {}: {route}", node.name, pod.name);
            }
        }
    }
    let detail = "no route, no forwarding, no bridge on node1 and node2".to_owned();
    Ok(Finding { pass: true, tunnel: "none".to_owned(), detail, ..Finding::default() })
}

/// A session between the nodes' own addresses lives on while a daemon is killed and started again; pods are cut off
/// in the meantime and come back.
fn killed(cluster: &mut Cluster, report: &mut Report) {
    let (node1, node2) = (namespace("node1"), namespace("node2"));
    let address = cluster.topology.nodes[NODE2].address;
    // Ten seconds and more: 128 KiB each 20 ms.
    let transfer = Transfer {
        from: &node1,
        to: &node2,
        address,
        bytes: 64 * MEBIBYTE,
        pause: Duration::from_millis(20),
    };
    std::thread::scope(|scope| {
        let session = scope.spawn(|| transfer.run());
        std::thread::sleep(Duration::from_millis(500));
        report.add("pods cut off while vrouterd is killed", cut_off(cluster));
        run(cluster, report, "pods back after its restart", back);
        let outlasted = !session.is_finished();
        let ended =
            session.join().map_err(|_| anyhow::anyhow!("the session panicked")).and_then(|ended| ended);
        let finding = ended.context("the session between the nodes").and_then(|done| {
            ensure!(outlasted, "the session ended before vrouterd was back");
            Ok(transferred(done, "underlay"))
        });
        report.add("TCP between nodes outlives SIGKILL", finding);
    });
}

fn cut_off(cluster: &mut Cluster) -> Result<Finding> {
    cluster.kill(NODE1)?;
    let remote = between(cluster, "blue-1", "blue-3", 20)?;
    let local = between(cluster, "blue-1", "blue-2", 20)?;
    let detail = format!("{} replies across nodes, {} on the node", remote.received, local.received);
    let pass = remote.received == 0 && local.received == 0;
    Ok(Finding { pass, tunnel: "none".to_owned(), detail, ..Finding::default() })
}

fn back(cluster: &mut Cluster) -> Result<Finding> {
    cluster.restart(NODE1)?;
    let programmed = Instant::now();
    // A pod that got no answer to ARP waits up to a second before it asks again.
    while !between(cluster, "blue-1", "blue-3", 1)?.complete() {
        ensure!(programmed.elapsed() < BACK, "no reply within {} seconds", BACK.as_secs());
    }
    let time = programmed.elapsed();
    let outcome = between(cluster, "blue-1", "blue-3", 50)?;
    Ok(Finding {
        pass: outcome.complete(),
        tunnel: Tunnel::MplsOverUdp.name().to_owned(),
        round_trip: Some(outcome.median),
        detail: format!("{:.1} s, then {} of {} replies", time.as_secs_f64(), outcome.received, outcome.sent),
        ..Finding::default()
    })
}

fn sound(cluster: &mut Cluster) -> Result<Finding> {
    cluster.check_daemons()?;
    let errors = cluster.agent_errors();
    ensure!(errors.is_empty(), "{}", errors.join("; "));
    Ok(Finding { pass: true, detail: "every flow miss answered".to_owned(), ..Finding::default() })
}
