//! `vrouter --info`.

use std::io::{self, Write};

use sandesh::messages::VrouterOps;
use serde_json::Value;

/// Where values stand.
const COLUMN: usize = 41;

/// Everything that the vrouter says about itself. One of R2.20 says less.
pub(super) fn info(out: &mut dyn Write, ops: &VrouterOps, is_r220: bool) -> io::Result<()> {
    writeln!(out, "vRouter/DPDK version         {}\n", build(&ops.vo_build_info))?;
    writeln!(out, "Startup parameters")?;
    limits(out, ops)?;
    if is_r220 {
        return Ok(());
    }
    new_limits(out, ops)?;
    writeln!(out, "\nRuntime parameters\n  Performance tweaks")?;
    lines(out, &[("GRO", ops.vo_perfr), ("Segmentation in software", ops.vo_perfs)])?;
    writeln!(out, "  TCP MSS adjust settings")?;
    lines(
        out,
        &[
            ("TCP MSS on packets from VM", ops.vo_from_vm_mss_adj),
            ("TCP MSS on packet sent to VM", ops.vo_to_vm_mss_adj),
        ],
    )?;
    writeln!(out, "  RPS settings")?;
    lines(
        out,
        &[
            ("RPS after pulling inner hdr (perfr1)", ops.vo_perfr1),
            ("RPS after GRO on pkt1 (perfr2)", ops.vo_perfr2),
            ("RPS from phys rx handler (perfr3)", ops.vo_perfr3),
            ("Pull inner header (faster version)", ops.vo_perfp),
            ("CPU to send pkts to, if perfr1 set", ops.vo_perfq1),
            ("CPU to send pkts to, if perfr2 set", ops.vo_perfq2),
            ("CPU to send pkts to, if perfr3 set", ops.vo_perfq3),
        ],
    )?;
    writeln!(out, "  Other settings")?;
    others(out, ops)
}

fn limits(out: &mut dyn Write, ops: &VrouterOps) -> io::Result<()> {
    lines(
        out,
        &[
            ("Interfaces limit", ops.vo_interfaces),
            ("VRF tables limit", ops.vo_vrfs),
            ("NextHops limit", ops.vo_nexthops),
            ("MPLS Labels limit", ops.vo_mpls_labels),
            ("Bridge Table limit", ops.vo_bridge_entries),
            ("Bridge Table Overflow limit", ops.vo_oflow_bridge_entries),
            ("Flow Table limit", ops.vo_flow_entries),
            ("Flow Table overflow limit", ops.vo_oflow_entries),
            ("Mirror entries limit", ops.vo_mirror_entries),
        ],
    )
}

fn new_limits(out: &mut dyn Write, ops: &VrouterOps) -> io::Result<()> {
    lines(
        out,
        &[
            // The original's spelling, which scripts look for.
            ("Memroy Allocation Checks", ops.vo_memory_alloc_checks),
            ("Vif Bridge Table limit", ops.vo_vif_bridge_entries),
            ("Vif Bridge Table Overflow limit", ops.vo_vif_oflow_bridge_entries),
        ],
    )?;
    writeln!(out, "    Vrouter pkt drop log buf size   \t  {}", ops.vo_pkt_droplog_bufsz)?;
    lines(out, &[("En/Dis pkt drop debug log infra", i32::from(ops.vo_pkt_droplog_buf_en))])
}

fn others(out: &mut dyn Write, ops: &VrouterOps) -> io::Result<()> {
    lines(
        out,
        &[
            ("NIC cksum offload for outer UDP hdr", ops.vo_udp_coff),
            ("Flow hold limit:", ops.vo_flow_hold_limit),
            ("MPLS over UDP globally", ops.vo_mudp),
        ],
    )?;
    lines(
        out,
        &[
            ("Used Flow entries", ops.vo_flow_used_entries),
            ("Used Over Flow entries", ops.vo_flow_used_oentries),
            ("Used Bridge entries", ops.vo_bridge_used_entries),
            ("Used Over Flow bridge entries", ops.vo_bridge_used_oentries),
        ],
    )?;
    lines(
        out,
        &[
            ("Burst Total Tokens", ops.vo_burst_tokens),
            ("Burst Interval", ops.vo_burst_interval),
            ("Burst Step", ops.vo_burst_step),
        ],
    )?;
    lines(out, &[("NIC Priority Tagging", ops.vo_priority_tagging)])
}

fn lines<T: std::fmt::Display>(out: &mut dyn Write, lines: &[(&str, T)]) -> io::Result<()> {
    lines.iter().try_for_each(|(name, value)| {
        let width = COLUMN - 4;
        writeln!(out, "    {name:<width$}{value}")
    })
}

/// Version and build, from the text of control.md 4.2.
fn build(info: &str) -> String {
    let info: Value = serde_json::from_str(info).unwrap_or_default();
    let field = |name: &str| info["build-info"][0][name].as_str().unwrap_or("unknown").to_owned();
    let [version, user, host, time] =
        ["build-version", "build-user", "build-hostname", "build-time"].map(field);
    format!("{version} (Built by {user}@{host} on {time})")
}

#[cfg(test)]
mod tests {
    use super::build;

    #[test]
    fn the_build_is_read_from_its_text() {
        let info = r#"{"build-info": [{"build-time": "t", "build-hostname": "h", "build-user": "u", "build-version": "v"}]}"#;
        assert_eq!(build(info), "v (Built by u@h on t)");
        assert_eq!(build("x"), "unknown (Built by unknown@unknown on unknown)");
    }
}
