//! Workers without packets sleep, and wake at once for a packet, a packet of another worker, and a command.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tempfile::TempDir;
use vr_io::{Pkt0Port, Pkt0Socket, Port};
use vr_runtime::Polling;
use vr_tables::vif::VifFlags;

use crate::lab::{AGENT, Lab, PATIENCE, SIZES, guest, patiently};

/// Sleeping to its end takes 100 ms, and half of that in the mean: a lost wake-up shows in the median.
const SOON: Duration = Duration::from_millis(25);
const TRIES: u16 = 21;

/// Whether a test is alone in its process, as one must be that measures processor time. If not, it is run in a process
/// of its own.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "VR_RUNTIME_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    let output = command.args(["--exact", &format!("idle::{test}")]).env(ALONE, "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros as u64)
}

/// The agent's end of pkt0.
struct Agent {
    socket: UnixDatagram,
    _ours: Pkt0Socket,
    directory: TempDir,
}

impl Agent {
    fn add(lab: &mut Lab) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join(Pkt0Port::AGENTS)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let ours = Pkt0Socket::bind(directory.path()).unwrap();
        lab.add_agent(ours.port().unwrap());
        Self { socket, _ours: ours, directory }
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.directory.path().join(Pkt0Port::OURS)).unwrap();
    }
}

/// Lets the workers fall asleep.
fn fall_asleep() {
    std::thread::sleep(Duration::from_millis(7));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn idle_workers_sleep() {
    if !is_alone("idle_workers_sleep") {
        return;
    }
    for polling in [Polling::Balanced, Polling::Power] {
        let mut lab = Lab::new(2, polling);
        let agent = Agent::add(&mut lab);
        fall_asleep();
        let beats = || lab.monitor().heartbeats().collect::<Vec<u64>>();
        let (before, beaten, time) = (lab.monitor().workers(), beats(), processor_time());
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let (after, time) = (lab.monitor().workers(), processor_time().saturating_sub(time));
        // Ten of 100 ms, more on a busy machine, where the second is longer; a pass between two of them may spin
        // for a moment.
        let most = start.elapsed().as_millis() as u64 / 100 + 5;
        let are_later = beats().iter().zip(&beaten).all(|(after, before)| after > before);
        assert!(are_later, "a sleeper shows that it lives");
        for (before, after) in before.iter().zip(&after) {
            let (sleeps, looks) = (after.sleeps - before.sleeps, after.looks - before.looks);
            assert!((2..=most).contains(&sleeps), "{sleeps} sleeps, {most} expected at the most");
            assert!(looks < 5000, "{looks} looks in a second");
            assert!(after.asleep_ns - before.asleep_ns > 500_000_000);
        }
        assert!(time < Duration::from_millis(100), "{polling:?}: {time:?} of processor time in a second");
        drop(agent);
        lab.close([]);
    }
}

#[test]
fn a_worker_that_must_poll_sleeps_between_polls() {
    if !is_alone("a_worker_that_must_poll_sleeps_between_polls") {
        return;
    }
    let mut lab = Lab::new(1, Polling::Balanced);
    let end = lab.add_plain(1);
    fall_asleep();
    let (before, time) = (lab.monitor().workers()[0], processor_time());
    std::thread::sleep(Duration::from_secs(1));
    let (after, time) = (lab.monitor().workers()[0], processor_time().saturating_sub(time));
    assert!(after.sleeps - before.sleeps <= 1000, "sleeps of 1 ms");
    assert!(time < Duration::from_millis(400), "{time:?} of processor time in a second");
    lab.close([end]);
}

#[test]
fn a_worker_that_never_sleeps_does_not() {
    let lab = Lab::new(1, Polling::Latency);
    fall_asleep();
    let figures = lab.monitor().workers()[0];
    assert!(figures.sleeps == 0 && figures.idle_passes > 0, "{figures:?}");
    lab.close([]);
}

#[test]
fn a_packet_at_a_descriptor_wakes_its_worker() {
    for polling in [Polling::Balanced, Polling::Power] {
        let mut lab = Lab::new(2, polling);
        let agent = Agent::add(&mut lab);
        let monitor = lab.monitor();
        let times = (1..=u64::from(TRIES)).map(|packets| {
            fall_asleep();
            let start = Instant::now();
            agent.send(&[0; 128]);
            patiently("packet", || (monitor.workers()[0].packets == packets).then_some(()));
            start.elapsed()
        });
        let median = median(times.collect());
        assert!(median < SOON, "{polling:?}: {median:?}");
        drop(agent);
        lab.close([]);
    }
}

#[test]
fn a_packet_of_another_worker_wakes_the_owner_of_the_port() {
    let mut lab = Lab::new(2, Polling::Balanced);
    // Belongs to the first worker, which has nothing else and sleeps for long.
    let agent = Agent::add(&mut lab);
    let mut a = lab.add_wired(1, VifFlags::POLICY, 1).remove(0);
    let mut buffer = [0; 2048];
    let times = (0..TRIES).map(|port| {
        fall_asleep();
        let start = Instant::now();
        lab.send(&mut a, 1, 2, port..port + 1);
        agent.socket.recv(&mut buffer).unwrap();
        start.elapsed()
    });
    let median = median(times.collect());
    assert!(median < SOON, "{median:?}");
    assert_eq!(lab.monitor().workers()[1].handed_off, u64::from(TRIES));
    drop(agent);
    lab.close([a]);
}

#[test]
fn a_command_wakes_a_worker() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let _agent = Agent::add(&mut lab);
    let times = (0..TRIES).map(|_| {
        let end = lab.add_plain(1);
        fall_asleep();
        let start = Instant::now();
        // Returns when all workers have closed it.
        lab.remove(guest(1));
        let time = start.elapsed();
        Box::new(end).close(&mut lab.pool);
        time
    });
    let times = times.collect();
    let median = median(times);
    assert!(median < SOON, "{median:?}");
    lab.remove(AGENT);
    let start = Instant::now();
    fall_asleep();
    lab.close([]);
    assert!(start.elapsed() < Duration::from_secs(2), "sleepers end when they are told to");
}

/// What is on its way through a worker is missing from what it says.
#[test]
fn workers_tell_how_many_buffers_they_have() {
    let lab = Lab::new(2, Polling::Balanced);
    let monitor = lab.monitor();
    for worker in 0..2 {
        patiently("all buffers", || {
            (monitor.workers()[worker].free_buffers == u64::from(SIZES.packets)).then_some(())
        });
    }
    lab.close([]);
}
