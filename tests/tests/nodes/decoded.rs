//! What daemons send to each other, decoded by tshark down to what the pods have sent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;

use agent_sim::topology::{Reach, Tunnel};

use crate::capture::{Capture, write_pcap};
use crate::pair::{PATIENCE, Pair};

/// No protocol is registered for these, so that nobody looks into the contents.
const PORT: u16 = 40_404;
const SOURCE_PORTS: &str = "40500 40600";
const BYTES: usize = 512 * 1024;
const PINGS: u16 = 5;
const DATAGRAMS: [usize; 5] = [0, 1, 18, 700, 1422];

/// Of the severities in tshark's `epan/expert.h`, warnings and above are complaints.
const WARNING: u32 = 0x0060_0000;
/// Of the groups there, this one is about losses, not about how packets are made.
const SEQUENCE: u32 = 0x0200_0000;

/// One packet in tshark's words.
#[derive(Debug)]
struct Decoded {
    protocols: String,
    sources: String,
    destinations: String,
    checksums: String,
    severities: String,
    groups: String,
    message: String,
}

const FIELDS: [&str; 9] = [
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "_ws.expert.severity",
    "_ws.expert.group",
    "_ws.expert.message",
];

/// Has tshark decode a file, and check checksums.
fn decode(file: &Path) -> Vec<Decoded> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-T", "fields", "-E", "separator=|", "-E", "aggregator=,"]);
    for option in [
        "ip.check_checksum:TRUE",
        "tcp.check_checksum:TRUE",
        "udp.check_checksum:TRUE",
        "tcp.analyze_sequence_numbers:FALSE",
    ] {
        command.args(["-o", option]);
    }
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is missing; `cargo xtask install-packages` installs it");
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(Decoded::parse).collect()
}

impl Decoded {
    fn parse(line: &str) -> Self {
        let mut columns = line.splitn(FIELDS.len(), '|').map(str::to_owned);
        let mut next = || columns.next().unwrap();
        let (protocols, sources, destinations) = (next(), next(), next());
        let checksums = [next(), next(), next()].join(",");
        Self {
            protocols,
            sources,
            destinations,
            checksums,
            severities: next(),
            groups: next(),
            message: next(),
        }
    }

    /// Nothing is malformed, no checksum is wrong.
    fn check(&self) {
        let numbers = |text: &str| -> Vec<u32> {
            text.split(',')
                .filter(|number| !number.is_empty())
                .map(|number| number.parse().unwrap())
                .collect()
        };
        let (severities, groups) = (numbers(&self.severities), numbers(&self.groups));
        assert_eq!(severities.len(), groups.len(), "{self:?}");
        let mut complaints = severities.into_iter().zip(groups);
        let is_complaint = |(severity, group)| severity >= WARNING && group != SEQUENCE;
        assert!(!complaints.any(is_complaint), "{self:?}");
        assert!(!self.protocols.contains("malformed") && !self.message.contains("alformed"), "{self:?}");
        // 0 is bad, 4 illegal.
        assert!(!self.checksums.split(',').any(|status| matches!(status, "0" | "4")), "{self:?}");
    }
}

/// Pings, datagrams and a TCP transfer between the pods.
fn traffic(pair: &Pair) {
    assert!(pair.pings(PINGS));
    let target = pair.pod_address(1);
    let [near, far] = [(0, 40_405), (1, PORT)].map(|(node, port)| {
        let address = pair.pod_address(node);
        let socket = pair.pods[node].run(|| UdpSocket::bind((address, port))).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    });
    let mut buffer = [0; 2048];
    for length in DATAGRAMS {
        near.send_to(&vec![b'u'; length], (target, PORT)).unwrap();
        let (received, from) = far.recv_from(&mut buffer).unwrap();
        far.send_to(&buffer[..received], from).unwrap();
        assert_eq!(near.recv(&mut buffer).unwrap(), length);
    }
    let listener = pair.pods[1].run(|| TcpListener::bind((target, PORT))).unwrap().unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let connect = || TcpStream::connect_timeout(&(target, PORT).into(), PATIENCE);
        let mut stream = pair.pods[0].run(connect).unwrap().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&vec![b't'; BYTES]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), BYTES);
        receiver.join().unwrap();
    });
}

/// Every packet between the nodes has these headers around what the pods sent; enough of each kind were there.
fn check(pair: &Pair, decoded: &[Decoded], headers: &str) {
    let nodes = [0, 1].map(|node| pair.topology.nodes[node].address);
    let pods = [0, 1].map(|node| pair.pod_address(node));
    let both = |outer: Ipv4Addr, inner: Ipv4Addr| format!("{outer},{inner}");
    let [there, back] = [[0, 1], [1, 0]].map(|way| way.map(|node| both(nodes[node], pods[node])));
    let (mut icmp, mut udp, mut tcp) = (0, 0, 0);
    for packet in decoded {
        packet.check();
        let Some(inner) = packet.protocols.strip_prefix(headers) else {
            assert!(!packet.protocols.contains(":ip"), "not in a tunnel: {packet:?}");
            continue;
        };
        let ends = [packet.sources.clone(), packet.destinations.clone()];
        assert!(ends == there || ends == back, "{packet:?}");
        match inner {
            "icmp:data" => icmp += 1,
            "udp" | "udp:data" => udp += 1,
            "tcp" | "tcp:data" => tcp += 1,
            _ => panic!("neither a ping nor a datagram nor TCP: {packet:?}"),
        }
    }
    assert!(icmp >= 2 * usize::from(PINGS), "{icmp} of ICMP");
    assert_eq!(udp, 2 * DATAGRAMS.len());
    assert!(tcp >= 2 * BYTES / 1450, "{tcp} of TCP");
}

fn decodes(title: &str, tunnel: Tunnel, reach: Reach, headers: &str) {
    let mut pair = Pair::new(title);
    pair.use_way(tunnel, reach);
    pair.pods[0].sysctl("net/ipv4/ip_local_port_range", SOURCE_PORTS).unwrap();
    pair.wait_connected();
    let capture = Capture::start(&pair.segment);
    traffic(&pair);
    let file = pair.directory().join("underlay.pcap");
    write_pcap(&file, &capture.finish());
    let decoded = decode(&file);
    check(&pair, &decoded, headers);
    let report = vr_observe::fetch(&pair.sockets(1)).unwrap();
    assert_eq!(report.workers.len(), 2);
    assert!(
        report.workers.iter().any(|worker| worker.handed_off > 0),
        "fabric and pod have different workers"
    );
}

#[test]
fn vxlan_between_bridged_pods() {
    decodes("vxlan", Tunnel::Vxlan, Reach::Bridged, "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:");
}

#[test]
fn mpls_over_udp_between_routed_pods() {
    decodes("udp", Tunnel::MplsOverUdp, Reach::Routed, "eth:ethertype:ip:udp:mpls:ip:");
}

#[test]
fn mpls_over_gre_between_routed_pods() {
    decodes("gre", Tunnel::MplsOverGre, Reach::Routed, "eth:ethertype:ip:gre:mpls:ip:");
}

/// tshark would notice: the same capture with one wrong byte.
#[test]
fn a_wrong_checksum_is_noticed() {
    let mut pair = Pair::new("wrong");
    pair.use_way(Tunnel::MplsOverUdp, Reach::Routed);
    pair.wait_connected();
    let capture = Capture::start(&pair.segment);
    assert!(pair.pings(1));
    let mut frames = capture.finish();
    let tunnelled = |frame: &&mut Vec<u8>| frame.len() > 60 && frame[12..14] == [8, 0];
    let frame = frames.iter_mut().find(tunnelled).unwrap();
    // TTL of the inner packet: Ethernet 14, IPv4 20, UDP 8, MPLS 4, and 8.
    frame[54] ^= 1;
    let file = pair.directory().join("wrong.pcap");
    write_pcap(&file, &frames);
    let wrong =
        decode(&file).iter().filter(|packet| packet.checksums.split(',').any(|status| status == "0")).count();
    assert_eq!(wrong, 1);
}
