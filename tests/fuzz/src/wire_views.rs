use vr_types::Mac;
use vr_wire::agent_header::{AgentHeader, Form};
use vr_wire::arp::Arp;
use vr_wire::encap::{fit_lengths, port};
use vr_wire::ethernet::{self, Ethernet, ethertype};
use vr_wire::fragment::FragmentPlan;
use vr_wire::icmp::{self, Icmp};
use vr_wire::ipv4::{self, Ipv4};
use vr_wire::ipv6::fragment::{self, Fragment};
use vr_wire::ipv6::{self, Ipv6};
use vr_wire::ndisc::{self, Solicitation};
use vr_wire::sctp::Sctp;
use vr_wire::segment::GsoPlan;
use vr_wire::tcp::{self, Tcp};
use vr_wire::udp::{self, Udp};
use vr_wire::vlan::{self, Tag};
use vr_wire::vxlan::{self, Vxlan};
use vr_wire::{checksum, gre, mpls, protocol};

/// Headers inside headers that are followed: tags, tunnels, quoted packets.
const MAX_DEPTH: usize = 12;

/// Looks at a frame as a receiver would, at every header that it finds, and cuts it to pieces.
///
/// Two bytes of `data` are the size of segments and fragments; the frame is behind them.
///
/// # Panics
///
/// If pieces do not make the packet that they were cut from, or a mended checksum is not the computed one.
pub fn wire_views(data: &[u8]) {
    let Some(([high, low], frame)) = data.split_first_chunk() else { return };
    let size = usize::from(u16::from_be_bytes([*high, *low]));
    for form in [Form::Current, Form::R220] {
        if let Ok(header) = AgentHeader::parse(frame, form) {
            assert_eq!(AgentHeader::parse(&header.to_bytes(), form), Ok(header));
        }
    }
    tagging(frame);
    Walk { frame, size }.ethernet(0, MAX_DEPTH);
}

fn tagging(frame: &[u8]) {
    let mut untagged = frame.to_vec();
    if let Some(tag) = vlan::pop(&mut untagged) {
        assert!(vlan::push(&mut untagged, tag.tpid(), tag.tci()));
        assert_eq!(untagged, frame);
    }
}

struct Walk<'a> {
    frame: &'a [u8],
    /// Size of segments and fragments.
    size: usize,
}

impl<'a> Walk<'a> {
    fn from(&self, at: usize) -> &'a [u8] {
        self.frame.get(at..).unwrap_or_default()
    }

    fn ethernet(&self, at: usize, depth: usize) {
        if let Ok(header) = Ethernet::new_checked(self.from(at)) {
            self.of_type(header.ethertype(), at + ethernet::LEN, depth);
        }
    }

    fn of_type(&self, kind: u16, at: usize, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match kind {
            // The last two bytes of the type and the tag itself are a header of the view.
            ethertype::VLAN | ethertype::SERVICE_VLAN => {
                let Ok(tag) = Tag::new_checked(self.from(at - 2)) else { return };
                assert!(tag.id() < 4096 && tag.priority() < 8);
                if let Some(next) = self.from(at + 2).first_chunk() {
                    self.of_type(u16::from_be_bytes(*next), at + vlan::LEN, depth);
                }
            }
            ethertype::INET => self.inet(at, depth),
            ethertype::INET6 => self.inet6(at, depth),
            ethertype::ARP => arp(self.from(at)),
            ethertype::MPLS => self.mpls(at, depth),
            _ => {}
        }
    }

    fn inet(&self, at: usize, depth: usize) {
        let packet = self.from(at);
        let Ok(header) = Ipv4::new_checked(packet) else {
            assert!(ipv4::header(packet).is_err() && ipv4::checksum_is_valid(packet).is_err());
            return;
        };
        mended(packet);
        self.cut(at);
        if header.fragment_offset() == 0 {
            self.transport(header.protocol(), at + header.header_len(), depth);
        }
    }

    fn inet6(&self, at: usize, depth: usize) {
        let packet = self.from(at);
        if let Ok(asked) = Solicitation::parse(packet) {
            let answer = ndisc::advertisement(&asked, Mac::VIRTUAL_ROUTER, true);
            let header = Ipv6::new_checked(&answer).expect("an IPv6 header");
            let (source, destination) = (header.source(), header.destination());
            assert!(checksum::inet6_l4_is_valid(&source, &destination, 58, &answer[ipv6::LEN..]));
        }
        let Ok(header) = Ipv6::new_checked(packet) else { return };
        self.cut(at);
        let behind = at + ipv6::LEN;
        if header.next_header() != protocol::FRAGMENT {
            self.transport(header.next_header(), behind, depth);
        } else if let Ok(part) = Fragment::new_checked(self.from(behind))
            && part.offset() == 0
        {
            self.transport(part.next_header(), behind + fragment::LEN, depth);
        }
    }

    fn transport(&self, kind: u8, at: usize, depth: usize) {
        let message = self.from(at);
        match kind {
            protocol::UDP => self.udp(at, depth),
            protocol::TCP => clamp(message, self.size),
            protocol::SCTP => drop(Sctp::new_checked(message)),
            protocol::GRE => {
                if let Ok(header) = gre::parse(message) {
                    assert!(header.len <= message.len());
                    self.of_type(header.protocol, at + header.len, depth);
                }
            }
            protocol::ICMP | protocol::ICMPV6 => self.icmp(kind, at, depth),
            _ => {}
        }
    }

    fn icmp(&self, kind: u8, at: usize, depth: usize) {
        let message = self.from(at);
        assert_eq!(Icmp::new_checked(message).is_ok(), icmp::quoted(message).is_ok());
        let Some(depth) = depth.checked_sub(1) else { return };
        match Icmp::new_checked(message) {
            Ok(header) if kind == protocol::ICMP && icmp::v4::is_error(header.kind()) => {
                self.inet(at + icmp::LEN, depth);
            }
            Ok(header) if kind == protocol::ICMPV6 && icmp::v6::is_error(header.kind()) => {
                self.inet6(at + icmp::LEN, depth);
            }
            _ => {}
        }
    }

    fn udp(&self, at: usize, depth: usize) {
        let Ok(header) = Udp::new_checked(self.from(at)) else { return };
        let payload = at + udp::LEN;
        match header.destination_port() {
            port::MPLS | port::MPLS_OLD => self.mpls(payload, depth),
            port::VXLAN => {
                let Ok(header) = Vxlan::new_checked(self.from(payload)) else { return };
                if header.vni().is_some()
                    && let Some(depth) = depth.checked_sub(1)
                {
                    self.ethernet(payload + vxlan::LEN, depth);
                }
            }
            _ => {}
        }
    }

    fn mpls(&self, at: usize, depth: usize) {
        let Ok((_, len)) = mpls::top(self.from(at)) else { return };
        let Some(depth) = depth.checked_sub(1) else { return };
        match self.from(at + len).first().map(|first| first >> 4) {
            Some(4) => self.inet(at + len, depth),
            Some(6) => self.inet6(at + len, depth),
            _ => self.ethernet(at + len + mpls::LEN, depth),
        }
    }

    /// Cuts the packet at this offset in both ways.
    fn cut(&self, at: usize) {
        if let Ok(plan) = GsoPlan::new(self.frame, at, self.size) {
            segments(&plan, self.frame, at);
            if let Ok(smaller) = plan.limited_to(self.size / 2 + plan.header_len()) {
                segments(&smaller, self.frame, at);
            }
        }
        if let Ok(plan) = FragmentPlan::new(self.frame, at, self.size) {
            fragments(&plan, self.frame, at, self.size);
        }
        let _ = fit_lengths(&mut self.frame.to_vec(), at);
    }
}

fn arp(body: &[u8]) {
    let mut body = body.to_vec();
    let Ok(mut view) = Arp::new_checked_mut(&mut body) else { return };
    let (asker, requested) = (view.sender(), view.target());
    view.answer(Mac::VIRTUAL_ROUTER);
    assert_eq!((view.sender(), view.target(), view.is_request()), (requested, asker, false));
}

/// Changes to an IPv4 header that has a right checksum keep it right.
fn mended(packet: &[u8]) {
    let mut packet = packet.to_vec();
    ipv4::fill_checksum(&mut packet).expect("a sound header");
    let mut header = Ipv4::new_checked_mut(&mut packet).expect("a sound header");
    header.decrement_ttl();
    header.replace_tos(0xb8);
    assert_eq!(ipv4::checksum_is_valid(&packet), Ok(true));
}

/// Lowers the maximum segment size; the checksum follows.
fn clamp(message: &[u8], size: usize) {
    let mut message = message.to_vec();
    let Ok(mut header) = Tcp::new_checked_mut(&mut message) else { return };
    header.set_checksum(0);
    let check = checksum::of(&message);
    Tcp::new_checked_mut(&mut message).expect("a sound header").set_checksum(check);
    let limit = size as u16;
    if tcp::clamp_max_segment_size(&mut message, limit, false) == Ok(true) {
        assert!(checksum::is_valid(&message));
        let announced = tcp::max_segment_size(&message).expect("a sound header");
        assert_eq!(announced.map(|(_, size)| size), Some(limit));
    }
}

fn segments(plan: &GsoPlan, frame: &[u8], network: usize) {
    let mut payload = Vec::new();
    let mut out = vec![0; plan.longest()];
    for index in 0..plan.segments() {
        let len = plan.write(index, frame, &mut out).expect("a segment");
        let segment = &out[..len];
        payload.extend_from_slice(&segment[plan.header_len()..]);
        let packet = &segment[network..];
        if let Ok(header) = Ipv4::new_checked(packet) {
            assert_eq!(usize::from(header.total_len()), packet.len());
            assert_eq!(ipv4::checksum_is_valid(packet), Ok(true));
            let message = &packet[header.header_len()..];
            let (source, destination) = (header.source(), header.destination());
            assert!(checksum::inet_l4_is_valid(&source, &destination, header.protocol(), message));
        } else {
            let header = Ipv6::new_checked(packet).expect("an IPv6 header");
            let message = &packet[ipv6::LEN..];
            assert_eq!(usize::from(header.payload_len()), message.len());
            let (source, destination) = (header.source(), header.destination());
            assert!(checksum::inet6_l4_is_valid(&source, &destination, header.next_header(), message));
        }
    }
    assert!(frame[plan.header_len()..].starts_with(&payload));
}

fn fragments(plan: &FragmentPlan, frame: &[u8], network: usize, size: usize) {
    let mut payload = Vec::new();
    let mut out = vec![0; frame.len()];
    let whole = Ipv4::new_checked(&frame[network..]).expect("an IPv4 header");
    let headers = network + whole.header_len();
    for index in 0..plan.fragments() {
        let len = plan.write(index, frame, &mut out).expect("a fragment");
        assert!(len <= size);
        let packet = &out[network..len];
        let header = Ipv4::new_checked(packet).expect("an IPv4 header");
        assert_eq!(ipv4::checksum_is_valid(packet), Ok(true));
        assert_eq!(header.fragment_offset(), whole.fragment_offset() + payload.len());
        let is_last = index + 1 == plan.fragments();
        assert_eq!(header.more_fragments(), !is_last || whole.more_fragments());
        payload.extend_from_slice(&out[headers..len]);
    }
    assert_eq!(headers + payload.len(), network + usize::from(whole.total_len()));
    assert!(frame[headers..].starts_with(&payload));
}
