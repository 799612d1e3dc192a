//! What one front end has said so far, and the rings that follow from it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use super::connection::Connection;
use super::device::Device;
use super::log::DirtyLog;
use super::memory::GuestMemory;
use super::protocol::{Broken, Message, PAIRS, Reply, Request, RingAddresses, feature};
use super::ring::{Ring, RingConfig};
use super::store::FeatureFile;
use crate::vnet::VNET_HEADER;

/// Messages that are read before others have their turn.
const TURN: usize = 64;

/// What the front end has said about one ring.
#[derive(Default)]
struct RingState {
    size: Option<u16>,
    addresses: Option<RingAddresses>,
    kick: Option<OwnedFd>,
    call: Option<Arc<OwnedFd>>,
    enabled: bool,
    /// Where the ring was left.
    base: u16,
}

/// How a session behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// The features that are offered.
    pub(super) offered: u64,
    /// The front end may not tell when it has posted something, whatever it promises.
    pub(super) polled: bool,
}

/// One front end.
pub(super) struct Session {
    connection: Connection,
    device: Arc<Device>,
    manners: Manners,
    kept: Option<Arc<FeatureFile>>,
    features: u64,
    memory: Option<Arc<GuestMemory>>,
    log: Option<Arc<DirtyLog>>,
    rings: [RingState; 2 * PAIRS],
}

impl Session {
    pub(super) fn new(
        connection: Connection,
        device: Arc<Device>,
        manners: Manners,
        kept: Option<Arc<FeatureFile>>,
    ) -> Self {
        // Who does not negotiate does not enable rings either.
        let valid = manners.offered & !feature::PROTOCOL_FEATURES;
        let features = kept.as_ref().map_or(0, |kept| kept.load() & valid);
        device.set_features(features);
        let rings = Default::default();
        Self { connection, device, manners, kept, features, memory: None, log: None, rings }
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Does what the front end asks for.
    pub(super) fn serve(&mut self) -> Result<(), Broken> {
        for _ in 0..TURN {
            let Some(message) = self.connection.next()? else { return Ok(()) };
            if let Some(reply) = self.handle(message)? {
                self.connection.reply(reply)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<Option<Reply>, Broken> {
        let Message { request, files } = message;
        match request {
            Request::GetFeatures => return Ok(Some(Reply::Features(self.manners.offered))),
            Request::GetProtocolFeatures => return Ok(Some(Reply::ProtocolFeatures)),
            Request::GetQueueNum => return Ok(Some(Reply::QueueNum)),
            Request::SetFeatures(features) => self.set_features(features),
            Request::SetMemTable(table) => {
                let memory = GuestMemory::map(&table, files)?;
                self.memory = Some(Arc::new(memory));
                self.apply_all();
            }
            Request::SetLogBase(len, offset) => {
                let file = files.into_iter().next().ok_or(Broken::Regions)?;
                self.log = Some(Arc::new(DirtyLog::map(file, len, offset)?));
                self.apply_all();
                return Ok(Some(Reply::LogBase));
            }
            Request::SetVringNum(ring, size) => {
                // The largest power of two that fits is the largest ring there is.
                let size = u16::try_from(size).ok().filter(|size| size.is_power_of_two());
                self.rings[ring].size = Some(size.ok_or(Broken::RingSize)?);
                self.apply(ring);
            }
            Request::SetVringAddr(ring, addresses) => {
                self.rings[ring].addresses = Some(addresses);
                self.apply(ring);
            }
            Request::GetVringBase(ring) => return Ok(Some(self.stop(ring))),
            Request::SetVringKick(ring, has) => {
                let kick = files.into_iter().next().filter(|_| has);
                self.set_kick(ring, kick);
                self.apply(ring);
            }
            Request::SetVringCall(ring, has) => {
                self.rings[ring].call =
                    files.into_iter().next().filter(|_| has).and_then(event).map(Arc::new);
                self.apply(ring);
            }
            Request::SetVringEnable(ring, enabled) => {
                self.rings[ring].enabled = enabled;
                self.apply(ring);
            }
            // A ring goes on where its used index says.
            Request::SetVringBase(_) | Request::Nothing => {}
        }
        Ok(None)
    }

    fn set_features(&mut self, features: u64) {
        self.features = features & self.manners.offered;
        self.device.set_features(self.features);
        if let Some(kept) = &self.kept {
            kept.store(self.features);
        }
        self.apply_all();
    }

    fn apply_all(&mut self) {
        for ring in 0..2 * PAIRS {
            self.apply(ring);
        }
    }

    /// Puts a ring in use, or out of use, as what is known of it demands.
    fn apply(&mut self, number: usize) {
        if let Some(base) = self.device.replace(number, || self.ring(number)) {
            self.rings[number].base = base;
        }
    }

    fn ring(&self, number: usize) -> Option<Ring> {
        let state = &self.rings[number];
        // Front ends that do not negotiate this do not enable rings either.
        if !state.enabled && self.features & feature::PROTOCOL_FEATURES != 0 {
            return None;
        }
        let mergeable = self.features & feature::MRG_RXBUF != 0;
        let has_count = mergeable || self.features & feature::VERSION_1 != 0;
        let config = RingConfig {
            memory: Arc::clone(self.memory.as_ref()?),
            size: state.size?,
            addresses: state.addresses?,
            log: self.log.clone().filter(|_| self.features & feature::LOG_ALL != 0),
            call: state.call.clone(),
            told: state.kick.is_some() && !self.manners.polled,
            header: if has_count { VNET_HEADER + 2 } else { VNET_HEADER },
            mergeable,
        };
        Ring::new(config)
    }

    /// Stops a ring, and says where it would go on.
    fn stop(&mut self, number: usize) -> Reply {
        self.rings[number].addresses = None;
        self.apply(number);
        self.set_kick(number, None);
        Reply::VringBase(number, self.rings[number].base)
    }

    fn set_kick(&mut self, number: usize, kick: Option<OwnedFd>) {
        let is_from_guest = number % 2 == 1;
        if let Some(before) = self.rings[number].kick.take() {
            self.device.unwatch(number / 2, before.as_fd());
        }
        // Room in the ring to the guest is found by looking, so nobody waits for it.
        self.rings[number].kick =
            kick.filter(|kick| is_from_guest && self.device.watch(number / 2, kick.as_fd()));
    }

    /// The front end is gone. What it has posted is for the workers still.
    pub(super) fn hang_up(mut self) {
        for number in 0..2 * PAIRS {
            let (pair, is_from_guest) = (number / 2, number % 2 == 1);
            let is_left =
                is_from_guest && self.device.from_guest[pair].lock().as_mut().is_some_and(Ring::finish);
            if is_left {
                self.device.wake(pair);
            } else {
                self.device.replace(number, || None);
            }
            self.set_kick(number, None);
        }
        self.device.set_features(0);
    }
}

/// A descriptor to raise events at; none for what is no such thing. It is made so that a write does not block, for
/// systems on which it has to be written to ([`super::call`]).
fn event(fd: OwnedFd) -> Option<OwnedFd> {
    let status = fstat(&fd).ok()?;
    // Files, pipes and sockets have a type; the kernel's anonymous ones have none.
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::empty() {
        return None;
    }
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).ok()?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).ok()?;
    Some(fd)
}
