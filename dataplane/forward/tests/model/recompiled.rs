//! Which flows a change of routes concerns.

use vr_tables::control::Prefix;
use vr_types::{FlowIndex, VrfId};

use crate::frames::PacketSpec;
use crate::node::{self, Node};
use crate::packets::UDP;
use crate::requests::plain;
use crate::talk::{Side, Talk};
use crate::world::{self, FLOATING, NOWHERE, REMOTE, ROUTED, VRF_OF};

const ROUTES: u16 = 1000;

/// A conversation of a guest, and its flows.
fn establish(node: &mut Node<'_>, guest: usize, port: u16) -> (Talk, [FlowIndex; 2]) {
    let far = REMOTE[0];
    let talk = Talk { is_inet6: false, protocol: UDP, guest, far, alias: FLOATING, ports: [port, 80, port] };
    let flows = [Side::Out, Side::In].map(|side| {
        let (reply, _) = node.set(&plain(talk.key(side), VrfId(VRF_OF[guest])));
        FlowIndex(reply.index.unwrap())
    });
    (talk, flows)
}

/// A packet each way; how many were sent on.
fn talk(node: &mut Node<'_>, talk: &Talk) -> usize {
    let frames = [Side::Out, Side::In].map(|side| PacketSpec::plain(side).frame(talk));
    frames.into_iter().map(|frame| node.receive(&[frame]).len()).sum()
}

fn compiled(node: &Node<'_>) -> Vec<FlowIndex> {
    node.compiled().into_iter().map(|(index, _)| index).collect()
}

fn sorted(flows: &[[FlowIndex; 2]]) -> Vec<FlowIndex> {
    let mut flows = flows.concat();
    flows.sort_unstable();
    flows
}

#[test]
fn a_batch_of_routes_recompiles_the_flows_of_its_vrf_only() {
    let mut pool = node::buffers();
    let mut node = Node::new([true; 3], false, true, &mut pool);
    let conversations =
        [(0, 1000), (1, 1001), (2, 1002)].map(|(guest, port)| establish(&mut node, guest, port));
    let [(_, red), (_, reds), (_, blue)] = conversations;
    for (conversation, _) in &conversations {
        assert_eq!(talk(&mut node, conversation), 2);
    }
    assert_eq!(compiled(&node), sorted(&[red, reds, blue]));
    let before = node.recompilations();
    node.command(|tables, _| {
        for number in 0..ROUTES {
            let [high, low] = number.to_be_bytes();
            let prefix = Prefix::Inet([NOWHERE, high, low, 0], 24);
            tables.route_add(&world::route(1, prefix, ROUTED[0], None)).unwrap();
        }
    });
    assert_eq!(compiled(&node), blue, "only the other VRF's flows stay as they are");
    for (conversation, _) in &conversations {
        assert_eq!(talk(&mut node, conversation), 2);
    }
    assert_eq!(compiled(&node), sorted(&[red, reds, blue]), "one packet of each flow compiles it again");
    assert_eq!(node.recompilations() - before, 4, "two of each conversation in that VRF");
    assert!(node.close());
}
