//! The words, one file each.

mod dropstats;
mod flow;
mod info;
mod mirror;
mod mpls;
mod nh;
mod qosmap;
mod rt;
mod tables;
mod usage;
mod usages;
mod vif;
mod vrfstats;
mod vrftable;
mod vrmemstats;
mod vrouter;
mod vxlan;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use crate::failure::Failure;
use crate::session::Session;
use usage::Usage;

/// One of the original's utilities.
trait Word: clap::Parser {
    /// Its name.
    const NAME: &'static str;
    /// What wrong options are answered with.
    const USAGE: Usage = Usage::PLAIN;

    /// The socket directory that was given with `--sock-dir`, by words that have it.
    fn rig(&self) -> Option<PathBuf> {
        None
    }

    /// Does the work.
    fn run(self, session: &mut Session) -> Result<(), Failure>;
}

/// `--sock-dir`, in words that have it.
#[derive(Clone, Debug, Default, clap::Args)]
struct Rig {
    /// Socket directory of the vrouter.
    #[arg(long = "sock-dir", value_name = "DIR")]
    sock_dir: Option<PathBuf>,
}

/// Runs a word with its name and arguments, and the directory that `vrctl` was given.
type Run = fn(&[OsString], Option<PathBuf>) -> Result<(), Failure>;

/// Every word and what it is about.
const WORDS: &[(&str, Run, &str)] = &[
    ("vif", start::<vif::Vif>, "interfaces"),
    ("nh", start::<nh::Nh>, "nexthops"),
    ("rt", start::<rt::Rt>, "routes and bridge entries"),
    ("flow", start::<flow::FlowWord>, "flows"),
    ("mpls", start::<mpls::Mpls>, "incoming MPLS labels"),
    ("vxlan", start::<vxlan::Vxlan>, "incoming VXLAN network identifiers"),
    ("mirror", start::<mirror::Mirror>, "destinations of mirrored packets"),
    ("dropstats", start::<dropstats::DropStats>, "dropped packets by reason"),
    ("vrfstats", start::<vrfstats::VrfStats>, "packets of VRFs by kind of nexthop"),
    ("vrftable", start::<vrftable::VrfTable>, "VRFs"),
    ("vrouter", start::<vrouter::Vrouter>, "limits, options and logging"),
    ("qosmap", start::<qosmap::QosMap>, "forwarding classes"),
    ("vrmemstats", start::<vrmemstats::VrMemStats>, "objects in memory"),
    ("dpdkinfo", start::<info::DpdkInfo>, "ports, workers and buffers of the forwarder"),
    ("dpdkconf", start::<info::DpdkConf>, "settings of the forwarder"),
    ("vrinfo", start::<info::VrInfo>, "version"),
];

/// The word with this name.
pub(crate) fn find(name: &str) -> Option<Run> {
    WORDS.iter().find(|(word, ..)| *word == name).map(|(_, run, _)| *run)
}

/// The list of the words.
pub(crate) fn help() -> String {
    let lines: Vec<String> = WORDS.iter().map(|(word, _, about)| format!("  {word:<11} {about}")).collect();
    format!("Words:\n{}", lines.join("\n"))
}

fn start<W: Word>(arguments: &[OsString], directory: Option<PathBuf>) -> Result<(), Failure> {
    let word = W::try_parse_from(arguments).map_err(|error| usage::report(W::NAME, &W::USAGE, &error))?;
    let mut session = Session::new(word.rig(), directory);
    let result = word.run(&mut session);
    session.out.flush()?;
    result
}
