//! `vr_drop_stats_req` (control.md 4.12).

use std::sync::LazyLock;

use sandesh::messages::{DropStatsReq, Kind};
use sandesh::netlink::ReplyWriter;
use sandesh::{Record, SandeshOp, ValueMut};
use vr_tables::stats::{Cores, Stats};
use vr_types::{DropReason, VifId};

use super::{Context, unsupported};

/// Number of the field of each reason.
static FIELDS: LazyLock<[Option<usize>; DropReason::COUNT]> = LazyLock::new(|| {
    let fields = Kind::DropStatsReq.fields();
    DropReason::ALL
        .map(|reason| fields.iter().position(|field| field.strip_prefix("vds_") == Some(reason.name())))
});

pub(super) fn handle(request: &DropStatsReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if request.vds_rid != 0 {
        return replies.response(-libc::ENOENT);
    }
    let cores = cores(i32::from(request.vds_core));
    match request.h_op {
        SandeshOp::GET => {
            replies.response(0);
            replies.object(&object(&context.tables.stats().drops(cores)));
        }
        SandeshOp::RESET => {
            context.tables.stats_mut().clear_drops(cores);
            replies.response(0);
            replies.object(&DropStatsReq { h_op: SandeshOp::RESET, ..DropStatsReq::default() });
        }
        _ => unsupported(replies),
    }
}

/// The workers that a core number of a request means: 0 all, n the one with number n - 1.
pub(super) fn cores(number: i32) -> Cores {
    match usize::try_from(number) {
        Ok(0) => Cores::All,
        Ok(number) => Cores::One(number - 1),
        Err(_) => Cores::One(usize::MAX),
    }
}

/// Drop counters of an interface.
pub(super) fn of_vif(vif: VifId, stats: &Stats, cores: Cores) -> DropStatsReq {
    object(&stats.vif_drops(vif, cores))
}

fn object(drops: &[u64; DropReason::COUNT]) -> DropStatsReq {
    let mut object = DropStatsReq::default();
    for (count, field) in drops.iter().zip(FIELDS.iter()) {
        if let Some(ValueMut::I64(value)) = field.and_then(|field| object.value_mut(field)) {
            *value = *count as i64;
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::{FIELDS, object};
    use vr_types::DropReason;

    #[test]
    fn every_reason_but_the_placeholder_has_a_field() {
        for (reason, field) in DropReason::ALL.iter().zip(FIELDS.iter()) {
            assert_eq!(field.is_none(), *reason == DropReason::Invalid, "{reason}");
        }
        let mut drops = [0; DropReason::COUNT];
        drops[DropReason::L2NoRoute.index()] = 7;
        drops[DropReason::FragErr.index()] = 1 << 40;
        let object = object(&drops);
        assert_eq!((object.vds_l2_no_route, object.vds_frag_err, object.vds_discard), (7, 1 << 40, 0));
    }
}
