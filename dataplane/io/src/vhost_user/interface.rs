//! The life of one interface: waiting for a front end, serving it, letting the workers finish.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::VhostUserConfig;
use super::connection::Connection;
use super::device::Device;
use super::endpoint::{self, Listener};
use super::protocol::Broken;
use super::session::{Manners, Session};
use super::store::FeatureFile;
use crate::netdev;

/// Between two attempts on a socket that has just appeared: whoever made it listens soon.
const SOON: Duration = Duration::from_millis(20);
/// How long it is new.
const NEW: Duration = Duration::from_secs(10);
/// Between two attempts on a socket on which nobody has listened for long.
const STALE: Duration = Duration::from_millis(500);
/// Between two looks for a socket in a watched directory, in case that the watch has lost something.
const ABSENT: Duration = Duration::from_secs(1);
/// How long workers may take to forward what a front end has left.
const LEFT: Duration = Duration::from_millis(500);
/// Between two looks whether they have.
const GLANCE: Duration = Duration::from_millis(2);

/// How front ends are found.
pub(super) enum Role {
    /// They listen.
    Client {
        /// The next attempt.
        next: Instant,
        /// When their socket appeared last.
        since: Instant,
        /// Somebody tells when it appears.
        is_watched: bool,
    },
    /// We listen.
    Server(Listener),
}

impl Role {
    pub(super) fn client() -> Self {
        let now = Instant::now();
        Self::Client { next: now, since: now, is_watched: false }
    }
}

enum State {
    /// Nobody is there.
    Alone,
    Served(Box<Session>),
    /// The front end is gone, at that time; workers forward what it has left.
    Left(Instant),
}

/// One interface.
pub(super) struct Interface {
    path: PathBuf,
    role: Role,
    device: Arc<Device>,
    manners: Manners,
    kept: Option<Arc<FeatureFile>>,
    /// Under this name its state is announced.
    announced: Option<String>,
    state: State,
    /// A front end that has connected before its predecessor was done with.
    waiting: Option<OwnedFd>,
}

impl Interface {
    pub(super) fn new(config: &VhostUserConfig, role: Role, device: Arc<Device>, manners: Manners) -> Self {
        Self {
            path: config.path.clone(),
            role,
            device,
            manners,
            kept: config.features.clone().map(FeatureFile::new).map(Arc::new),
            announced: config.announced.clone(),
            state: State::Alone,
            waiting: None,
        }
    }

    /// Tells whoever listens for changes of links whether a front end is there.
    fn announce(&self, up: bool) {
        if let Some(name) = &self.announced
            && let Err(error) = netdev::announce(name, up)
        {
            tracing::warn!(name, %error, "the agent does not hear whether a virtual machine is there");
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to look for front ends.
    pub(super) fn open(&mut self, epoll: &Epoll, id: u64, watched: bool) {
        match &mut self.role {
            Role::Client { is_watched, .. } => *is_watched = watched,
            Role::Server(listener) => {
                if let Err(error) = epoll.add(listener.fd(), EpollEvent::new(EpollFlags::EPOLLIN, id)) {
                    tracing::error!(path = %self.path.display(), %error, "nobody is accepted");
                }
            }
        }
        self.pass(epoll, id, Instant::now());
    }

    /// The socket of the front end has appeared.
    pub(super) fn appeared(&mut self) {
        if let Role::Client { next, since, .. } = &mut self.role {
            *since = Instant::now();
            *next = *since;
        }
    }

    /// When [`Interface::pass`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match (&self.state, &self.role) {
            (State::Served(_), _) | (State::Alone, Role::Server(_)) => None,
            (State::Left(_), _) => Some(Instant::now() + GLANCE),
            (State::Alone, Role::Client { next, .. }) => Some(*next),
        }
    }

    /// Does what time demands.
    pub(super) fn pass(&mut self, epoll: &Epoll, id: u64, now: Instant) {
        if let State::Left(since) = self.state {
            if self.device.receiving() != 0 && now.saturating_duration_since(since) < LEFT {
                return;
            }
            self.device.clear();
            self.state = State::Alone;
            if let Some(socket) = self.waiting.take() {
                return self.begin(epoll, id, socket);
            }
        }
        if matches!(self.state, State::Alone) {
            self.connect(epoll, id, now);
        }
    }

    fn connect(&mut self, epoll: &Epoll, id: u64, now: Instant) {
        let Role::Client { next, since, is_watched } = &mut self.role else { return };
        if *next > now {
            return;
        }
        match endpoint::connect(&self.path) {
            Ok(socket) => self.begin(epoll, id, socket),
            Err(Errno::ENOENT) if *is_watched => *next = now + ABSENT,
            Err(_) if now.saturating_duration_since(*since) > NEW => *next = now + STALE,
            Err(_) => *next = now + SOON,
        }
    }

    fn begin(&mut self, epoll: &Epoll, id: u64, socket: OwnedFd) {
        let connection = Connection::new(socket);
        if let Err(error) = epoll.add(connection.fd(), EpollEvent::new(EpollFlags::EPOLLIN, id)) {
            return tracing::error!(path = %self.path.display(), %error, "a front end cannot be served");
        }
        tracing::debug!(path = %self.path.display(), "front end connected");
        let device = Arc::clone(&self.device);
        let session = Session::new(connection, device, self.manners, self.kept.clone());
        self.state = State::Served(Box::new(session));
        self.announce(true);
    }

    /// Something can be read, or a front end wants to be accepted.
    pub(super) fn serve(&mut self, epoll: &Epoll, id: u64) {
        // First of all, to see whether it has gone before another one came.
        if let State::Served(session) = &mut self.state
            && let Err(reason) = session.serve()
        {
            self.leave(epoll, reason);
        }
        if let Role::Server(listener) = &self.role
            && let Some(socket) = listener.accept()
        {
            match self.state {
                State::Alone => self.begin(epoll, id, socket),
                State::Left(_) => self.waiting = Some(socket),
                // One at a time; who comes in between is sent away.
                State::Served(_) => drop(socket),
            }
        }
    }

    fn leave(&mut self, epoll: &Epoll, reason: Broken) {
        let now = Instant::now();
        let State::Served(session) = std::mem::replace(&mut self.state, State::Left(now)) else { return };
        match reason {
            Broken::Gone => tracing::debug!(path = %self.path.display(), "front end gone"),
            reason => tracing::warn!(path = %self.path.display(), %reason, "front end dismissed"),
        }
        // The descriptor is this process's alone, and yet a fork could have it.
        let _ = epoll.delete(session.connection().fd());
        session.hang_up();
        self.announce(false);
        if let Role::Client { next, since, .. } = &mut self.role {
            *since = now;
            // Who breaks the rules would break them again at once.
            *next = if matches!(reason, Broken::Gone) { now } else { now + STALE };
        }
    }

    /// Ends it; nothing is forwarded any more.
    pub(super) fn close(mut self, epoll: &Epoll) {
        if let Role::Server(listener) = &self.role {
            let _ = epoll.delete(listener.fd());
        }
        self.leave(epoll, Broken::Gone);
        self.device.clear();
    }
}
