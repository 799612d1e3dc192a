use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandesh::Compat;
use vr_tables::control::{Datapath, Tables};

use crate::client::Client;
use crate::listener::Listener;
use crate::refusals::Refusals;
use crate::{About, MachineSource, Recorder, Responder};

/// Clients at a time; further ones are accepted and closed.
const MAX_CLIENTS: usize = 64;
/// How long a client may leave its replies unread.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long new clients wait after one could not be accepted: for want of descriptors, which clients give back.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another daemon serves the directory.
    #[error("another vrouter listens on {0}; stop it, or choose another socket directory with `socket_dir`")]
    InUse(PathBuf),
    /// The directory could not be made.
    #[error("cannot make the socket directory {path}: {source}; check its parent and your privileges")]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket could not be made.
    #[error(
        "cannot listen on {path}: {source}; check the directory's permissions and the length of the path"
    )]
    Listen {
        /// Which socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; end what listens there, or choose another `control_port`")]
    ListenTcp {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What a call of [`Server::poll`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Request frames that were executed.
    pub requests: usize,
    /// The wake descriptor is readable.
    pub woken: bool,
    /// System calls made to wait, to read requests and to write replies.
    pub calls: u64,
}

/// The control socket and its clients. Runs in the control thread: nothing happens outside of
/// [`Server::poll`].
pub struct Server {
    listener: Listener,
    clients: Vec<Client>,
    responder: Responder,
    compat: Compat,
    patience: Duration,
    /// No client is accepted before.
    paused_until: Option<Instant>,
    refusals: Refusals,
    recorder: Option<Recorder>,
    /// How many clients there were.
    connections: u64,
}

impl Server {
    /// Listens in `directory`, which is made if it is missing. A socket that a dead daemon left is replaced.
    ///
    /// # Errors
    /// [`ServerError`] when somebody else listens there, or the system refuses.
    pub fn bind(directory: &Path, about: About) -> Result<Self, ServerError> {
        Ok(Self::new(Listener::unix(directory)?, about))
    }

    /// Listens on an address of the host, for clients of R2.20 (control.md 3.1).
    ///
    /// # Errors
    /// [`ServerError`] when the system refuses.
    pub fn bind_r220(address: SocketAddr, about: About) -> Result<Self, ServerError> {
        Ok(Self::new(Listener::tcp(address)?, about).with_compat(Compat::R220))
    }

    fn new(listener: Listener, about: About) -> Self {
        Self {
            listener,
            clients: Vec::new(),
            responder: Responder::new(about),
            compat: Compat::Current,
            patience: PATIENCE,
            paused_until: None,
            refusals: Refusals::default(),
            recorder: None,
            connections: 0,
        }
    }

    /// The release that clients have before they tell otherwise.
    #[must_use]
    pub fn with_compat(mut self, compat: Compat) -> Self {
        self.compat = compat;
        self
    }

    /// How long a client may leave its replies unread before it is closed.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Tells clients what `source` tells about workers and ports.
    #[must_use]
    pub fn with_machine(mut self, source: MachineSource) -> Self {
        self.responder.set_machine(source);
        self
    }

    /// Records what clients ask and what they are answered.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Option<Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Waits at most `timeout` until something happens on the socket or on `wake`, executes the requests
    /// that have arrived, publishes their changes and sends the replies.
    ///
    /// # Errors
    /// What the system says when waiting itself fails. Trouble with one client closes that one only.
    pub fn poll(
        &mut self,
        tables: &mut Tables,
        datapath: &mut dyn Datapath,
        timeout: Duration,
        wake: Option<BorrowedFd<'_>>,
    ) -> io::Result<Polled> {
        let (ready, mut polled) = self.wait(timeout, wake)?;
        if ready.listener {
            self.accept();
        }
        let mut broken = vec![false; self.clients.len()];
        for (client, (readable, broken)) in self.clients.iter_mut().zip(ready.clients.iter().zip(&mut broken))
        {
            if *readable || client.has_requests() {
                match client.serve(&mut self.responder, tables, datapath, self.recorder.as_mut()) {
                    Ok(requests) => polled.requests += requests,
                    Err(error) => {
                        tracing::warn!(%error, "a control connection is closed");
                        *broken = true;
                    }
                }
            }
        }
        // What was asked for in front of bytes that close a connection was executed as well.
        if polled.requests > 0 || broken.contains(&true) {
            tables.publish();
            datapath.go_on();
        }
        polled.calls += self.finish(&broken);
        Ok(polled)
    }

    fn wait(&self, timeout: Duration, wake: Option<BorrowedFd<'_>>) -> io::Result<(Ready, Polled)> {
        let mut fds = Vec::with_capacity(self.clients.len() + 2);
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.paused_until.is_none_or(|end| end <= Instant::now()));
        fds.push(PollFd::new(self.listener.as_fd(), events));
        for client in &self.clients {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, client.wants_input());
            events.set(PollFlags::POLLOUT, client.wants_output());
            fds.push(PollFd::new(client.fd(), events));
        }
        if let Some(wake) = wake {
            fds.push(PollFd::new(wake, PollFlags::POLLIN));
        }
        let timeout = if self.clients.iter().any(Client::has_requests) { Duration::ZERO } else { timeout };
        let millis = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
        match poll(&mut fds, PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let has = |fd: &PollFd<'_>, flags| fd.revents().is_some_and(|events| events.intersects(flags));
        let input = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        let clients = fds[1..=self.clients.len()].iter().map(|fd| has(fd, input)).collect();
        let woken = fds.get(self.clients.len() + 1).is_some_and(|fd| has(fd, PollFlags::POLLIN));
        Ok((
            Ready { listener: has(&fds[0], PollFlags::POLLIN), clients },
            Polled { requests: 0, woken, calls: 1 },
        ))
    }

    /// Accepts who waits, and no more than there are places: who connects again and again must not keep everybody else.
    fn accept(&mut self) {
        for _ in 0..MAX_CLIENTS {
            match self.listener.accept() {
                Ok(stream) if self.clients.len() < MAX_CLIENTS => {
                    self.connections += 1;
                    self.clients.push(Client::new(stream, self.connections, self.compat));
                }
                Ok(_) => {
                    if let Some(refused) = self.refusals.note(Instant::now()) {
                        tracing::warn!(refused, "control connections are refused: there are {MAX_CLIENTS}");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "a control connection has to wait");
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }

    /// Sends replies and closes what is over. `broken` is about the clients that were there before others
    /// were accepted. Says how many system calls were made for clients.
    fn finish(&mut self, broken: &[bool]) -> u64 {
        let now = Instant::now();
        let (mut position, mut calls) = (0, 0);
        self.clients.retain_mut(|client| {
            let broken = broken.get(position).copied().unwrap_or(false);
            position += 1;
            let stays = !broken && client.flush(now).is_ok() && !client.is_over(now, self.patience);
            calls += client.take_calls();
            stays
        });
        calls
    }
}

/// What is readable.
struct Ready {
    listener: bool,
    clients: Vec<bool>,
}
