//! Requests that R2.20 does not send.

use agent_sim::Object;

use crate::node::Node;
use crate::requests::{ADD, Flow, GET, Interface, Nexthop, mirror, router};

/// One request of each message whose values are translated.
fn requests() -> [Vec<u8>; 5] {
    [
        Interface { name: "tap1", ..Interface::new(ADD, 5) }.encode(),
        Nexthop { interface: 5, encap: vec![2; 14], members: vec![1, 2], ..Nexthop::new(ADD, 2, 20) }
            .encode(),
        Flow::set(-1, 1000).encode(),
        mirror(ADD, 3, 1),
        router(GET),
    ]
}

/// What the tables hold, as far as these requests could change it.
fn dump(node: &mut Node) -> Vec<(i64, Vec<Object>)> {
    let reads = [
        Interface::new(GET, 5).encode(),
        Nexthop::new(GET, 0, 20).encode(),
        Flow { op: 2, ..Flow::set(0, 0) }.encode(),
        mirror(GET, 3, 0),
    ];
    reads.map(|read| node.client.ask(&read)).to_vec()
}

#[test]
fn a_message_that_ends_early_is_refused() {
    let mut node = Node::new();
    let before = dump(&mut node);
    for request in requests() {
        // Fewer bytes are padding.
        for length in 4..request.len() {
            node.client.refused(&request[..length], -1);
        }
    }
    assert_eq!(dump(&mut node), before);
}

/// Every number of a request at its extremes: an answer, and the node lives.
#[test]
fn numbers_at_their_extremes() {
    let mut node = Node::new();
    for request in requests() {
        for at in 0..request.len() - 4 {
            for fill in [0xff, 0x7f, 0x80, 0] {
                let mut changed = request.clone();
                changed[at..at + 4].fill(fill);
                // What follows a message that ends early is read as another one.
                assert_eq!(node.client.exchange(&changed)[0].name, "vr_response");
            }
        }
    }
    node.client.object(&router(GET));
}
