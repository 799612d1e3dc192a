//! How entries change while packets use them.

use std::sync::atomic::Ordering;

use vr_types::{FlowIndex, WorkerId};

use super::layout::{FlowAction, SharedFlow, TcpFlags};
use super::settle::settle;
use super::state::State;
use super::table::{FlowTable, TRIES};

impl FlowTable {
    pub(super) fn update_state(&self, index: FlowIndex, change: impl Fn(State) -> State) -> Option<State> {
        let cell = &self.hot.get(index.index())?.state;
        let old = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some(change(State(old)).0));
        old.ok().map(State)
    }

    /// Changes an entry as the agent asked: what was compiled is void, readers of the shared half wait until
    /// `change` is done and then find all of it. `simple` says that the new action is a plain forward.
    /// For the control thread only.
    pub fn modify(&self, index: FlowIndex, change: impl FnOnce(&SharedFlow) -> (FlowAction, bool)) {
        let (Some(shared), Some(hot)) = (self.shared(index), self.hot(index)) else { return };
        self.update_state(index, State::changing);
        hot.forget();
        std::sync::atomic::fence(Ordering::SeqCst);
        let linked = shared.reverse.load(Ordering::Relaxed);
        let (action, simple) = change(shared);
        self.update_state(index, |state| state.with_action(action, simple).changed());
        if shared.reverse.load(Ordering::Relaxed) != linked {
            self.void(FlowIndex(linked));
        }
        self.show(index);
    }

    /// Voids what was compiled for an entry. A translation is made of the key of the entry that this one is linked to,
    /// so it ends when that one goes or is linked to another. What goes by a member of a composite, or was checked against
    /// the one that the linked entry names, ends when that is another one.
    pub fn void(&self, index: FlowIndex) {
        if let Some(hot) = self.hot.get(index.index()) {
            hot.void(hot.state());
        }
    }

    /// Before the slot of `to` gets another user: the entry `from` is linked to it no more, and what was compiled for that
    /// is void. Packets would be translated by a stranger's key otherwise.
    pub(crate) fn end_link(&self, from: FlowIndex, to: FlowIndex) {
        let Some(shared) = self.shared(from) else { return };
        let nowhere = FlowIndex::NONE.0;
        if shared.reverse.compare_exchange(to.0, nowhere, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.show(from);
        }
        self.void(from);
    }

    /// Reads the shared half so that all of it belongs to one state. `None` when a change does not end
    /// within a short time, or the entry is not active.
    pub fn read<R>(&self, index: FlowIndex, read: impl Fn(&SharedFlow) -> R) -> Option<(R, State)> {
        let hot = self.hot.get(index.index())?;
        for _ in 0..TRIES {
            let before = hot.state();
            if !before.is_active() {
                return None;
            }
            if !before.is_changing() {
                let result = read(&self.shared[index.index()]);
                std::sync::atomic::fence(Ordering::Acquire);
                let after = hot.state();
                if after.version() == before.version() && !after.is_changing() {
                    return Some((result, after));
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Claims an entry for a worker if nobody owns it; says whether the worker is its owner now.
    #[inline]
    pub fn claim(&self, index: FlowIndex, worker: WorkerId) -> bool {
        let Some(hot) = self.hot.get(index.index()) else { return false };
        let state = hot.state();
        let owned = state.with_owner(worker).0;
        state.is_owned_by(worker)
            || state.is_unowned()
                && hot.state.compare_exchange(state.0, owned, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Adds TCP flags to an entry and says which it has now.
    pub fn set_tcp_flags(&self, index: FlowIndex, flags: TcpFlags) -> TcpFlags {
        let Some(shared) = self.shared.get(index.index()) else { return TcpFlags::empty() };
        let before = shared.tcp_flags.fetch_or(flags.bits(), Ordering::AcqRel);
        let now = TcpFlags::from_bits_truncate(before) | flags;
        settle(
            || TcpFlags::from_bits_truncate(shared.tcp_flags.load(Ordering::Acquire)),
            |settled| {
                self.update_state(index, |state| state.with_tcp_settled(settled));
            },
        );
        self.show(index);
        now
    }
}
