//! The committed program in this kernel, packet by packet: verdict, counters and metadata.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
};
use steer_abi::{Counter, HostMode, SteerConfig, SteerMeta, Tunnel, TunnelSet, flags};
use steer_loader::monotonic_ns;
use support::{
    harness::{Harness, Outcome, XDP_DROP, XDP_PASS, XDP_REDIRECT},
    is_root,
    model::{Expected, classify},
    packets::{self, LOCAL4, LOCAL6, OTHER4},
    xsk::Xsk,
};

const LOCAL: [IpAddr; 2] = [LOCAL4, LOCAL6];

/// A program with both endpoints and one socket, without a heartbeat check.
fn ready() -> (Harness, Xsk) {
    let mut harness = Harness::new(SteerConfig::new(HostMode::Nic, 0));
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
        let mut alone = Harness::new(SteerConfig::new(HostMode::Nic, 0));
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
    let second = 1_000_000_000;
    harness.configure(SteerConfig::new(HostMode::Nic, second));
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
    harness.beat(monotonic_ns() + second / 100);
    assert_eq!(harness.run(&packet).action, XDP_REDIRECT, "ahead of the coarse clock");
    harness.beat(monotonic_ns() - 2 * second);
    stale(&harness, "two seconds ago");
}

#[test]
fn bypass_passes_everything() {
    if !is_root("bypass_passes_everything") {
        return;
    }
    let (mut harness, _socket) = ready();
    harness.configure(SteerConfig { flags: flags::BYPASS, ..SteerConfig::new(HostMode::Vhost0, 0) });
    for (name, packet) in packets::gallery() {
        let passed = harness.run(&packet);
        assert_eq!((passed.action, passed.counted), (XDP_PASS, vec![(Counter::PassedBypass, 1)]), "{name}");
    }
}

#[test]
fn with_the_address_on_vhost0_everything_goes_to_the_dataplane() {
    if !is_root("with_the_address_on_vhost0_everything_goes_to_the_dataplane") {
        return;
    }
    let (mut harness, _socket) = ready();
    let loopback = 1;
    let mut config =
        SteerConfig { cross_ifindex: loopback, ..SteerConfig::new(HostMode::Vhost0, 1_000_000_000) };
    harness.configure(config);
    let host = packets::outer(LOCAL4, 6, &[0; 30]);
    let tunnel = packets::hex(packets::SPEC_GRE);
    let fate = |harness: &Harness, packet: &[u8]| {
        let outcome = harness.run(packet);
        (outcome.action, outcome.counted[0].0)
    };
    assert_eq!(fate(&harness, &host), (XDP_REDIRECT, Counter::CrossConnected));
    assert_eq!(fate(&harness, &tunnel), (XDP_DROP, Counter::DroppedStale));
    harness.beat(monotonic_ns());
    assert_eq!(fate(&harness, &host), (XDP_REDIRECT, Counter::RedirectedHost));
    assert_eq!(fate(&harness, &tunnel), (XDP_REDIRECT, Counter::RedirectedMplsGre));
    harness.queue(0, 0);
    assert_eq!(fate(&harness, &host), (XDP_REDIRECT, Counter::CrossConnected), "no socket");
    config.cross_ifindex = 0;
    harness.configure(config);
    assert_eq!(fate(&harness, &host), (XDP_PASS, Counter::PassedOther), "nobody to connect with");
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
    const TC_ACT_SHOT: u32 = 2;
    if !is_root("swallow_drops_and_counts") {
        return;
    }
    let harness = Harness::new(SteerConfig::new(HostMode::Nic, 0));
    let packet = packets::hex(packets::SPEC_GRE);
    let length = packet.len() as u64;
    assert_eq!(harness.swallow(&packet), (TC_ACT_SHOT, 1, length));
    assert_eq!(harness.swallow(&packet), (TC_ACT_SHOT, 2, 2 * length));
}
