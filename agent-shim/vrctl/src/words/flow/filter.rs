//! What `flow --match` selects.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::flows::Flow;

/// One end of a flow; what is absent matches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    address: Option<IpAddr>,
    port: Option<u16>,
}

/// `ADDRESS[:PORT][,ADDRESS[:PORT]] [& proto PROTOCOL] [& vrf VRF]`, where `*` is any address or port and an
/// IPv6 address stands in brackets. A flow matches in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    ends: Vec<End>,
    protocol: Option<u8>,
    vrf: Option<u16>,
}

impl Filter {
    pub(super) fn matches(&self, flow: &Flow) -> bool {
        let is = |end: &End, address: IpAddr, port: u16| {
            end.address.is_none_or(|wanted| wanted == address) && end.port.is_none_or(|wanted| wanted == port)
        };
        let source = |end: &End| is(end, flow.source, flow.source_port);
        let destination = |end: &End| is(end, flow.destination, flow.destination_port);
        let ends = match self.ends.as_slice() {
            [] => true,
            [one] => source(one) || destination(one),
            [one, other, ..] => source(one) && destination(other) || source(other) && destination(one),
        };
        ends && self.protocol.is_none_or(|protocol| protocol == flow.protocol)
            && self.vrf.is_none_or(|vrf| vrf == flow.vrf)
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut filter = Self { ends: Vec::new(), protocol: None, vrf: None };
        for part in text.split('&').map(str::trim).filter(|part| !part.is_empty()) {
            if let Some(protocol) = part.strip_prefix("proto ") {
                filter.protocol = Some(protocol_number(protocol.trim())?);
            } else if let Some(vrf) = part.strip_prefix("vrf ") {
                filter.vrf = Some(vrf.trim().parse().map_err(|_| format!("`{vrf}` is no VRF"))?);
            } else {
                filter.ends = part.split(',').map(end).collect::<Result<_, _>>()?;
            }
        }
        if filter.ends.len() > 2 { Err("a flow has two ends".to_owned()) } else { Ok(filter) }
    }
}

fn protocol_number(text: &str) -> Result<u8, String> {
    match text {
        "icmp" => Ok(1),
        "tcp" => Ok(6),
        "udp" => Ok(17),
        "icmp6" | "icmpv6" => Ok(58),
        "sctp" => Ok(132),
        number => number.parse().map_err(|_| format!("`{number}` is no protocol")),
    }
}

fn end(text: &str) -> Result<End, String> {
    let text = text.trim();
    let bad = || format!("`{text}` is no address and port");
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad)?;
            (address, port.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port))),
    };
    let address = if address == "*" { None } else { Some(address.parse().map_err(|_| bad())?) };
    let port = match port {
        None | Some("*") => None,
        Some(port) => Some(port.parse().map_err(|_| bad())?),
    };
    Ok(End { address, port })
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |value: Option<String>| value.unwrap_or_else(|| "*".to_owned());
        let mut parts: Vec<String> = Vec::new();
        let ends = self.ends.iter().map(|end| {
            let (address, port) = (end.address.map(|a| a.to_string()), end.port.map(|p| p.to_string()));
            format!("[{}]:{}", any(address), any(port))
        });
        let ends: Vec<String> = ends.collect();
        if !ends.is_empty() {
            parts.push(ends.join(", "));
        }
        parts.extend(self.protocol.map(|protocol| format!("proto {}", super::names::protocol(protocol))));
        parts.extend(self.vrf.map(|vrf| format!("vrf {vrf}")));
        formatter.write_str(&parts.join(" & "))
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn expressions_are_read_and_told() {
        let told = |text: &str| text.parse::<Filter>().map(|filter| filter.to_string());
        assert_eq!(told("10.0.0.10").unwrap(), "[10.0.0.10]:*");
        assert_eq!(
            told("10.0.0.3:80, [fd00::1]:* & proto tcp & vrf 5").unwrap(),
            "[10.0.0.3]:80, [fd00::1]:* & proto TCP & vrf 5"
        );
        assert_eq!(told("*:53&proto 17").unwrap(), "[*]:53 & proto UDP");
        for bad in ["x", "1.2.3.4:70000", "[fd00::1", "1.1.1.1,2.2.2.2,3.3.3.3", "proto x", "vrf -1"] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }
}
