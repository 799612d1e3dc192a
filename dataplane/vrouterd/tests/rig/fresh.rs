//! Entries of the mapped tables that packets touch.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::daemon::wait_until;
use crate::life::program_from;
use crate::node::Node;

/// A recording whose first packet belongs to a flow, and the position of that flow.
const RECORDING: &str = "12-ecmp-with-flow.jsonl";
const FLOW: u64 = 517_724;
/// Bytes of entries (control.md 5.2, 5.3), and where their packet counters are.
const FLOW_ENTRY: u64 = 256;
const FLOW_PACKETS: u64 = 108;
const BRIDGE_ENTRY: usize = 64;
const BRIDGE_PACKETS: u64 = 37;

/// An entry that packets touched is up to date within this time.
const PROMISE: Duration = Duration::from_millis(100);
const PACKETS: usize = 20;

/// Position of the bridge entry of a MAC address, if it is the only one.
fn bridge_entry(file: &File, mac: &[u8]) -> u64 {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let mut found = bytes.chunks(BRIDGE_ENTRY).enumerate().filter(|(_, entry)| entry[21..27] == *mac);
    let (index, _) = found.next().unwrap();
    assert!(found.next().is_none(), "one VRF has this address");
    index as u64
}

fn number(file: &File, at: u64) -> u32 {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at).unwrap();
    u32::from_le_bytes(bytes)
}

/// The next packet is posted when the one before shows in the files, right after a round: the longest wait that there
/// is.
#[test]
fn entries_that_packets_touch_are_fresh_in_time() {
    let mut node = Node::new();
    let [(name, frame), _] = program_from(&mut node, RECORDING);
    let [flows, bridge] =
        ["flow", "bridge"].map(|name| File::open(node.sockets().join(format!("{name}.shmem"))).unwrap());
    let bridge_at = bridge_entry(&bridge, &frame[..6]) * BRIDGE_ENTRY as u64 + BRIDGE_PACKETS;
    let counted = || (number(&flows, FLOW * FLOW_ENTRY + FLOW_PACKETS), number(&bridge, bridge_at));
    assert_eq!(counted(), (0, 0));
    let mut times = Vec::new();
    for packets in 1..=PACKETS as u32 {
        let start = Instant::now();
        node.post(&name, &frame);
        wait_until("fresh entries", || counted() == (packets, packets));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("entries are fresh after {:?} to {:?}", times[0], times[PACKETS - 1]);
    // A busy machine may let the daemon wait for its turn once.
    assert!(times[PACKETS - 2] < PROMISE, "{times:?}");

    let report = vr_observe::fetch(&node.sockets()).unwrap().folding;
    assert!(report.rounds >= PACKETS as u64 && report.longest_us > 0, "{report:?}");
    let expected = PACKETS as u64..PACKETS as u64 * 4096;
    assert!(expected.contains(&report.flows) && expected.contains(&report.bridge), "{report:?}");
    wait_until("round without anything to do", || {
        let now = vr_observe::fetch(&node.sockets()).unwrap().folding;
        now.rounds > report.rounds && (now.last_flows, now.last_bridge) == (0, 0)
    });
    node.close();
}
