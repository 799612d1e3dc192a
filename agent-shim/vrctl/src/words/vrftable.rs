//! `vrftable`: VRFs and their host based services.

use clap::{ArgGroup, Parser};
use sandesh::SandeshOp;
use sandesh::constants::vrf_flag::{VRF_FLAG_HBF_L_VALID, VRF_FLAG_HBF_R_VALID, VRF_FLAG_VALID};
use sandesh::messages::{Message, VrfReq};

use super::Word;
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::text;
use crate::view::{View, each, show};

const HEADER: &str = "\
VRF Table

Flags: V=Valid, Hl=HBS Left Valid, Hr=HBS Right Valid

   Vrf   Flags      HBS-L   HBS-R
------------------------------------------------";

/// Flags as the header explains them.
const FLAGS: [(u32, &str); 3] =
    [(VRF_FLAG_VALID as u32, "V"), (VRF_FLAG_HBF_L_VALID as u32, "Hl"), (VRF_FLAG_HBF_R_VALID as u32, "Hr")];

/// VRFs, and the interfaces of their host based services.
#[derive(Debug, Parser)]
#[command(name = "vrftable", group(ArgGroup::new("action").required(true)))]
pub(super) struct VrfTable {
    /// List all VRFs.
    #[arg(long, group = "action")]
    dump: bool,
    /// Show one VRF.
    #[arg(long, value_name = "VRF", group = "action")]
    get: Option<i32>,
    /// Create or change a VRF.
    #[arg(long, value_name = "VRF", group = "action")]
    set: Option<i32>,
    /// Delete a VRF.
    #[arg(long, value_name = "VRF", group = "action")]
    delete: Option<i32>,
    /// Left interface of the service, -1 for none.
    #[arg(long, value_name = "INDEX", allow_negative_numbers = true)]
    hbs_l: Option<i32>,
    /// Right interface of the service, -1 for none.
    #[arg(long, value_name = "INDEX", allow_negative_numbers = true)]
    hbs_r: Option<i32>,
    #[command(flatten)]
    view: View,
}

impl Word for VrfTable {
    const NAME: &'static str = "vrftable";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if let Some(change) = self.change() {
            return session.client()?.request(&change).map(drop);
        }
        let fetch = |client: &mut Client| {
            if let Some(vrf) = self.get {
                return client.request(&VrfReq { h_op: SandeshOp::GET, vrf_idx: vrf, ..VrfReq::default() });
            }
            let request = VrfReq { h_op: SandeshOp::DUMP, vrf_marker: -1, ..VrfReq::default() };
            client.dump(request, |request, last| {
                if let Message::VrfReq(last) = last {
                    request.vrf_marker = last.vrf_idx;
                }
            })
        };
        show(session, &self.view, fetch, |out, objects| {
            writeln!(out, "{HEADER}")?;
            each(objects, |vrf: &VrfReq| {
                writeln!(
                    out,
                    "{:6}{:>8}{:11}{:8}",
                    vrf.vrf_idx,
                    text::bits(vrf.vrf_flags as u32, &FLAGS),
                    vrf.vrf_hbfl_vif_idx,
                    vrf.vrf_hbfr_vif_idx
                )
            })
        })
    }
}

impl VrfTable {
    fn change(&self) -> Option<VrfReq> {
        let flag = |given: Option<i32>, flag| if given.is_some() { flag } else { 0 };
        if let Some(vrf) = self.delete {
            return Some(VrfReq { h_op: SandeshOp::DEL, vrf_idx: vrf, ..VrfReq::default() });
        }
        Some(VrfReq {
            h_op: SandeshOp::ADD,
            vrf_idx: self.set?,
            vrf_flags: VRF_FLAG_VALID
                | flag(self.hbs_l, VRF_FLAG_HBF_L_VALID)
                | flag(self.hbs_r, VRF_FLAG_HBF_R_VALID),
            vrf_hbfl_vif_idx: self.hbs_l.unwrap_or(-1),
            vrf_hbfr_vif_idx: self.hbs_r.unwrap_or(-1),
            ..VrfReq::default()
        })
    }
}
