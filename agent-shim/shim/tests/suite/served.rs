//! A control server with real tables, in a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use vr_shim::{About, Server};
use vr_tables::control::{AttachError, Attached, Datapath, Tables, TablesConfig};
use vr_tables::options::Options;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, VifId};

use crate::client::Client;

/// A datapath without ports, which accepts every interface.
pub(crate) struct NoPorts;

impl Datapath for NoPorts {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

/// A server that runs as long as this lives.
pub(crate) struct Served {
    directory: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// With empty tables.
    pub(crate) fn new() -> Self {
        Self::with(|server| server)
    }

    /// With something set about the server.
    pub(crate) fn with(set: impl FnOnce(Server) -> Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = set(Server::bind(directory.path(), About::version("test")).unwrap());
        let mut tables = Tables::new(TablesConfig {
            directory: Some(directory.path().to_owned()),
            // What the recorded program has at start.
            options: Options { flow_hold_limit: 1000, ..Options::default() },
            ..TablesConfig::default()
        })
        .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                server.poll(&mut tables, &mut NoPorts, Duration::from_millis(10), None).unwrap();
            }
        });
        Self { directory, stop, thread: Some(thread) }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.directory())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let served = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            served.expect("the server lives");
        }
    }
}
