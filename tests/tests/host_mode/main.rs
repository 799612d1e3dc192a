//! Both host modes, one at each end: the address of the host on vhost0 and on the device of the fabric. The host stays
//! reachable without an agent, without a daemon, and while they come and go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod nodes;
mod session;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nodes::{Driver, Nodes, wait_until};
use session::{Gap, echoes, session};
use vr_tests::transfer::Transfer;

const INTERVAL: Duration = Duration::from_millis(2);

/// Stops the traffic also when the test fails.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A period, and what happens in it.
struct Phase {
    what: &'static str,
    from: Instant,
}

impl Phase {
    fn new(what: &'static str) -> Self {
        Self { what, from: Instant::now() }
    }
}

/// The longest time without an echo of the host in each phase, by its middle, printed.
fn outages(gaps: &[Gap], phases: &[Phase]) -> Vec<Duration> {
    let mut longest = vec![Duration::ZERO; phases.len()];
    for gap in gaps {
        let middle = gap.begin + gap.length / 2;
        let phase = phases.iter().rposition(|phase| phase.from <= middle).unwrap_or(0);
        longest[phase] = longest[phase].max(gap.length);
    }
    for (phase, longest) in phases.iter().zip(&longest) {
        println!("{:>5} ms without an echo of the host: {}", longest.as_millis(), phase.what);
    }
    longest
}

#[test]
fn sessions_of_the_host_outlive_agent_and_daemon() {
    let nodes = Nodes::new("live", Driver::Native);
    assert_eq!(nodes.steering().mode, "native");
    sessions_outlive_agent_and_daemon(nodes);
}

/// The programs run behind the driver, which joins frames before.
#[test]
fn the_same_with_a_driver_without_xdp() {
    let nodes = Nodes::new("plain", Driver::Plain);
    assert_eq!(nodes.steering().mode, "generic");
    sessions_outlive_agent_and_daemon(nodes);
}

fn sessions_outlive_agent_and_daemon(mut nodes: Nodes) {
    assert!(nodes.ping_host(50, INTERVAL).complete(), "without an agent");
    assert!(nodes.counter("joined_to_host") > 50 && nodes.counter("joined_to_fabric") > 50);
    assert_eq!(nodes.counter("redirected_host"), 0);

    let [vhost0, nic] = [0, 1].map(|node| nodes.hosts[node].namespace.clone());
    let [to_vhost0, to_nic] = [0, 1].map(|node| nodes.topology.nodes[node].address);
    let stop = AtomicBool::new(false);
    let mut phases = vec![Phase::new("no agent")];
    std::thread::scope(|scope| {
        let sessions = [
            scope.spawn(|| session(&nic, &vhost0, to_vhost0, &stop)),
            scope.spawn(|| session(&vhost0, &nic, to_nic, &stop)),
        ];
        let echoes = scope.spawn(|| echoes(&nic, &vhost0, to_vhost0, &stop));
        let stopping = Stopping(&stop);
        std::thread::sleep(Duration::from_secs(1));

        phases.push(Phase::new("agents program both nodes"));
        let _far = nodes.agent(1);
        let mut agent = nodes.agent(0);
        nodes.underlay_routes(&mut agent);
        wait_until("a reply of the pod", || nodes.ping_pods(1));
        phases.push(Phase::new("everything by the dataplane"));
        assert!(nodes.ping_pods(100), "pods and host at the same time");
        assert!(nodes.counter("redirected_host") > 0 && nodes.counter("taken_from_host") > 0);
        std::thread::sleep(Duration::from_secs(1));

        phases.push(Phase::new("SIGKILL"));
        nodes.hosts[0].kill();
        drop(agent);
        assert!(!nodes.ping_pods(2), "nobody carries the pods");
        std::thread::sleep(Duration::from_secs(1));
        phases.push(Phase::new("the daemon starts again"));
        nodes.hosts[0].start();
        std::thread::sleep(Duration::from_millis(500));
        phases.push(Phase::new("its agent programs it again"));
        let mut agent = nodes.agent(0);
        nodes.underlay_routes(&mut agent);
        wait_until("a reply of the pod", || nodes.ping_pods(1));
        phases.push(Phase::new("everything by the dataplane again"));
        std::thread::sleep(Duration::from_millis(500));
        assert!(nodes.counter("redirected_host") > 0 && nodes.counter("taken_from_host") > 0);

        drop(stopping);
        for session in sessions {
            println!("a session of {} MiB, SHA-256 agrees", session.join().unwrap() >> 20);
        }
        let longest = outages(&echoes.join().unwrap(), &phases);
        assert!(longest.iter().all(|longest| *longest < Duration::from_secs(1)), "{longest:?}");
        assert!(nodes.ping_pods(50));
        for (way, from, to, address) in [("to", &nic, &vhost0, to_vhost0), ("from", &vhost0, &nic, to_nic)] {
            let whole = Transfer { from, to, address, bytes: 128 << 20, pause: Duration::ZERO };
            println!("{:>5.0} Mbit/s {way} the host by the dataplane", whole.run().unwrap().rate());
        }
    });
}

/// Nothing tells that a process hangs but its heartbeat, which stays fresh for a second.
#[test]
fn a_daemon_that_hangs_costs_the_host_a_second() {
    let nodes = Nodes::new("hang", Driver::Native);
    let _far = nodes.agent(1);
    let mut agent = nodes.agent(0);
    nodes.underlay_routes(&mut agent);
    wait_until("the dataplane", || {
        nodes.ping_host(1, INTERVAL).complete() && nodes.counter("redirected_host") > 0
    });
    let [vhost0, nic] = [0, 1].map(|node| nodes.hosts[node].namespace.clone());
    let (address, stop) = (nodes.topology.nodes[0].address, AtomicBool::new(false));
    let longest = std::thread::scope(|scope| {
        let echoes = scope.spawn(|| echoes(&nic, &vhost0, address, &stop));
        let stopping = Stopping(&stop);
        let mut phases = vec![Phase::new("everything by the dataplane")];
        std::thread::sleep(Duration::from_millis(500));
        phases.push(Phase::new("SIGSTOP"));
        nodes.hosts[0].stop();
        std::thread::sleep(Duration::from_secs(2));
        phases.push(Phase::new("SIGCONT"));
        nodes.hosts[0].go_on();
        std::thread::sleep(Duration::from_secs(1));
        drop(stopping);
        outages(&echoes.join().unwrap(), &phases)
    });
    assert!(longest[1] > Duration::from_millis(500) && longest[1] < Duration::from_secs(2), "{longest:?}");
    assert!(longest[2] < Duration::from_secs(1), "{longest:?}");
    assert!(nodes.ping_host(50, INTERVAL).complete() && nodes.ping_pods(1));
}

/// An agent that has not programmed the host's routes yet cuts the host off; without it the host is back.
#[test]
fn the_host_does_not_depend_on_an_agent() {
    let nodes = Nodes::new("agent", Driver::Native);
    let _far = nodes.agent(1);
    let agent = nodes.agent(0);
    wait_until("a reply of the pod", || nodes.ping_pods(1));
    assert_eq!(nodes.ping_host(5, INTERVAL).received, 0, "the agent says nothing of the host");
    drop(agent);
    wait_until("the host", || nodes.ping_host(1, INTERVAL).complete());
    assert!(nodes.ping_host(50, INTERVAL).complete(), "the agent has died");
    assert!(nodes.counter("redirected_host") >= 50, "the dataplane connects, not the kernel");

    let mut agent = nodes.agent(0);
    wait_until("a reply of the pod", || nodes.ping_pods(1));
    assert_eq!(nodes.ping_host(5, INTERVAL).received, 0, "another agent is there");
    Nodes::delete_agent_interface(&mut agent);
    let outcome = nodes.ping_host(50, INTERVAL);
    assert!(outcome.complete(), "its interface is deleted: {outcome:?}");
}
