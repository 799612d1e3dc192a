/// Release of the agent and the utilities that a daemon serves. It is chosen at start and decides what both sides
/// have compiled in: layouts of shared tables and of the agent header, and the port of tunnels (control.md 9,
/// forwarding.md 15). `docs/compatibility.md` lists everything that differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Release {
    /// The release of 2025.
    #[default]
    Current,
    /// contrail-vrouter R2.20 of 2015.
    R220,
}
