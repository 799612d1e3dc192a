use vr_types::TunnelKind;

use super::{EncapTemplate, Marking, Patch, ROOM, entropy_port, fit_lengths, port};
use crate::{Error, ipv4, mpls};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn headers(kind: TunnelKind, patch: Patch) -> Vec<u8> {
    let ethernet = bytes("002222222222 001111111111 0800");
    let (source, destination) = ("172.16.0.1".parse().unwrap(), "172.16.0.2".parse().unwrap());
    let template = EncapTemplate::new(kind, &ethernet, source, destination, port::MPLS, None).unwrap();
    let mut out = [0xaa; ROOM];
    template.write(&mut out, patch);
    out[ROOM - template.len()..].to_vec()
}

#[test]
fn worked_examples_of_the_specification() {
    let patch = Patch { payload: 32, id: 0x1234, label: 27, ttl: 63, source_port: 55000 };
    assert_eq!(
        headers(TunnelKind::MplsOverGre, patch),
        bytes("002222222222001111111111080045 00 003c12340000402f103cac100001ac100002 00008847 0001b13f")
    );
    assert_eq!(
        headers(TunnelKind::MplsOverUdp, patch),
        bytes(
            "002222222222001111111111080045 00 0040123400004011 1056ac100001ac100002 d6d819eb002c0000 0001b13f"
        )
    );
    let patch = Patch { payload: 46, id: 1, label: 5001, ttl: 64, source_port: 55000 };
    assert_eq!(
        headers(TunnelKind::Vxlan, patch),
        bytes(
            "002222222222001111111111080045 00 0052000100004011 2277ac100001ac100002 d6d812b5003e0000 0800000000138900"
        )
    );
}

#[test]
fn two_labels_and_inet6() {
    let ethernet = [0; 14];
    let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let template =
        EncapTemplate::new(TunnelKind::MplsOverUdp, &ethernet, source, destination, port::MPLS, Some(99))
            .unwrap();
    assert_eq!(template.len(), 14 + 40 + 8 + 8);
    let mut out = [0; ROOM];
    template.write(&mut out, Patch { payload: 100, id: 0, label: 27, ttl: 9, source_port: 50000 });
    let out = &out[ROOM - template.len()..];
    assert_eq!(out[62..], bytes("00063009 0001b109"));
    assert_eq!(out[18..20], 116u16.to_be_bytes());
}

#[test]
fn headers_that_do_not_fit_are_refused() {
    let (source, destination) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    assert!(EncapTemplate::new(TunnelKind::Vxlan, &[0; 30], source, destination, port::MPLS, None).is_err());
    let mixed = "10.0.0.1".parse().unwrap();
    assert!(EncapTemplate::new(TunnelKind::Vxlan, &[0; 14], mixed, destination, port::MPLS, None).is_err());
}

#[test]
fn marked_headers() {
    let (source, destination) = ("172.16.0.1".parse().unwrap(), "172.16.0.2".parse().unwrap());
    let marking = Marking { tos: 46 << 2, exp: 5, ttl: 3 };
    for (kind, label) in
        [(TunnelKind::MplsOverGre, Some(99)), (TunnelKind::MplsOverUdp, None), (TunnelKind::Vxlan, None)]
    {
        let template = EncapTemplate::new(kind, &[7; 14], source, destination, port::MPLS, label).unwrap();
        let mut out = [0; ROOM];
        let patch = Patch { payload: 100, id: 77, label: 27, ttl: 9, source_port: 50000 };
        template.write(&mut out, patch);
        let plain = out;
        template.mark(&mut out, marking);
        let frame = &out[ROOM - template.len()..];
        assert_eq!((frame[15], frame[22]), (46 << 2, 3));
        assert_eq!(ipv4::checksum_is_valid(&frame[14..]), Ok(true));
        let words = |bytes: &[u8; ROOM]| {
            [ROOM - 8, ROOM - 4].map(|at| mpls::Entry::from_bytes(*bytes[at..].first_chunk().unwrap()))
        };
        let [first, last] = words(&out);
        if kind == TunnelKind::Vxlan {
            assert_eq!(words(&out), words(&plain));
        } else {
            assert_eq!((last.exp(), last.label().0, last.ttl(), last.is_bottom()), (5, 27, 9, true));
        }
        if label.is_some() {
            assert_eq!((first.exp(), first.label().0, first.ttl(), first.is_bottom()), (5, 99, 9, false));
        }
        template.mark(&mut out, Marking { tos: 0, exp: 0, ttl: 64 });
        assert_eq!(out, plain);
    }
}

#[test]
fn lengths_of_another_payload() {
    for kind in TunnelKind::ALL {
        for addresses in [["172.16.0.1", "172.16.0.2"], ["fd00::1", "fd00::2"]] {
            let [source, destination] = addresses.map(|address| address.parse().unwrap());
            let template = EncapTemplate::new(kind, &[7; 14], source, destination, port::MPLS, None).unwrap();
            let frame = |payload: usize| {
                let patch = Patch { payload, id: 77, label: 27, ttl: 9, source_port: 50000 };
                let mut out = [0; ROOM];
                template.write(&mut out, patch);
                [&out[ROOM - template.len()..], &vec![1; payload]].concat()
            };
            let mut cut = frame(1300);
            cut.truncate(template.len() + 200);
            fit_lengths(&mut cut, 14).unwrap();
            assert_eq!(cut, frame(200));
            assert!(fit_lengths(&mut cut[..33], 14).is_err());
            cut.resize(80_000, 0);
            assert_eq!(fit_lengths(&mut cut, 14), Err(Error::Unsupported));
        }
    }
    assert_eq!(fit_lengths(&mut [0x55; 60], 14), Err(Error::Malformed));
    assert_eq!(fit_lengths(&mut [0x45; 60], 61), Err(Error::Truncated));
}

#[test]
fn entropy_ports() {
    assert_eq!([entropy_port(0), entropy_port(0x8000_0000), entropy_port(u32::MAX)], [49152, 57343, 65534]);
}
