//! A service with three backends on two nodes, as Kubernetes has it.

use std::collections::BTreeMap;

use agent_sim::topology::Tunnel;
use anyhow::{Result, ensure};
use vr_tests::echo::{Server, Session};

use crate::cluster::{Cluster, namespace};
use crate::layout::{BACKENDS, SERVICE, SERVICE_TARGET_PORT};
use crate::report::Finding;

const CLIENT: &str = "blue-1";
/// One of three backends is left out by so many with a probability of 3 * (2/3)^60 < 1e-10.
const SESSIONS: usize = 60;

/// Every backend gets sessions, and sees the client's own address.
pub(crate) fn balanced(cluster: &mut Cluster) -> Result<Finding> {
    let client = cluster.pod(CLIENT)?.address;
    let start = |id| {
        let pod = cluster.topology.pod(id);
        Server::start(&namespace(&pod.name), &pod.name, (pod.address, SERVICE_TARGET_PORT).into())
    };
    let _servers = BACKENDS.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..SESSIONS {
        let mut session = Session::open(&namespace(CLIENT), SERVICE)?;
        session.exchange(&[7; 3000])?;
        let seen = session.greeting.seen;
        ensure!(seen.ip() == client, "a backend sees {seen}");
        *counts.entry(session.greeting.server).or_default() += 1;
    }
    let shares: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    Ok(Finding {
        pass: counts.len() == BACKENDS.len(),
        tunnel: Tunnel::MplsOverUdp.name().to_owned(),
        detail: format!("{SESSIONS} sessions: {}", shares.join(", ")),
        ..Finding::default()
    })
}
