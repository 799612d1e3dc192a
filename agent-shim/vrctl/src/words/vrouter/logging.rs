//! Log level and log types.

use std::io::{self, Write};

use clap::ValueEnum;
use sandesh::messages::VrouterOps;
use sandesh::{LOG_LEVELS, LOG_TYPES};

/// Levels by name, in the order of [`LOG_LEVELS`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

/// Parts of the vrouter that log, in the order of [`LOG_TYPES`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    Vrouter,
    Usock,
    Uvhost,
    Dpcore,
}

/// Options about logging.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct Logging {
    /// Show the level.
    #[arg(long, group = "action")]
    get_log_level: bool,
    /// Show the types that are on.
    #[arg(long, group = "action")]
    get_enabled_log_types: bool,
    /// Set the level.
    #[arg(long, value_enum, value_name = "LEVEL", group = "action")]
    set_log_level: Option<Level>,
    /// Switch types on.
    #[arg(long, value_enum, value_name = "TYPE", group = "action")]
    enable_log_type: Vec<Type>,
    /// Switch types off.
    #[arg(long, value_enum, value_name = "TYPE", group = "action")]
    disable_log_type: Vec<Type>,
}

impl Logging {
    /// Whether something is to be shown.
    pub(super) fn is_question(&self) -> bool {
        self.get_log_level || self.get_enabled_log_types
    }

    /// Shows it.
    pub(super) fn answer(&self, out: &mut dyn Write, ops: &VrouterOps) -> io::Result<()> {
        if self.get_log_level {
            let name =
                LOG_LEVELS.iter().find(|(number, _)| *number == ops.vo_log_level).map(|(_, name)| *name);
            writeln!(out, "Current log level: {}", name.unwrap_or("unknown"))?;
        }
        if self.get_enabled_log_types {
            let on = LOG_TYPES.iter().filter(|(number, _)| ops.vo_log_type_enable.contains(number));
            let names: Vec<&str> = on.map(|(_, name)| *name).collect();
            writeln!(out, "Enabled log types: {}", names.join(" "))?;
        }
        Ok(())
    }

    /// Writes into the request what is to be set.
    pub(super) fn write(&self, request: &mut VrouterOps) {
        let numbers = |types: &[Type]| types.iter().map(|kind| LOG_TYPES[*kind as usize].0).collect();
        request.vo_log_level = self.set_log_level.map_or(0, |level| LOG_LEVELS[level as usize].0);
        request.vo_log_type_enable = numbers(&self.enable_log_type);
        request.vo_log_type_disable = numbers(&self.disable_log_type);
    }
}
