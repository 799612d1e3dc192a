//! The committed program in this kernel, packet by packet: verdict, counters and metadata.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
};
use steer_abi::{Counter, SteerConfig, SteerMeta, Tunnel, TunnelSet, flags, program};
use steer_loader::monotonic_ns;
use support::{
    harness::{Harness, Outcome, TC_ACT_OK, TC_ACT_REDIRECT, TC_ACT_SHOT, XDP_DROP, XDP_PASS, XDP_REDIRECT},
    is_root,
    model::{Expected, classify},
    packets::{self, LOCAL4, LOCAL6, OTHER4},
    xsk::Xsk,
};

const LOCAL: [IpAddr; 2] = [LOCAL4, LOCAL6];
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// A device that every namespace has.
const LOOPBACK: u32 = 1;

/// A program with both endpoints and one socket, without a heartbeat check.
fn ready() -> (Harness, Xsk) {
    let mut harness = Harness::new(SteerConfig::new(0));
    for address in LOCAL {
        harness.endpoint(address, TunnelSet::ALL);
    }
    let socket = Xsk::unbound();
    harness.queue(3, 1);
    harness.socket(3, socket.as_fd());
    (harness, socket)
}

/// What the program should answer, by the model.
fn expected(packet: &[u8]) -> Outcome {
    match classify(packet, &LOCAL) {
        Expected::Tunnel { tunnel, payload, layer3, hash } => Outcome {
            action: XDP_REDIRECT,
            metadata: Some(SteerMeta::new(tunnel, payload, layer3, hash)),
            counted: vec![(redirected(tunnel), 1)],
        },
        Expected::Other(counter) => Outcome { action: XDP_PASS, metadata: None, counted: vec![(counter, 1)] },
    }
}

fn redirected(tunnel: Tunnel) -> Counter {
    match tunnel {
        Tunnel::MplsUdp => Counter::RedirectedMplsUdp,
        Tunnel::MplsGre => Counter::RedirectedMplsGre,
        Tunnel::Vxlan => Counter::RedirectedVxlan,
    }
}

/// Verdicts stated outright, so that the model itself is held to something.
#[test]
fn the_specification_s_packets_go_to_the_socket() {
    if !is_root("the_specification_s_packets_go_to_the_socket") {
        return;
    }
    let (harness, _socket) = ready();
    let cases = [
        (packets::SPEC_GRE, Counter::RedirectedMplsGre, Tunnel::MplsGre, 14 + 20 + 4 + 4, 0),
        (packets::SPEC_MPLS_UDP, Counter::RedirectedMplsUdp, Tunnel::MplsUdp, 14 + 20 + 8 + 4, 0),
        (packets::SPEC_VXLAN, Counter::RedirectedVxlan, Tunnel::Vxlan, 14 + 20 + 8 + 8, 14),
    ];
    let mut hashes = Vec::new();
    for (text, counter, tunnel, payload, to_layer3) in cases {
        let outcome = harness.run(&packets::hex(text));
        let metadata = outcome.metadata.unwrap();
        assert_eq!((outcome.action, outcome.counted), (XDP_REDIRECT, vec![(counter, 1)]));
        assert_eq!(metadata.tunnel(), Some(tunnel));
        assert_eq!((metadata.payload_offset, metadata.inner_l3_offset), (payload, payload + to_layer3));
        hashes.push(metadata.hash);
    }
    assert!(hashes[0] != 0 && hashes.iter().all(|hash| *hash == hashes[0]), "one inner flow: {hashes:x?}");
}

#[test]
fn every_kind_of_packet_at_every_length() {
    if !is_root("every_kind_of_packet_at_every_length") {
        return;
    }
    let (harness, _socket) = ready();
    let gallery = packets::gallery();
    let redirects = gallery.iter().filter(|(_, packet)| expected(packet).action == XDP_REDIRECT).count();
    assert_eq!((gallery.len(), redirects), (48, 33), "the gallery has packets of both fates");
    for (name, packet) in gallery {
        // The kernel runs no test with less than an Ethernet header.
        for length in (14..=packet.len().min(160)).chain([packet.len()]) {
            let cut = &packet[..length];
            assert_eq!(harness.run(cut), expected(cut), "{name}, cut to {length} of {} bytes", packet.len());
        }
    }
}

/// Bytes changed at random, from a fixed seed, in packets of the gallery.
#[test]
fn damaged_packets() {
    if !is_root("damaged_packets") {
        return;
    }
    let (harness, _socket) = ready();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    let gallery = packets::gallery();
    let mut redirected = 0;
    for round in 0..20_000 {
        let mut packet = gallery[next(gallery.len())].1.clone();
        packet.truncate(200);
        for _ in 0..=next(4) {
            let position = 12 + next(packet.len() - 12);
            packet[position] = if next(2) == 0 { next(256) as u8 } else { packet[position] ^ 1 << next(8) };
        }
        packet.truncate(14 + next(packet.len() * 2));
        let expected = expected(&packet);
        redirected += u32::from(expected.action == XDP_REDIRECT);
        assert_eq!(harness.run(&packet), expected, "round {round}: {packet:02x?}");
    }
    assert!(redirected > 4_000, "only {redirected} packets were still tunnel packets");
}

#[test]
fn without_a_socket_tunnel_packets_are_dropped() {
    if !is_root("without_a_socket_tunnel_packets_are_dropped") {
        return;
    }
    let (mut harness, socket) = ready();
    let packet = packets::hex(packets::SPEC_VXLAN);
    harness.queue(4, 1);
    let dropped = harness.run(&packet);
    assert_eq!((dropped.action, dropped.counted), (XDP_DROP, vec![(Counter::DroppedNoSocket, 1)]));
    harness.queue(3, 0);
    assert_eq!(harness.run(&packet).action, XDP_DROP, "a queue without slots");
    harness.queue(3, 1);
    assert_eq!(harness.run(&packet).action, XDP_REDIRECT);
    drop(socket);
    assert_eq!(harness.run(&packet).action, XDP_DROP, "the kernel takes a closed socket out");
    let host = packets::outer(LOCAL4, 6, &[0; 30]);
    assert_eq!(harness.run(&host).action, XDP_PASS, "host traffic does not notice");
}

#[test]
fn endpoints_end_only_their_own_kinds_of_tunnels() {
    if !is_root("endpoints_end_only_their_own_kinds_of_tunnels") {
        return;
    }
    let (mut harness, _socket) = ready();
    harness.endpoint(LOCAL4, TunnelSet::NONE.with(Tunnel::MplsGre));
    assert_eq!(harness.run(&packets::hex(packets::SPEC_GRE)).action, XDP_REDIRECT);
    let passed = harness.run(&packets::hex(packets::SPEC_VXLAN));
    assert_eq!((passed.action, passed.counted), (XDP_PASS, vec![(Counter::PassedNotLocal, 1)]));
}

#[test]
fn the_inner_flow_chooses_the_socket() {
    if !is_root("the_inner_flow_chooses_the_socket") {
        return;
    }
    let (mut harness, socket) = ready();
    // Of four slots only one has a socket: the flows that it gets are seen by their verdict.
    let mut total = 0;
    for slot in 0..4 {
        let mut alone = Harness::new(SteerConfig::new(0));
        alone.endpoint(LOCAL4, TunnelSet::ALL);
        alone.queue(0, 4);
        alone.socket(slot, socket.as_fd());
        let mut here = 0;
        for flow in 0..400 {
            let packet = packets::outer(
                LOCAL4,
                47,
                &packets::gre(0, 0x8847, &packets::mpls(27, true, &packets::inner(flow))),
            );
            here += u32::from(alone.run(&packet).action == XDP_REDIRECT);
        }
        assert!((60..=140).contains(&here), "slot {slot} has {here} of 400 flows");
        total += here;
    }
    assert_eq!(total, 400, "every flow has one slot");
    harness.queue(u32::MAX, 4);
    assert_eq!(harness.run(&packets::hex(packets::SPEC_GRE)).action, XDP_DROP, "a slot out of range");
}

#[test]
fn a_stale_heartbeat_stops_tunnels_and_nothing_else() {
    if !is_root("a_stale_heartbeat_stops_tunnels_and_nothing_else") {
        return;
    }
    let (mut harness, _socket) = ready();
    harness.configure(SteerConfig::new(SECOND));
    let packet = packets::hex(packets::SPEC_MPLS_UDP);
    let host = packets::outer(OTHER4, 6, &[0; 30]);
    let stale = |harness: &Harness, when: &str| {
        let dropped = harness.run(&packet);
        assert_eq!((dropped.action, dropped.counted), (XDP_DROP, vec![(Counter::DroppedStale, 1)]), "{when}");
        assert_eq!(harness.run(&host).action, XDP_PASS, "{when}");
    };
    stale(&harness, "before the first beat");
    harness.beat(monotonic_ns());
    assert_eq!(harness.run(&packet).action, XDP_REDIRECT, "just now");
    harness.beat(monotonic_ns() + SECOND / 100);
    assert_eq!(harness.run(&packet).action, XDP_REDIRECT, "ahead of the coarse clock");
    harness.beat(monotonic_ns() - 2 * SECOND);
    stale(&harness, "two seconds ago");
}

#[test]
fn bypass_passes_everything() {
    if !is_root("bypass_passes_everything") {
        return;
    }
    let (mut harness, _socket) = ready();
    let joined = SteerConfig::new(0).with_pair(LOOPBACK, LOOPBACK);
    harness.configure(SteerConfig { flags: flags::BYPASS, ..joined });
    for (name, packet) in packets::gallery() {
        let passed = harness.run(&packet);
        assert_eq!((passed.action, passed.counted), (XDP_PASS, vec![(Counter::PassedBypass, 1)]), "{name}");
        assert_eq!(harness.run_tc(program::TO_HOST, &packet), (TC_ACT_OK, vec![]), "{name}");
    }
}

#[test]
fn with_the_address_on_vhost0_everything_goes_to_the_dataplane() {
    if !is_root("with_the_address_on_vhost0_everything_goes_to_the_dataplane") {
        return;
    }
    let (mut harness, _socket) = ready();
    harness.configure(SteerConfig::new(SECOND).with_pair(LOOPBACK, LOOPBACK));
    let host = packets::outer(LOCAL4, 6, &[0; 30]);
    let tunnel = packets::hex(packets::SPEC_GRE);
    let fate = |harness: &Harness, packet: &[u8]| {
        let outcome = harness.run(packet);
        assert_eq!(outcome.counted.len(), 1, "{outcome:?}");
        (outcome.action, outcome.counted[0].0)
    };
    let joined = |harness: &Harness, when: &str| {
        assert_eq!(fate(harness, &host), (XDP_PASS, Counter::JoinedToHost), "{when}");
        assert_eq!(harness.run_tc(program::TO_HOST, &host), (TC_ACT_REDIRECT, vec![]), "{when}");
        let sent = harness.run_tc(program::FROM_HOST, &host);
        assert_eq!(sent, (TC_ACT_REDIRECT, vec![(Counter::JoinedToFabric, 1)]), "{when}");
    };
    joined(&harness, "before the first beat");
    assert_eq!(fate(&harness, &tunnel), (XDP_DROP, Counter::DroppedStale));

    harness.beat(monotonic_ns());
    assert_eq!(fate(&harness, &host), (XDP_REDIRECT, Counter::RedirectedHost));
    assert_eq!(fate(&harness, &tunnel), (XDP_REDIRECT, Counter::RedirectedMplsGre));
    let taken = harness.run_tc(program::FROM_HOST, &host);
    assert_eq!(taken, (TC_ACT_SHOT, vec![(Counter::TakenFromHost, 1)]));

    harness.beat(monotonic_ns() - 2 * SECOND);
    joined(&harness, "two seconds after the last beat");
    harness.beat(monotonic_ns());
    harness.queue(0, 0);
    joined(&harness, "without a queue");
    harness.queue(5, 1);
    joined(&harness, "the process has died, and its sockets with it");
}

/// Every packet that does not go to a socket as a tunnel packet is the host's, whatever it is.
#[test]
fn with_the_address_on_vhost0_no_packet_reaches_the_kernel_behind_the_fabric_device() {
    if !is_root("with_the_address_on_vhost0_no_packet_reaches_the_kernel_behind_the_fabric_device") {
        return;
    }
    let (mut harness, _socket) = ready();
    harness.configure(SteerConfig::new(SECOND).with_pair(LOOPBACK, LOOPBACK));
    for beat in [0, 1] {
        for (name, packet) in packets::gallery() {
            harness.beat(monotonic_ns() * beat);
            let outcome = harness.run(&packet);
            let expected = match (classify(&packet, &LOCAL), beat) {
                (Expected::Tunnel { .. }, 0) => (XDP_DROP, Counter::DroppedStale),
                (Expected::Tunnel { tunnel, .. }, _) => (XDP_REDIRECT, redirected(tunnel)),
                (Expected::Other(_), 0) => (XDP_PASS, Counter::JoinedToHost),
                (Expected::Other(_), _) => (XDP_REDIRECT, Counter::RedirectedHost),
            };
            assert_eq!((outcome.action, outcome.counted), (expected.0, vec![(expected.1, 1)]), "{name}");
            assert_eq!(harness.run_tc(program::TO_HOST, &packet).0, TC_ACT_REDIRECT, "{name}");
        }
    }
}

#[test]
fn with_the_address_on_the_fabric_device_nothing_is_joined() {
    if !is_root("with_the_address_on_the_fabric_device_nothing_is_joined") {
        return;
    }
    let (harness, _socket) = ready();
    let host = packets::outer(LOCAL4, 6, &[0; 30]);
    assert_eq!(harness.run_tc(program::TO_HOST, &host), (TC_ACT_OK, vec![]));
}

#[test]
fn an_ipv4_endpoint_is_not_its_ipv6_look_alike() {
    if !is_root("an_ipv4_endpoint_is_not_its_ipv6_look_alike") {
        return;
    }
    let (harness, _socket) = ready();
    // An address whose last four bytes are those of the IPv4 endpoint.
    let look_alike = Ipv4Addr::new(172, 16, 0, 2).to_ipv6_compatible();
    let packet = packets::outer(look_alike.into(), 17, &packets::udp(1, 4789, &[0; 40]));
    assert_eq!(harness.run(&packet).counted, [(Counter::PassedNotLocal, 1)]);
}

#[test]
fn swallow_drops_and_counts() {
    if !is_root("swallow_drops_and_counts") {
        return;
    }
    let harness = Harness::new(SteerConfig::new(0));
    let packet = packets::hex(packets::SPEC_GRE);
    let length = packet.len() as u64;
    assert_eq!(harness.swallow(&packet), (TC_ACT_SHOT, 1, length));
    assert_eq!(harness.swallow(&packet), (TC_ACT_SHOT, 2, 2 * length));
}
