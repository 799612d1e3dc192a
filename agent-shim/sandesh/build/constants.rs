//! Generates the constants that fields of messages and framing use.

use std::fmt::Write;

use crate::tsv;

/// Groups whose constants become a newtype: the `h_op` of messages.
const NEWTYPES: [(&str, &str, &str); 2] = [
    ("sandesh_op", "SandeshOp", "Operation of a message."),
    ("flow_op", "FlowOp", "Operation of a message about flows."),
];

/// Groups whose constants become a module: type of the field that holds the values, and purpose.
const MODULES: [(&str, &str, &str); 28] = [
    ("wire_type", "u8", "Type bytes of the encoding (control.md 1.2)"),
    ("response", "i32", "Dumps (control.md 2.6)"),
    ("netlink", "u16", "Framing (control.md 2)"),
    ("family", "i32", "Address families of nexthops, routes and flows"),
    ("nh_type", "u8", "`nhr_type`"),
    ("nh_flag", "u32", "`nhr_flags`"),
    ("ecmp_hash", "u8", "`nhr_ecmp_config_hash`"),
    ("vif_type", "i32", "`vifr_type`"),
    ("vif_transport", "u8", "`vifr_transport`"),
    ("vif_flag", "i32", "`vifr_flags`"),
    ("vhostuser_mode", "u8", "`vifr_vhostuser_mode`"),
    ("fat_flow_port_data", "i32", "`vifr_fat_flow_protocol_port`: which address to ignore"),
    ("fat_flow_aggregate", "i32", "`vifr_fat_flow_protocol_port`: which addresses to aggregate"),
    ("route_flag", "i16", "`rtr_label_flags` of inet routes"),
    ("bridge_flag", "i16", "`rtr_label_flags` of bridge routes"),
    ("flow_action", "i16", "`fr_action`"),
    ("flow_flag", "u16", "`fr_flags`, an i16 on the wire"),
    ("flow_flag1", "i16", "`fr_flags1`"),
    ("flow_extflag", "i16", "`fr_extflags`"),
    ("flow_response_flag", "u16", "`fresp_flags`"),
    ("flow_drop_reason", "u16", "`fr_drop_reason`"),
    ("mirror_flag", "i32", "`mirr_flags`"),
    ("mirror_limit", "i16", "`mirr_index`"),
    ("vrf_flag", "i32", "`vrf_flags`"),
    ("hugepage_resp", "i32", "`vhp_resp`, a u32 on the wire"),
    ("info_msg", "i16", "`vdu_msginfo`"),
    ("log_level", "u32", "`vo_log_level`"),
    ("log_type", "i32", "`vo_log_type_enable`"),
];

struct Constant<'a> {
    group: &'a str,
    name: &'a str,
    meaning: &'a str,
    current: Option<&'a str>,
    r220: Option<&'a str>,
}

pub(crate) fn generate(table: &str) -> Result<String, String> {
    let constants: Vec<Constant> = tsv::rows::<5>(table)?
        .into_iter()
        .map(|[group, name, value, meaning, r220]| {
            let (current, r220) = (tsv::defined(value), tsv::defined(r220));
            Constant { group, name, meaning, current, r220 }
        })
        .collect();
    let mut out = String::new();
    for (group, name, purpose) in NEWTYPES {
        write_newtype(&mut out, name, purpose, &members(&constants, group)?);
    }
    for (group, kind, purpose) in MODULES {
        write_module(&mut out, group, kind, purpose, &members(&constants, group)?);
    }
    Ok(out)
}

fn members<'a>(constants: &'a [Constant<'a>], group: &str) -> Result<Vec<&'a Constant<'a>>, String> {
    let members: Vec<_> = constants.iter().filter(|constant| constant.group == group).collect();
    if members.is_empty() { Err(format!("no constants in group {group}")) } else { Ok(members) }
}

fn write_newtype(out: &mut String, name: &str, purpose: &str, members: &[&Constant]) {
    _ = writeln!(out, "/// {purpose}");
    _ = writeln!(out, "#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]");
    _ = writeln!(out, "pub struct {name}(pub i32);\n\nimpl {name} {{");
    for constant in members {
        if let Some(value) = constant.current {
            _ = writeln!(out, "    /// {}.", tsv::doc(constant.meaning));
            _ = writeln!(out, "    pub const {}: Self = Self({value});", constant.name);
        }
    }
    _ = writeln!(out, "}}\n");
}

fn write_module(out: &mut String, group: &str, kind: &str, purpose: &str, members: &[&Constant]) {
    _ = writeln!(out, "/// {purpose}.\npub mod {group} {{");
    for constant in members {
        write_constant(out, constant, kind, constant.current);
    }
    if members.iter().any(|constant| constant.r220.is_some() && constant.r220 != constant.current) {
        _ = writeln!(out, "/// The numbering of R2.20.\npub mod r220 {{");
        for constant in members {
            write_constant(out, constant, kind, constant.r220);
        }
        _ = writeln!(out, "}}");
    }
    _ = writeln!(out, "}}\n");
}

fn write_constant(out: &mut String, constant: &Constant, kind: &str, value: Option<&str>) {
    if let Some(value) = value {
        _ = writeln!(
            out,
            "/// {}.\npub const {}: {kind} = {value};",
            tsv::doc(constant.meaning),
            constant.name
        );
    }
}
