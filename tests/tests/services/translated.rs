//! Address translation between a pod and hosts outside: sessions, and the errors of routers, which the senders' kernels
//! believe only if every checksum and every quoted header is right.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use vr_tests::echo::{Server, Session, ask};
use vr_tests::netns::Namespace;
use vr_tests::nodes::wait_until;
use vr_tests::ping::{Plan, arriving_ttls, ping};
use vr_tests::transfer::Transfer;

use crate::counter;
use crate::outside::{FAR, FLOATING, INNER_PORT, NARROW, NEAR, OUTER, Outside, SERVERS};

const PORT: u16 = 7000;
const MEBIBYTE: usize = 1 << 20;

/// ICMP types and codes (RFC 792).
const TIME_EXCEEDED: (u8, u8) = (11, 0);
const PORT_UNREACHABLE: (u8, u8) = (3, 3);

/// What a namespace has learnt about the way to an address: the largest packet.
fn learnt_mtu(namespace: &Namespace, target: Ipv4Addr) -> Option<u32> {
    let route = namespace.ip(&["route", "get", &target.to_string()]).unwrap();
    let mut words = route.split_whitespace();
    words.find(|word| *word == "mtu")?;
    words.next()?.parse().ok()
}

fn icmp_counter(namespace: &Namespace, name: &str) -> u64 {
    counter(namespace, "snmp", "Icmp", name)
}

#[test]
fn sessions_pass_and_both_senders_obey_a_narrow_link() {
    let mut outside = Outside::new("pmtu");
    let (pod, server) = (outside.pod().clone(), outside.server.clone());

    // The pod sends; its source address is translated.
    let servers = Server::start(&server, "server", (SERVERS[0], PORT).into()).unwrap();
    let session = Session::open(&pod, (SERVERS[0], PORT).into()).unwrap();
    assert_eq!(session.greeting.seen.ip(), IpAddr::V4(FLOATING));
    let answer = ask(&pod, (SERVERS[0], PORT).into()).unwrap();
    assert_eq!(answer.seen, (FLOATING, answer.own.port()).into());
    assert_eq!(learnt_mtu(&pod, SERVERS[1]), None);
    let bytes = 8 * MEBIBYTE as u64;
    let upload = Transfer { from: &pod, to: &server, address: SERVERS[1], bytes, pause: Duration::ZERO };
    let done = upload.run().unwrap();
    println!("upload by the floating address: {:.0} Mbit/s", done.rate());
    assert_eq!(learnt_mtu(&pod, SERVERS[1]), Some(NARROW), "the router's error has reached the sender");

    // The pod answers; ports are translated as well.
    let own = (outside.nodes.topology.pod(crate::outside::POD).address, INNER_PORT);
    let _pod_server = Server::start(&pod, "pod", own.into()).unwrap();
    server
        .ip(&["route", "replace", "default", "via", "203.0.113.1", "src", &SERVERS[2].to_string()])
        .unwrap();
    let mut session = Session::open(&server, OUTER).unwrap();
    assert_eq!(session.greeting.seen, session.greeting.own);
    assert_eq!(session.greeting.seen.ip(), IpAddr::V4(SERVERS[2]));
    assert_eq!(learnt_mtu(&pod, SERVERS[2]), None);
    let block: Vec<u8> = (0..64 * 1024_u32).map(|number| (number % 251) as u8).collect();
    for _ in 0..4 * MEBIBYTE / block.len() {
        session.exchange(&block).unwrap();
    }
    assert_eq!(learnt_mtu(&pod, SERVERS[2]), Some(NARROW), "the error about a translated port as well");
    let answer = ask(&server, OUTER).unwrap();
    assert_eq!((answer.server.as_str(), answer.seen), ("pod", answer.own));

    assert!(icmp_counter(&pod, "InDestUnreachs") >= 2);
    assert_eq!(icmp_counter(&pod, "InCsumErrors"), 0);
    drop(servers);
    outside.nodes.check().unwrap();
}

#[test]
fn pings_pass_in_both_directions() {
    let mut outside = Outside::new("natping");
    let plan = |target| Plan { target, count: 50, interval: Duration::from_millis(2) };
    let pings = || ping(outside.pod(), plan(SERVERS[0])).unwrap();
    let (outcome, ttls) = arriving_ttls(&outside.server, FLOATING, pings).unwrap();
    assert!(outcome.complete(), "{outcome:?}");
    assert_eq!(ttls.len(), 50, "the server sees the floating address");
    assert!(ping(&outside.server, plan(FLOATING)).unwrap().complete());
    outside.nodes.check().unwrap();
}

/// An error that came for a datagram: who sent it, ICMP type and code.
fn error_about(socket: &UdpSocket) -> (IpAddr, (u8, u8)) {
    let (mut bytes, mut space) = ([0; 512], nix::cmsg_space!(nix::libc::sock_extended_err, SockaddrIn));
    let mut error = None;
    wait_until("an error", || {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_ERRQUEUE;
        let Ok(message) = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags)
        else {
            return false;
        };
        error = message.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::Ipv4RecvErr(error, Some(from)) => {
                let from = Ipv4Addr::from_bits(u32::from_be(from.sin_addr.s_addr));
                Some((IpAddr::V4(from), (error.ee_type, error.ee_code)))
            }
            _ => None,
        });
        error.is_some()
    });
    error.unwrap()
}

fn connected(namespace: &Namespace, target: SocketAddr) -> UdpSocket {
    let open = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        Ok::<_, std::io::Error>(socket)
    };
    let socket = namespace.run(open).unwrap().unwrap();
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

/// As `traceroute` does it. The first hop, the node of the pod, has its agent send the error.
#[test]
fn errors_of_every_router_reach_the_socket_behind_the_translation() {
    let mut outside = Outside::new("trace");
    let hops = [(3, NEAR, TIME_EXCEEDED), (4, FAR, TIME_EXCEEDED), (5, SERVERS[0], PORT_UNREACHABLE)];
    for (ttl, from, what) in hops {
        let socket = connected(outside.pod(), (SERVERS[0], 33_434 + ttl as u16).into());
        socket.set_ttl(ttl).unwrap();
        socket.send(&[b'x'; 40]).unwrap();
        assert_eq!(error_about(&socket), (IpAddr::V4(from), what), "TTL {ttl}");
    }
    assert!(icmp_counter(outside.pod(), "InTimeExcds") >= 2);
    assert_eq!(icmp_counter(outside.pod(), "InCsumErrors"), 0);

    // Nobody listens at the pod's port: its error is translated on its way out.
    let socket = connected(&outside.server, OUTER);
    socket.send(b"anybody?").unwrap();
    assert_eq!(error_about(&socket), (IpAddr::V4(FLOATING), PORT_UNREACHABLE));
    assert_eq!(icmp_counter(&outside.server, "InCsumErrors"), 0);
    outside.nodes.check().unwrap();
}
