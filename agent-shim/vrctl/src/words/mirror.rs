//! `mirror`: where mirrored packets go.

use clap::Parser;
use sandesh::constants::mirror_flag::{VR_MIRROR_FLAG_DYNAMIC, VR_MIRROR_FLAG_HW_ASSISTED};
use sandesh::messages::{Message, MirrorReq};

use super::Word;
use super::tables::{Actions, act};
use crate::failure::Failure;
use crate::session::Session;
use crate::text;
use crate::view::each;

const HEADER: &str = "\
Mirror Table

Flags:D=Dynamic Mirroring, Hw=NIC Assisted Mirroring 

Index    NextHop    Flags       VNI    Vlan
------------------------------------------------";

/// Flags as the header explains them.
const FLAGS: [(u32, &str); 2] =
    [(VR_MIRROR_FLAG_DYNAMIC as u32, "D"), (VR_MIRROR_FLAG_HW_ASSISTED as u32, "Hw")];

/// Destinations of mirrored packets.
#[derive(Debug, Parser)]
#[command(name = "mirror")]
pub(super) struct Mirror {
    #[command(flatten)]
    actions: Actions,
    /// Flags of a new entry.
    #[arg(long, value_name = "BITS", default_value_t = 0)]
    flags: i32,
    /// VXLAN network identifier for the analyzer.
    #[arg(long, value_name = "VNI", default_value_t = -1, allow_negative_numbers = true)]
    vni: i32,
    /// VLAN of mirroring by the NIC.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    vlan: i16,
}

impl Word for Mirror {
    const NAME: &'static str = "mirror";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let request = |h_op, index| MirrorReq {
            h_op,
            mirr_index: index as i16,
            mirr_nhid: self.actions.nh,
            mirr_flags: self.flags,
            mirr_marker: -1,
            mirr_vni: self.vni,
            mirr_vlan: self.vlan,
            ..MirrorReq::default()
        };
        let advance = |request: &mut MirrorReq, last: &Message| {
            if let Message::MirrorReq(last) = last {
                request.mirr_marker = i32::from(last.mirr_index);
            }
        };
        act(session, &self.actions, request, advance, |out, objects| {
            writeln!(out, "{HEADER}")?;
            each(objects, |mirror: &MirrorReq| {
                writeln!(
                    out,
                    "{:5}{:11}{:>9}{:10}{:8}",
                    mirror.mirr_index,
                    mirror.mirr_nhid,
                    text::bits(mirror.mirr_flags as u32, &FLAGS),
                    mirror.mirr_vni,
                    mirror.mirr_vlan
                )
            })
        })
    }
}
