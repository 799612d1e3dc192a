//! How words of which a sample tells explain themselves, as `docs/spec/utility-samples.txt` shows it.

use super::usage::{EINVAL, Usage};

/// `vrfstats`.
pub(super) const VRFSTATS: Usage = Usage { text: Some(include_str!("usages/vrfstats.txt")), status: EINVAL };
/// `vrmemstats`.
pub(super) const VRMEMSTATS: Usage =
    Usage { text: Some(include_str!("usages/vrmemstats.txt")), status: EINVAL };
/// `vrouter`.
pub(super) const VROUTER: Usage = Usage { text: Some(include_str!("usages/vrouter.txt")), status: 1 };
/// `qosmap`.
pub(super) const QOSMAP: Usage = Usage { text: Some(include_str!("usages/qosmap.txt")), status: 22 };
/// `dpdkinfo`.
pub(super) const DPDKINFO: Usage = Usage { text: Some(include_str!("usages/dpdkinfo.txt")), status: EINVAL };
/// `dpdkconf`.
pub(super) const DPDKCONF: Usage = Usage { text: Some(include_str!("usages/dpdkconf.txt")), status: 0 };
/// `vrinfo`.
pub(super) const VRINFO: Usage = Usage { text: Some(include_str!("usages/vrinfo.txt")), status: EINVAL };
