//! The wiring, and the control loop.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, statfs};
use vr_frame::PoolSet;
use vr_runtime::{Workers, WorkersConfig};
use vr_shim::{Recorder, Server, ServerError};
use vr_tables::control::{Datapath, Tables, TablesConfig};
use vr_tables::options::Options;

use crate::about::about;
use crate::access;
use crate::config::{Compat, Config};
use crate::exit::Failure;
use crate::housekeeping::Housekeeping;
use crate::lock::DirectoryLock;
use crate::placement;
use crate::ports::{Fabrics, Factory};
use crate::signals::Signals;
use crate::status::{self, Source, StatusSocket};

/// How long the control thread sleeps while nothing comes.
const GLANCE: Duration = Duration::from_millis(200);
/// And while flows have to make room.
const PRESSED: Duration = Duration::from_millis(10);
/// How long the control thread does nothing but answer while requests come.
const BETWEEN: Duration = Duration::from_millis(5);
/// How often the addresses of the fabric devices are looked at.
const ADDRESSES: Duration = Duration::from_secs(1);

/// Runs until a signal asks to end. The control channel is recorded in the file `record`.
pub(crate) fn run(config: &Config, record: Option<&Path>) -> Result<(), Failure> {
    let signals = Signals::take()?;
    allow_descriptors();
    let directory = config.socket_dir();
    let _lock = DirectoryLock::take(&directory)?;
    let hugetlbfs = config.tables.hugetlbfs.as_ref().map(|directory| directory.path().to_owned());
    if hugetlbfs.is_none() {
        warn_of_disk(&directory);
    }
    let workers = config.workers.count.get() as u8;
    let mut tables = Tables::new(TablesConfig {
        workers,
        limits: config.limits(),
        directory: Some(directory.clone()),
        hugetlbfs,
        mock: config.mock,
        graceful_restart: config.agent.restart(),
        options: Options { release: config.compat.into(), ..config.flows.options() },
    })?;
    let (pool_set, pools) = PoolSet::new(workers, config.buffers.sizes())?;
    let fabrics = Fabrics::default();
    let mut factory = Factory::new(config, pool_set, fabrics.clone());
    factory.prepare()?;
    let where_and_how = WorkersConfig {
        cpus: config.workers.cpus.iter().map(|cpu| usize::from(*cpu)).collect(),
        polling: config.workers.polling.into(),
    };
    let mut workers = Workers::start(&tables, pools, &where_and_how, factory)?;

    let source = Source::new(config, &tables, workers.monitor(), fabrics.clone());
    let socket = StatusSocket::bind(&directory, source).context("making the status socket")?;
    // Workers have looked which CPUs there are; the thread of virtual machines comes from this one.
    placement::confine("control", &config.threads.control);
    let _housekeeping =
        Housekeeping::start(&tables, workers.monitor(), fabrics, socket, &config.threads.housekeeping)
            .context("starting the housekeeping thread")?;

    // The last step: whoever can connect is served.
    let recorder = record.map(|path| {
        let recorder = Recorder::begin(path);
        recorder.with_context(|| format!("cannot record to `{}`; name another file", path.display()))
    });
    let server = listen(config, &directory)?;
    let sockets = match config.compat {
        Compat::Current => vec![vr_shim::SOCKET, vr_observe::SOCKET],
        Compat::R220 => vec![vr_observe::SOCKET],
    };
    let sockets: Vec<PathBuf> = sockets.into_iter().map(|name| directory.join(name)).collect();
    let shared: Vec<PathBuf> = [tables.flow_file(), tables.bridge_file()].into_iter().flatten().collect();
    access::grant(&config.control, &sockets, &shared)?;
    let server = server.with_recorder(recorder.transpose()?);
    let mut server =
        server.with_machine(status::machine(workers.monitor(), u64::from(config.buffers.sizes().packets)));
    tracing::info!(directory = %directory.display(), "serving");
    control_loop(&mut server, &mut tables, &mut workers, &signals)?;
    Ok(())
}

/// Workers write to the tables' files. On a disk that has to wait for the file system now and then, up to tens of
/// milliseconds.
fn warn_of_disk(directory: &Path) {
    let kind = statfs(directory).map(|status| status.filesystem_type());
    if kind.is_ok_and(|kind| ![TMPFS_MAGIC, HUGETLBFS_MAGIC].contains(&kind)) {
        tracing::warn!(
            directory = %directory.display(),
            "tables are on a disk, which delays packets; choose a socket directory on a tmpfs, such as /run"
        );
    }
}

fn listen(config: &Config, directory: &Path) -> Result<Server, ServerError> {
    let about = about();
    match config.compat {
        Compat::Current => Server::bind(directory, about),
        Compat::R220 => {
            let port = config.control_port.get() as u16;
            Server::bind_r220((Ipv4Addr::LOCALHOST, port).into(), about)
        }
    }
}

/// Every pod takes several descriptors; the usual limit is for programs that use `select`.
fn allow_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn control_loop(
    server: &mut Server,
    tables: &mut Tables,
    workers: &mut Workers<Factory>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut looked, mut due, mut put_off) = (began, began, false);
    loop {
        let glance = if put_off || tables.is_pressed() { PRESSED } else { GLANCE };
        let polled =
            server.poll(tables, workers, glance, Some(signals.fd())).context("waiting for requests")?;
        if polled.woken
            && let Some(signal) = signals.received()
        {
            tracing::info!(signal, "ending");
            return Ok(());
        }
        let now = Instant::now();
        put_off = now < due;
        if !put_off {
            look_after(tables, workers, now, now - began);
            follow(tables, workers.factory(), &mut looked);
            workers.go_on();
            due = now + BETWEEN;
        }
    }
}

/// Does what no request asks for.
fn look_after(tables: &mut Tables, workers: &mut Workers<Factory>, now: Instant, age: Duration) {
    let lost = workers.factory().is_agent_lost();
    if tables.set_agent_lost(lost) {
        if lost {
            tracing::warn!("the agent is gone; host and fabric are connected without it");
        } else {
            tracing::info!("the agent is there again, or its interface is gone");
        }
        tables.publish();
    }
    if let Some(report) = tables.advance_restart(now, workers) {
        tracing::info!(?report, "what the restarted agent has programmed is in force");
    }
    tables.housekeep();
    tables.relieve(age.as_nanos() as u64, workers);
}

/// Tells the tables what has become of devices and guests.
fn follow(tables: &mut Tables, factory: &mut Factory, looked: &mut Instant) {
    let mut news = false;
    for (vif, flags) in factory.negotiated() {
        news |= tables.set_owned_flags(vif, flags);
    }
    if looked.elapsed() >= ADDRESSES {
        *looked = Instant::now();
        for change in factory.refresh() {
            news |= tables.device_changed(change);
        }
    }
    if news {
        tables.publish();
    }
}
