//! Virtual machines of R2.20: the vrouter is the side that listens (control.md 4.3).

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::front_end::{FrontEnd, Manners};
use crate::node::Node;
use crate::requests::{ADD, DEL, GET, Interface};

const PATIENCE: Duration = Duration::from_secs(20);
/// `vifr_ipackets`.
const IN_PACKETS: i16 = 11;

#[test]
fn the_daemon_listens_for_them() {
    let mut node = Node::in_mode(false);
    let add = Interface { name: "vrx-tap", ..Interface::new(ADD, 5) }.encode();
    node.client.done(&add);
    let path = node.sockets().join("uvh_vif_vrx-tap");
    for round in 1..=2 {
        let stream = UnixStream::connect(&path).unwrap();
        let mut machine = FrontEnd::start(stream, &Manners::default());
        machine.send(0, &[0; 10], &[2; 60]);
        let end = Instant::now() + PATIENCE;
        while node.client.object(&Interface::new(GET, 5).encode()).number(IN_PACKETS) < round {
            assert!(Instant::now() < end, "packet {round} is not received");
        }
        drop(machine);
        // One at a time: the next is served when this one is known to be gone.
        std::thread::sleep(Duration::from_millis(100));
    }
    // A successor of the same name can come at once, again and again.
    for _ in 0..20 {
        node.client.done(&Interface::new(DEL, 5).encode());
        node.client.done(&add);
    }
    assert!(UnixStream::connect(&path).is_ok(), "the last one listens");
    node.client.done(&Interface::new(DEL, 5).encode());
    let end = Instant::now() + PATIENCE;
    while path.exists() {
        assert!(Instant::now() < end, "the socket goes with the interface");
        std::thread::sleep(Duration::from_millis(1));
    }
}
