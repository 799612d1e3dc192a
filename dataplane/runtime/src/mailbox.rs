//! What other threads leave for a worker.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use crossbeam::queue::ArrayQueue;
use vr_types::{FlowIndex, VifId, WorkerId};

use crate::handoff::Handoff;
use crate::moves::Moves;
use crate::port::Queue;
use crate::status::Status;
use crate::wake::Bell;

/// Commands that wait for a worker at the most; the control thread waits for room.
const COMMANDS: usize = 1024;

/// What the control thread tells a worker.
pub(crate) enum Command {
    /// Take over a queue of an interface.
    Attach { vif: VifId, queue: Queue },
    /// Packets for an interface go to that worker from now on, unless this one has a queue of its own;
    /// without a worker they are dropped. Say so when this is known.
    Route { vif: VifId, to: Option<WorkerId>, done: Sender<()> },
    /// Close all queues of an interface; say so when they are closed.
    Detach { vif: VifId, done: Sender<()> },
    /// Say so and wait for the word to go on; interfaces have other numbers then, and another snapshot belongs to
    /// them.
    Renumber { paused: Sender<()>, go_on: Receiver<Arc<Moves>> },
    /// Look again at the packets held for a flow.
    FlowChanged(FlowIndex),
    /// End.
    Stop,
}

/// What belongs to a worker and is shared with other threads.
pub(crate) struct Mailbox {
    commands: ArrayQueue<Command>,
    pub(crate) handoff: Handoff,
    pub(crate) bell: Bell,
    pub(crate) status: Status,
}

impl Mailbox {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self {
            commands: ArrayQueue::new(COMMANDS),
            handoff: Handoff::new(),
            bell: Bell::new()?,
            status: Status::default(),
        })
    }

    /// Leaves a command.
    pub(crate) fn send(&self, command: Command) {
        self.send_all(std::iter::once(command));
    }

    /// Leaves commands, and rings once for all of them; waits while there is no room, which a worker makes with each
    /// pass.
    pub(crate) fn send_all(&self, commands: impl Iterator<Item = Command>) {
        for mut command in commands {
            while let Err(refused) = self.commands.push(command) {
                command = refused;
                self.bell.ring();
                std::thread::yield_now();
            }
        }
        self.bell.ring();
    }

    pub(crate) fn next_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// Whether nothing waits for the worker.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.handoff.is_empty()
    }
}
