//! Who reaches whom, on which way, and who does not.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_sim::statistics;
use agent_sim::topology::{Reach, Tunnel};
use anyhow::{Result, ensure};
use vr_tests::ping::{Outcome, Plan, arriving_ttls, ping};

use crate::cluster::{Cluster, namespace};
use crate::layout::{NODE1, NODE2, OUTSIDE_HOST};
use crate::report::{Finding, Report, note};
use crate::service;

const COUNT: u16 = 50;
const INTERVAL: Duration = Duration::from_millis(10);
/// Time for counters of packets under way to be complete.
const SETTLE: Duration = Duration::from_millis(200);
/// A Linux pod sends with this.
const TTL: u8 = 64;

/// Runs all checks of this module.
pub(crate) fn all(cluster: &mut Cluster, report: &mut Report) {
    run(cluster, report, "pods of one node", local);
    for tunnel in Tunnel::ALL {
        run(cluster, report, "pods of two nodes, bridged", |cluster| bridged(cluster, tunnel));
    }
    run(cluster, report, "tunnel changed under a 1 kHz ping", changed_live);
    for tunnel in [Tunnel::MplsOverUdp, Tunnel::MplsOverGre] {
        run(cluster, report, "pods of two nodes, routed", |cluster| routed(cluster, tunnel));
    }
    for target in ["red-1", "red-2"] {
        run(cluster, report, &format!("blue-1 cannot reach {target}"), |cluster| forbidden(cluster, target));
    }
    run(cluster, report, "blue-1 to a service of red pods", service::balanced);
    for source in ["blue-1", "blue-3"] {
        run(cluster, report, &format!("{source} to a host outside"), |cluster| outside(cluster, source));
    }
}

/// Runs one check; below a failed one stands what the vrouters dropped in the meantime.
pub(crate) fn run(
    cluster: &mut Cluster,
    report: &mut Report,
    title: &str,
    check: impl FnOnce(&mut Cluster) -> Result<Finding>,
) {
    let before = all_drops(cluster);
    let outcome = check(cluster);
    let failed = !outcome.as_ref().is_ok_and(|finding| finding.pass);
    report.add(title, outcome);
    if failed {
        for (node, (before, after)) in before.iter().zip(&all_drops(cluster)).enumerate() {
            let reasons = grown(before, after);
            note(&format!("{} dropped: {reasons}", cluster.topology.nodes[node].name));
        }
    }
}

type Drops = BTreeMap<String, i64>;

/// The drops of each node; a node that does not answer has none.
fn all_drops(cluster: &mut Cluster) -> Vec<Drops> {
    let nodes = 0..cluster.topology.nodes.len();
    nodes.map(|node| statistics::drops(cluster.agent(node).control()).unwrap_or_default()).collect()
}

/// The reasons whose counts have grown.
fn grown(before: &Drops, after: &Drops) -> String {
    let more = after.iter().map(|(reason, count)| (reason, count - before.get(reason).unwrap_or(&0)));
    let more: Vec<_> =
        more.filter(|(_, more)| *more > 0).map(|(reason, more)| format!("{reason} {more}")).collect();
    if more.is_empty() { "nothing".to_owned() } else { more.join(", ") }
}

/// Pings from one pod to another.
pub(crate) fn between(cluster: &Cluster, from: &str, to: &str, count: u16) -> Result<Outcome> {
    let target = cluster.pod(to)?.address;
    ping(&namespace(from), Plan { target, count, interval: INTERVAL })
}

fn finding(outcome: &Outcome, tunnel: &str, ttl: u8) -> Finding {
    let seen = outcome.ttl.map_or_else(|| "none or several".to_owned(), |ttl| ttl.to_string());
    Finding {
        pass: outcome.complete() && outcome.ttl == Some(ttl),
        tunnel: tunnel.to_owned(),
        round_trip: Some(outcome.median),
        rate: None,
        detail: format!("{} of {} replies, TTL {seen}", outcome.received, outcome.sent),
    }
}

fn local(cluster: &mut Cluster) -> Result<Finding> {
    let before = all_tunnels(cluster, NODE1)?;
    let mut finding = finding(&between(cluster, "blue-1", "blue-2", COUNT)?, "none", TTL);
    let after = all_tunnels(cluster, NODE1)?;
    finding.pass &= before == after;
    Ok(finding)
}

fn all_tunnels(cluster: &mut Cluster, node: usize) -> Result<[i64; 3]> {
    std::thread::sleep(SETTLE);
    let topology = std::sync::Arc::clone(&cluster.topology);
    let mut counts = [0; 3];
    for (count, kind) in counts.iter_mut().zip(Tunnel::ALL) {
        *count = statistics::tunnelled(cluster.agent(node).control(), &topology, kind)?;
    }
    Ok(counts)
}

/// Pings across the nodes; the counter of the tunnel, and of no other, must have grown by just what was sent.
fn across(cluster: &mut Cluster, tunnel: Tunnel, ttl: u8) -> Result<Finding> {
    let before = [all_tunnels(cluster, NODE1)?, all_tunnels(cluster, NODE2)?];
    let outcome = between(cluster, "blue-1", "blue-3", COUNT)?;
    let after = [all_tunnels(cluster, NODE1)?, all_tunnels(cluster, NODE2)?];
    let mut finding = finding(&outcome, tunnel.name(), ttl);
    for (node, (before, after)) in before.iter().zip(after).enumerate() {
        for kind in Tunnel::ALL {
            let counted = after[kind as usize] - before[kind as usize];
            let expected = if kind == tunnel { i64::from(COUNT) } else { 0 };
            ensure!(
                counted == expected,
                "node{} counted {counted} packets in {} instead of {expected}; {}",
                node + 1,
                kind.name(),
                finding.detail
            );
        }
    }
    finding.detail += ", counters of both nodes agree";
    Ok(finding)
}

fn bridged(cluster: &mut Cluster, tunnel: Tunnel) -> Result<Finding> {
    cluster.use_tunnel(tunnel)?;
    across(cluster, tunnel, TTL)
}

fn changed_live(cluster: &mut Cluster) -> Result<Finding> {
    const EVERY: Duration = Duration::from_millis(400);
    let order =
        [Tunnel::MplsOverUdp, Tunnel::MplsOverGre, Tunnel::Vxlan, Tunnel::MplsOverGre, Tunnel::MplsOverUdp];
    cluster.use_tunnel(Tunnel::Vxlan)?;
    let before = all_tunnels(cluster, NODE1)?;
    let interval = Duration::from_millis(1);
    let count = (EVERY.as_millis() * (order.len() as u128 + 1)) as u16;
    let plan = Plan { target: cluster.pod("blue-3")?.address, count, interval };
    let (outcome, changed) = std::thread::scope(|scope| {
        let pinger = scope.spawn(|| ping(&namespace("blue-1"), plan));
        let changed = order.iter().try_for_each(|tunnel| {
            std::thread::sleep(EVERY);
            cluster.use_tunnel(*tunnel)
        });
        (pinger.join(), changed)
    });
    changed?;
    let outcome = outcome.map_err(|_| anyhow::anyhow!("the pinger panicked"))??;
    let after = all_tunnels(cluster, NODE1)?;
    // A request each millisecond: its number tells after which change it was lost.
    let window = |lost: &&u16| usize::from(**lost) / EVERY.as_millis() as usize;
    let worst = (0..=order.len())
        .map(|change| outcome.lost.iter().filter(|lost| window(lost) == change).count())
        .max();
    let used = before.iter().zip(after).all(|(before, after)| after > *before);
    Ok(Finding {
        pass: used && outcome.sent == usize::from(count) && worst <= Some(1),
        tunnel: "all".to_owned(),
        round_trip: Some(outcome.median),
        rate: None,
        detail: format!("{} changes, {} of {} replies lost", order.len(), outcome.lost.len(), outcome.sent),
    })
}

fn routed(cluster: &mut Cluster, tunnel: Tunnel) -> Result<Finding> {
    cluster.use_reach(tunnel, Reach::Routed)?;
    let finding = across(cluster, tunnel, TTL - 1);
    cluster.use_reach(tunnel, Reach::Bridged)?;
    finding
}

fn forbidden(cluster: &mut Cluster, target: &str) -> Result<Finding> {
    const REASON: &str = "flow_action_drop";
    let address = cluster.pod(target)?.address;
    let before = statistics::drops(cluster.agent(NODE1).control())?;
    let outcome = between(cluster, "blue-1", target, 5)?;
    std::thread::sleep(SETTLE);
    let after = statistics::drops(cluster.agent(NODE1).control())?;
    let refused = after.get(REASON).unwrap_or(&0) - before.get(REASON).unwrap_or(&0);
    let denied =
        cluster.agent(NODE1).decisions().iter().any(|d| d.tuple.destination == address && !d.forward);
    Ok(Finding {
        pass: outcome.sent == 5 && outcome.received == 0 && refused > 0 && denied,
        tunnel: "none".to_owned(),
        detail: format!(
            "{} of {} replies, dropped: {}",
            outcome.received,
            outcome.sent,
            grown(&before, &after)
        ),
        ..Finding::default()
    })
}

/// The routing step of the pod's node and the kernel of the gateway take one each from the TTL.
fn outside(cluster: &Cluster, source: &str) -> Result<Finding> {
    let plan = Plan { target: OUTSIDE_HOST, count: COUNT, interval: INTERVAL };
    let pod = cluster.pod(source)?.address;
    let (outcome, ttls) = arriving_ttls(&namespace("ext"), pod, || ping(&namespace(source), plan))?;
    let mut finding = finding(&outcome?, Tunnel::MplsOverUdp.name(), TTL - 2);
    finding.pass &= ttls.len() == usize::from(COUNT) && ttls.iter().all(|ttl| *ttl == TTL - 2);
    let seen = ttls.first().copied().unwrap_or(0);
    finding.detail = format!("{} here, {seen} seen outside", finding.detail);
    Ok(finding)
}
