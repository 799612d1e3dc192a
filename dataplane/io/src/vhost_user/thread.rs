//! The thread that finds front ends and speaks with them, for all interfaces of the process.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::device::Device;
use super::endpoint::{self, Listener};
use super::interface::{Interface, Role};
use super::port::VhostUserPort;
use super::protocol::{PAIRS, feature};
use super::session::Manners;
use super::watcher::Watcher;
use crate::PortError;

/// Which side waits for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VhostUserRole {
    /// The front end listens; we connect, and again after each loss.
    Client,
    /// We listen.
    Server,
}

/// A vhost-user interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostUserConfig {
    /// Its socket.
    pub path: PathBuf,
    /// Which side listens there.
    pub role: VhostUserRole,
    /// How many ports share its pairs of rings, 1 to 16.
    pub ports: usize,
    /// Front ends are test rigs (test-rig.md 3): they are offered what the original offers, and are polled, for they
    /// do not tell when they have posted something.
    pub mock: bool,
    /// Where the features that a front end has negotiated are kept, for one that connects again without that.
    pub features: Option<PathBuf>,
    /// The interface's name, if other programs shall hear on the routing socket whether a front end is there
    /// (control.md 3.6).
    pub announced: Option<String>,
}

impl VhostUserConfig {
    /// An interface with one port, for virtual machines, that keeps and announces nothing.
    #[must_use]
    pub const fn new(path: PathBuf, role: VhostUserRole) -> Self {
        Self { path, role, ports: 1, mock: false, features: None, announced: None }
    }
}

/// How long a socket that somebody listens on may be that of an interface which is being closed.
const CLOSING: Duration = Duration::from_millis(200);
/// Between two attempts to take its place.
const AGAIN: Duration = Duration::from_millis(1);

enum Command {
    Open(u64, Box<Interface>),
    Close(u64),
    Stop,
}

/// All vhost-user interfaces of the process. Ends them when it is dropped.
pub struct VhostUser {
    line: Arc<Line>,
    next: u64,
    thread: Option<JoinHandle<()>>,
}

/// The way to the thread.
struct Line {
    commands: Sender<Command>,
    event: EventFd,
}

impl Line {
    fn send(&self, command: Command) {
        // The thread ends only behind the last of them all.
        let _ = self.commands.send(command);
        let _ = self.event.write(1);
    }
}

/// Ends an interface when its last port is closed.
pub(super) struct Registration {
    line: Arc<Line>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.line.send(Command::Close(self.id));
    }
}

impl VhostUser {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`PortError::System`] when the process has no descriptors or threads left.
    pub fn start() -> Result<Self, PortError> {
        let fail = |source| PortError::System { doing: "starting the vhost-user thread".to_owned(), source };
        let (commands, received) = mpsc::channel();
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|error| fail(error.into()))?;
        let line = Arc::new(Line { commands, event });
        let controller = Controller::new(Arc::clone(&line), received).map_err(fail)?;
        let run = move || controller.run();
        let thread = std::thread::Builder::new().name("vhost-user".to_owned()).spawn(run).map_err(fail)?;
        Ok(Self { line, next: 0, thread: Some(thread) })
    }

    /// Opens an interface; its front end may come and go.
    ///
    /// # Errors
    /// [`PortError::PathTooLong`]; [`PortError::SocketInUse`] and [`PortError::File`] for a server;
    /// [`PortError::System`] when the process has no descriptors left.
    pub fn open(&mut self, config: &VhostUserConfig) -> Result<Vec<VhostUserPort>, PortError> {
        endpoint::check_path(&config.path)?;
        let ports = config.ports.clamp(1, PAIRS);
        let fail = |error: nix::Error| PortError::System {
            doing: format!("opening the interface at `{}`", config.path.display()),
            source: error.into(),
        };
        let device = Arc::new(Device::new(ports).map_err(fail)?);
        let role = match config.role {
            VhostUserRole::Client => Role::client(),
            VhostUserRole::Server => Role::Server(listen(&config.path)?),
        };
        let offered = if config.mock { feature::ORIGINAL } else { feature::ORIGINAL | feature::VERSION_1 };
        let manners = Manners { offered, polled: config.mock };
        let interface = Interface::new(config, role, Arc::clone(&device), manners);
        let registration = Arc::new(Registration { line: Arc::clone(&self.line), id: self.next });
        self.line.send(Command::Open(self.next, Box::new(interface)));
        self.next += 1;
        let port = |number| VhostUserPort::new(Arc::clone(&device), number, Arc::clone(&registration));
        Ok((0..ports).map(port).collect())
    }
}

/// Listens. The socket of an interface that was closed a moment ago may still be there: its thread removes it.
fn listen(path: &Path) -> Result<Listener, PortError> {
    let end = Instant::now() + CLOSING;
    loop {
        match Listener::bind(path) {
            Err(PortError::SocketInUse(_)) if Instant::now() < end => std::thread::sleep(AGAIN),
            result => return result,
        }
    }
}

impl Drop for VhostUser {
    fn drop(&mut self) {
        self.line.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// What stands for the thread's own descriptors among those of interfaces.
const COMMANDS: u64 = u64::MAX;
const FILES: u64 = u64::MAX - 1;

struct Controller {
    line: Arc<Line>,
    commands: Receiver<Command>,
    epoll: Epoll,
    /// None when the system has no more of them; then sockets are looked for more often.
    watcher: Option<Watcher>,
    interfaces: HashMap<u64, Interface>,
}

impl Controller {
    fn new(line: Arc<Line>, commands: Receiver<Command>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(line.event.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, COMMANDS))?;
        let watcher = Watcher::new().ok();
        if let Some(watcher) = &watcher {
            epoll.add(watcher.fd(), EpollEvent::new(EpollFlags::EPOLLIN, FILES))?;
        }
        Ok(Self { line, commands, epoll, watcher, interfaces: HashMap::new() })
    }

    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let found = self.epoll.wait(&mut events, self.patience()).unwrap_or(0);
            for event in &events[..found] {
                match event.data() {
                    COMMANDS => {
                        let _ = self.line.event.read();
                    }
                    FILES => self.files_appeared(),
                    id => {
                        if let Some(interface) = self.interfaces.get_mut(&id) {
                            interface.serve(&self.epoll, id);
                        }
                    }
                }
            }
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::Open(id, interface) => self.open(id, *interface),
                    Command::Close(id) => {
                        if let Some(interface) = self.interfaces.remove(&id) {
                            interface.close(&self.epoll);
                        }
                    }
                    Command::Stop => return self.close(),
                }
            }
            let now = Instant::now();
            for (id, interface) in &mut self.interfaces {
                interface.pass(&self.epoll, *id, now);
            }
        }
    }

    fn open(&mut self, id: u64, mut interface: Interface) {
        let directory = interface.path().parent().unwrap_or(Path::new("/"));
        let is_watched = self.watcher.as_ref().is_some_and(|watcher| watcher.watch(directory).is_ok());
        interface.open(&self.epoll, id, is_watched);
        self.interfaces.insert(id, interface);
    }

    fn files_appeared(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let names = watcher.appeared();
        for interface in self.interfaces.values_mut() {
            if interface.path().file_name().is_some_and(|own| names.iter().any(|name| name == own)) {
                interface.appeared();
            }
        }
    }

    /// How long nothing has to be done but for events.
    fn patience(&self) -> EpollTimeout {
        let now = Instant::now();
        let next = self.interfaces.values().filter_map(Interface::due).min();
        next.map_or(EpollTimeout::NONE, |due| {
            // A part of a millisecond counts whole, or the thread would turn around until it is over.
            let left = due.saturating_duration_since(now) + Duration::from_micros(999);
            EpollTimeout::from(left.as_millis().min(u128::from(u16::MAX)) as u16)
        })
    }

    fn close(mut self) {
        for (_, interface) in self.interfaces.drain() {
            interface.close(&self.epoll);
        }
    }
}
