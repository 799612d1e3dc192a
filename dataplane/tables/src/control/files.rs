//! The files of the tables that clients map (control.md 5.1).

use std::path::{Path, PathBuf};

use crate::MapError;
use crate::huge::HugeDirectory;

/// Where they are. Files in huge pages go with this: they hold memory that nobody else gets. Others stay, until new
/// tables replace them.
pub(super) struct TableFiles {
    flow: Option<PathBuf>,
    bridge: Option<PathBuf>,
    huge: Option<HugeDirectory>,
}

impl TableFiles {
    /// In `hugetlbfs` if that is given, else in `directory`; none without both.
    pub(super) fn new(directory: Option<&Path>, hugetlbfs: Option<PathBuf>) -> Result<Self, MapError> {
        if let Some(path) = hugetlbfs {
            let (flow, bridge) = (path.join("flow"), path.join("bridge"));
            let huge = HugeDirectory::take(path)?;
            return Ok(Self { flow: Some(flow), bridge: Some(bridge), huge: Some(huge) });
        }
        let file = |name| directory.map(|directory| directory.join(name));
        Ok(Self { flow: file("flow.shmem"), bridge: file("bridge.shmem"), huge: None })
    }

    /// The one of the flow table.
    pub(super) fn flow(&self) -> Option<&Path> {
        self.flow.as_deref()
    }

    /// The one of the bridge table.
    pub(super) fn bridge(&self) -> Option<&Path> {
        self.bridge.as_deref()
    }

    /// Says what a failure to make a file means, if they have these sizes.
    pub(super) fn explain(&self, error: MapError, sizes: [usize; 2]) -> MapError {
        match &self.huge {
            Some(huge) => huge.explain(error, sizes),
            None => error,
        }
    }
}

impl Drop for TableFiles {
    fn drop(&mut self) {
        if self.huge.is_some() {
            for path in [&self.flow, &self.bridge].into_iter().flatten() {
                // The second does not exist when there was no room for the first.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
