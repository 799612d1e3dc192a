//! The flow table in the report.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The flow table and those that wait for the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// Entries in use, without the overflow area.
    pub used: u32,
    /// How many there are.
    pub entries: u32,
    /// Entries of the overflow area in use.
    pub used_overflow: u32,
    /// How many there are.
    pub overflow: u32,
    /// Flows that wait for the agent.
    pub holding: u64,
    /// Packets refused because too many of them waited.
    pub refused_holds: u64,
    /// Entries that made room without the agent.
    pub evicted: u64,
    /// Of these, entries that waited for the agent.
    pub evicted_holds: u64,
    /// By worker, flows whose compiled action a change of the tables had voided, and that were compiled anew.
    pub recompiled: Vec<u64>,
    /// VRFs that have entries, if there are quotas.
    pub vrf_quotas: Vec<Quota>,
    /// Interfaces that have entries, if there are quotas.
    pub vif_quotas: Vec<Quota>,
    /// Memory of the table, by structure.
    pub memory: Vec<Memory>,
}

/// Entries of one VRF or interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// Its number.
    pub number: u16,
    /// Entries that are charged to it.
    pub used: u32,
    /// Packets refused because it has as many as it may have.
    pub refused: u64,
}

/// One structure in memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What it is.
    pub what: String,
    /// Its size, used or not.
    pub bytes: u64,
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.memory.iter().map(|memory| memory.bytes).sum();
        writeln!(
            f,
            "\nflow table: {} of {} entries, {} of {} overflow entries, {} MiB",
            self.used,
            self.entries,
            self.used_overflow,
            self.overflow,
            bytes >> 20
        )?;
        writeln!(
            f,
            "{} wait for the agent, {} refused; {} evicted, {} of them waiting",
            self.holding, self.refused_holds, self.evicted, self.evicted_holds
        )?;
        let recompiled: Vec<String> = self.recompiled.iter().map(u64::to_string).collect();
        writeln!(f, "compiled anew after changes, by worker: {}", recompiled.join(" "))?;
        let all = self.vrf_quotas.iter().chain(&self.vif_quotas);
        if all.clone().next().is_some() {
            let refused: u64 = all.map(|quota| quota.refused).sum();
            writeln!(f, "{refused} packets of new flows refused by quotas (part of drop_new_flow)")?;
        }
        for (what, quotas) in [("vrf", &self.vrf_quotas), ("vif", &self.vif_quotas)] {
            if !quotas.is_empty() {
                writeln!(f, "{what:<7} {:>14} {:>14}", "flow entries", "refused")?;
            }
            for Quota { number, used, refused } in quotas {
                writeln!(f, "{number:<7} {used:>14} {refused:>14}")?;
            }
        }
        Ok(())
    }
}
