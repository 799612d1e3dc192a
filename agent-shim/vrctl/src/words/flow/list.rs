//! `flow -l`.

use std::io::{self, Write};

use sandesh::constants::flow_flag::{VR_FLOW_FLAG_EVICTED, VR_FLOW_FLAG_MIRROR, VR_FLOW_FLAG_VRFT};

use super::names;
use crate::flows::{Flow, FlowTable};
use crate::text;

/// Width of a line that is not broken, without the comma at its end.
const WIDTH: usize = 80;
const TCP: u8 = 6;
const NO_MIRROR: u8 = 255;

const LEGEND: &str = "
Action:F=Forward, D=Drop N=NAT(S=SNAT, D=DNAT, Ps=SPAT, Pd=DPAT, L=Link Local Port)
 Other:K(nh)=Key_Nexthop, S(nh)=RPF_Nexthop
 Flags:E=Evicted, Ec=Evict Candidate, N=New Flow, M=Modified Dm=Delete Marked
TCP(r=reverse):S=SYN, F=FIN, R=RST, C=HalfClose, E=Established, D=Dead
";
const COLUMNS: &str = "
    Index                Source:Port/Destination:Port                      Proto(V)
-----------------------------------------------------------------------------------";

/// Whether the slot of the flow is free for others.
pub(super) fn is_evicted(flow: &Flow) -> bool {
    flow.has(VR_FLOW_FLAG_EVICTED)
}

/// What stands above the flows; `filter` is what they had to match.
pub(super) fn header(out: &mut dyn Write, table: &FlowTable, filter: Option<&str>) -> io::Result<()> {
    let data = &table.data;
    writeln!(out, "Flow table(size {}, entries {})\n", data.ftable_size, table.entries())?;
    // No space before `Processed`, as scripts know it.
    writeln!(
        out,
        "Entries: Created {} Added {} Deleted {} Changed {}Processed {} Used Overflow entries {}",
        data.ftable_created,
        data.ftable_added,
        data.ftable_deleted,
        data.ftable_changed,
        data.ftable_processed,
        data.ftable_oflow_entries
    )?;
    let created: Vec<String> = data.ftable_hold_stat.iter().map(ToString::to_string).collect();
    writeln!(out, "(Created Flows/CPU: {})(oflows {})", created.join(" "), data.ftable_hold_oflows)?;
    write!(out, "{LEGEND}")?;
    if let Some(filter) = filter {
        writeln!(out, "\nListing flows matching ({filter})")?;
    }
    writeln!(out, "{COLUMNS}")
}

/// One flow.
pub(super) fn print(out: &mut dyn Write, flow: &Flow) -> io::Result<()> {
    let index = if flow.reverse >= 0 {
        format!("{:>9}<=>{}", flow.index, flow.reverse)
    } else {
        format!("{:>9}", flow.index)
    };
    let source = format!("{}:{}", flow.source, flow.source_port);
    let vrf = if flow.has(VR_FLOW_FLAG_VRFT) {
        format!("{}->{}", flow.vrf, flow.next_vrf)
    } else {
        flow.vrf.to_string()
    };
    writeln!(out, "{index:<25}{source:<50}{:>3} ({vrf})", flow.protocol)?;
    writeln!(out, "{:25}{}:{}", "", flow.destination, flow.destination_port)?;
    writeln!(out, "{}\n", broken(&facts(flow)))
}

/// What is known of the flow, in the order in which it is printed; each begins with the spaces that part it
/// from the one before.
fn facts(flow: &Flow) -> Vec<String> {
    let mut facts = vec![
        format!("(Gen: {}", flow.gen_id),
        format!(" K(nh):{}", flow.key_nexthop),
        format!(" Action:{}", names::action(flow)),
        format!(" Flags:{}", text::bits(u32::from(flow.flags), &names::FLAGS)),
    ];
    if flow.protocol == TCP {
        facts.push(format!(" TCP:{}", text::bits(u32::from(flow.tcp_flags), &names::TCP_FLAGS)));
    }
    if flow.ecmp >= 0 {
        facts.push(format!(" E:{}", flow.ecmp));
    }
    if flow.underlay_ecmp >= 0 {
        facts.push(format!(" UnderlayEcmpIdx:{}", flow.underlay_ecmp));
    }
    facts.push(format!(" QOS:{}", flow.qos_id));
    facts.push(format!(" S(nh):{}", flow.source_nexthop));
    facts.push(format!("  Stats:{}/{}", flow.packets, flow.bytes));
    if flow.has(VR_FLOW_FLAG_MIRROR) {
        let mirrors = flow.mirrors.iter().filter(|mirror| **mirror != NO_MIRROR);
        let mirrors: Vec<String> = mirrors.map(ToString::to_string).collect();
        facts.push(format!("  Mirror Index : {}", mirrors.join(" ")));
    }
    facts.push(format!("  SPort {}", flow.udp_source_port));
    facts.push(format!(" TTL {}", flow.ttl));
    facts.push(format!(" Sinfo {})", text::raw_inet(flow.source_info)));
    facts
}

/// The facts with commas, in lines that are not too long.
fn broken(facts: &[String]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for (number, fact) in facts.iter().enumerate() {
        if number > 0 {
            text.push(',');
            column += 1;
        }
        let mut fact = fact.as_str();
        if number > 0 && column + fact.len() > WIDTH {
            text.push('\n');
            column = 0;
            fact = &fact[fact.len() - fact.trim_start().len() - 1..];
        }
        text.push_str(fact);
        column += fact.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::broken;

    fn facts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lines_are_broken_where_the_original_breaks_them() {
        let head = ["(Gen: 1", " K(nh):25", " Action:F", " Flags:", " QOS:-1", " S(nh):25"];
        let line = |stats, port| {
            let rest = [stats, port, " TTL 0", " Sinfo 5.0.0.0)"];
            broken(&facts(&[&head[..], &rest[..]].concat()))
        };
        assert_eq!(
            line("  Stats:1/98", "  SPort 56475"),
            "(Gen: 1, K(nh):25, Action:F, Flags:, QOS:-1, S(nh):25,  Stats:1/98,  SPort 56475,\n TTL 0, Sinfo 5.0.0.0)"
        );
        assert_eq!(
            line("  Stats:48/4704", "  SPort 50815"),
            "(Gen: 1, K(nh):25, Action:F, Flags:, QOS:-1, S(nh):25,  Stats:48/4704,\n SPort 50815, TTL 0, Sinfo 5.0.0.0)"
        );
    }
}
