//! Comparison of frames, and a few words about them for people.

use std::fmt::Write;

use vr_wire::checksum;

use crate::steps::{Expect, Mask, masked};

/// The lowest source port of outer headers.
const FIRST_ENTROPY_PORT: u16 = 49152;

/// What differs from the recorded frame; `None` if nothing does.
pub(crate) fn difference(frame: &[u8], recorded: &Expect) -> Option<String> {
    let wanted = &recorded.frame;
    let bad: Vec<usize> = (0..frame.len().max(wanted.len()))
        .filter(|at| !masked(&recorded.mask, *at) && frame.get(*at) != wanted.get(*at))
        .collect();
    let complaint = if bad.is_empty() {
        implausible(frame, &recorded.mask)?
    } else {
        format!("{} bytes differ (length {}, recorded {})", bad.len(), frame.len(), wanted.len())
    };
    let mut text = String::new();
    writeln!(text, "    got:      {}", describe(&recorded.vif, frame)).unwrap();
    writeln!(text, "    recorded: {}", recorded.text).unwrap();
    writeln!(text, "    {complaint}").unwrap();
    text += &hex(frame, wanted, &bad);
    Some(text)
}

/// What is wrong with masked bytes: checksums must be right, ports in their range.
fn implausible(frame: &[u8], mask: &[Mask]) -> Option<String> {
    mask.iter().find_map(|Mask { offset, why, .. }| {
        let offset = *offset;
        let wrong = match why.as_str() {
            "outer IPv4 checksum" => !checksum::is_valid(&frame[offset - 10..offset + 10]),
            "UDP checksum" => {
                let header = &frame[offset - 26..];
                let [source, destination] = [12, 16].map(|at| *header[at..].first_chunk::<4>().unwrap());
                let len = usize::from(u16::from_be_bytes([frame[offset - 2], frame[offset - 1]]));
                let message = &frame[offset - 6..offset - 6 + len];
                frame[offset..offset + 2] != [0, 0]
                    && !checksum::inet_l4_is_valid(&source, &destination, 17, message)
            }
            "UDP entropy source port" => {
                u16::from_be_bytes([frame[offset], frame[offset + 1]]) < FIRST_ENTROPY_PORT
            }
            _ => false,
        };
        wrong.then(|| format!("{why} at {offset} is wrong"))
    })
}

/// Lines of sixteen bytes that differ, ours above the recorded ones.
pub(crate) fn hex(ours: &[u8], recorded: &[u8], bad: &[usize]) -> String {
    let mut text = String::new();
    let mut lines: Vec<usize> = bad.iter().map(|at| at / 16 * 16).collect();
    lines.dedup();
    for line in lines.into_iter().take(12) {
        for (title, bytes) in [("got", ours), ("recorded", recorded)] {
            write!(text, "      {title:>8} {line:04x} ").unwrap();
            for (at, byte) in bytes.iter().enumerate().skip(line).take(16) {
                let sign = if bad.contains(&at) { '*' } else { ' ' };
                write!(text, "{sign}{byte:02x}").unwrap();
            }
            text.push('\n');
        }
    }
    text
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |word| u16::from_be_bytes([word[0], word[1]]))
}

fn dotted(bytes: &[u8], at: usize) -> String {
    bytes.get(at..at + 4).map_or("?".to_owned(), |a| format!("{}.{}.{}.{}", a[0], a[1], a[2], a[3]))
}

/// The headers of a frame in a line.
pub(crate) fn describe(vif: &str, frame: &[u8]) -> String {
    if vif == "unix" && frame.len() >= 44 {
        let word = |at| u32::from(be16(frame, at)) << 16 | u32::from(be16(frame, at + 2));
        let params: Vec<String> = (0..5).map(|i| word(20 + 4 * i).to_string()).collect();
        return format!(
            "pkt0{{vif {} vrf {} reason {} params {},{}}} {}",
            be16(frame, 14),
            be16(frame, 16),
            be16(frame, 18),
            params.join(","),
            frame[40],
            describe("", &frame[44..])
        );
    }
    let mac = |at: usize| {
        let octets: Vec<String> = frame.iter().skip(at).take(6).map(|byte| format!("{byte:02x}")).collect();
        octets.join(":")
    };
    let mut at = 12;
    let mut text = format!("{} > {}", mac(6), mac(0));
    while be16(frame, at) == 0x8100 {
        write!(text, " | vlan {}", be16(frame, at + 2) & 0xfff).unwrap();
        at += 4;
    }
    match be16(frame, at) {
        0x0800 => text += &describe_inet(frame.get(at + 2..).unwrap_or_default()),
        0x0806 => {
            let operation = if be16(frame, at + 8) == 1 { "request" } else { "reply" };
            write!(text, " | arp {operation} {} > {}", dotted(frame, at + 16), dotted(frame, at + 26))
                .unwrap();
        }
        ethertype => write!(text, " | type {ethertype:04x}").unwrap(),
    }
    write!(text, " ({} bytes)", frame.len()).unwrap();
    text
}

fn describe_inet(packet: &[u8]) -> String {
    let header = usize::from(packet.first().copied().unwrap_or(0) & 0xf) * 4;
    let (ttl, protocol) = (packet.get(8).copied().unwrap_or(0), packet.get(9).copied().unwrap_or(0));
    let mut text = format!(
        " | ip {} > {} ttl {ttl} id {:#x} len {} protocol {protocol}",
        dotted(packet, 12),
        dotted(packet, 16),
        be16(packet, 4),
        be16(packet, 2),
    );
    let label = |at: usize| (u32::from(be16(packet, at)) << 16 | u32::from(be16(packet, at + 2))) >> 12;
    match (protocol, be16(packet, header + 2)) {
        (47, 0x8847) => write!(text, " | gre label {}", label(header + 4)).unwrap(),
        (17, port @ (6635 | 51234)) => {
            write!(text, " | udp {} > {port} label {}", be16(packet, header), label(header + 8)).unwrap();
        }
        (17, 4789) => {
            let frame = packet.get(header + 16..).unwrap_or_default();
            let vni = label(header + 12) << 4 | u32::from(be16(packet, header + 14)) >> 12;
            write!(text, " | vxlan {} [{}]", vni >> 8, describe("", frame)).unwrap();
        }
        (6 | 17, port) => write!(text, " | ports {} > {port}", be16(packet, header)).unwrap(),
        _ => {}
    }
    text
}
