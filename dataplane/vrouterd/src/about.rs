//! What the daemon says about its build (`build.rs`): version and commit, the time of the commit, and for which machine
//! it is.

use vr_shim::About;

/// For utilities: `vrouter --info` prints `VERSION (Built by USER@HOST on TIME)`.
pub(crate) fn about() -> About {
    About {
        version: env!("VROUTERD_VERSION").to_owned(),
        build_time: env!("VROUTERD_BUILD_TIME").to_owned(),
        build_host: env!("VROUTERD_TARGET").to_owned(),
        build_user: "vrouter-xdp".to_owned(),
    }
}
