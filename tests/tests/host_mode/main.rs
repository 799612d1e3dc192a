//! Both host modes, one at each end: the address of the host on vhost0 and on the device of the fabric. The host stays
//! reachable without an agent, without a daemon, and while they come and go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod nodes;

use std::time::{Duration, Instant};

use nodes::{Nodes, wait_until};
use vr_tests::ping::{Outcome, Plan, ping};
use vr_tests::transfer::Transfer;

const INTERVAL: Duration = Duration::from_millis(2);

/// A period of the pings, and what happened in it.
struct Phase {
    what: &'static str,
    from: Duration,
}

/// The longest time without a reply in each phase, printed.
fn outages(outcome: &Outcome, phases: &[Phase]) -> Vec<Duration> {
    let mut longest = vec![Duration::ZERO; phases.len()];
    let (mut run, mut previous) = (0, None);
    for &number in &outcome.lost {
        run = if previous == Some(number.wrapping_sub(1)) { run + 1 } else { 1 };
        previous = Some(number);
        let begin = INTERVAL * u32::from(number + 1 - run);
        let phase = phases.iter().rposition(|phase| phase.from <= begin).unwrap_or(0);
        longest[phase] = longest[phase].max(INTERVAL * u32::from(run));
    }
    for (phase, longest) in phases.iter().zip(&longest) {
        println!("{:>5} ms without the host: {}", longest.as_millis(), phase.what);
    }
    longest
}

#[test]
fn sessions_of_the_host_outlive_agent_and_daemon() {
    let mut nodes = Nodes::new("live");
    assert!(nodes.ping_host(50, INTERVAL).complete(), "without an agent");
    assert!(nodes.counter("joined_to_host") > 50 && nodes.counter("joined_to_fabric") > 50);
    assert_eq!(nodes.counter("redirected_host"), 0);

    let [vhost0, nic] = [0, 1].map(|node| nodes.hosts[node].namespace.clone());
    let [to_vhost0, to_nic] = [0, 1].map(|node| nodes.topology.nodes[node].address);
    let transfer = |from, to, address| {
        Transfer { from, to, address, bytes: 48 << 20, pause: Duration::from_millis(20) }.run()
    };
    let mut phases = vec![Phase { what: "no agent", from: Duration::ZERO }];
    let plan = Plan { target: to_vhost0, count: 5000, interval: INTERVAL };
    std::thread::scope(|scope| {
        let start = Instant::now();
        let into = scope.spawn(|| transfer(&nic, &vhost0, to_vhost0));
        let out_of = scope.spawn(|| transfer(&vhost0, &nic, to_nic));
        let pings = scope.spawn(|| ping(&nic, plan).unwrap());
        let mut phase = |what| phases.push(Phase { what, from: start.elapsed() });
        std::thread::sleep(Duration::from_secs(1));

        phase("agents program both nodes");
        let _far = nodes.agent(1);
        let mut agent = nodes.agent(0);
        nodes.underlay_routes(&mut agent);
        wait_until("a reply of the pod", || nodes.ping_pods(1));
        phase("everything by the dataplane");
        assert!(nodes.ping_pods(100), "pods and host at the same time");
        assert!(nodes.counter("redirected_host") > 0 && nodes.counter("taken_from_host") > 0);
        std::thread::sleep(Duration::from_secs(1));

        phase("SIGKILL");
        nodes.hosts[0].kill();
        drop(agent);
        assert!(!nodes.ping_pods(2), "nobody carries the pods");
        std::thread::sleep(Duration::from_secs(1));
        phase("the daemon starts again");
        nodes.hosts[0].start();
        std::thread::sleep(Duration::from_millis(500));
        phase("its agent programs it again");
        let mut agent = nodes.agent(0);
        nodes.underlay_routes(&mut agent);
        wait_until("a reply of the pod", || nodes.ping_pods(1));
        phase("everything by the dataplane again");

        assert!(!into.is_finished() && !out_of.is_finished(), "the sessions are to outlast all of it");
        for session in [into, out_of] {
            let done = session.join().unwrap().unwrap();
            println!(
                "a session of {} MiB over {:.1} s, SHA-256 agrees",
                done.bytes >> 20,
                done.time.as_secs_f64()
            );
        }
        let longest = outages(&pings.join().unwrap(), &phases);
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
    let nodes = Nodes::new("hang");
    let _far = nodes.agent(1);
    let mut agent = nodes.agent(0);
    nodes.underlay_routes(&mut agent);
    wait_until("the dataplane", || {
        nodes.ping_host(1, INTERVAL).complete() && nodes.counter("redirected_host") > 0
    });
    nodes.hosts[0].stop();
    let stopped = Instant::now();
    wait_until("the host", || nodes.ping_host(1, INTERVAL).complete());
    let away = stopped.elapsed();
    println!("{:>5} ms without the host: SIGSTOP", away.as_millis());
    assert!(away > Duration::from_millis(500) && away < Duration::from_secs(3), "{away:?}");
    assert!(nodes.ping_host(100, INTERVAL).complete(), "the kernel connects");
    nodes.hosts[0].go_on();
    wait_until("a reply of the pod", || nodes.ping_pods(1));
    assert!(nodes.ping_host(100, INTERVAL).complete(), "the dataplane has it again");
}

/// An agent that has not programmed the host's routes yet cuts the host off; without it the host is back.
#[test]
fn the_host_does_not_depend_on_an_agent() {
    let nodes = Nodes::new("agent");
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
