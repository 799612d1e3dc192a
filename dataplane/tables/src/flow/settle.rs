use super::layout::TcpFlags;

/// Works out whether a connection is settled and stores that, until nobody adds `flags` meanwhile.
///
/// To be called by everybody who has added flags. `store` has to be an exchange with acquire and release: then
/// whoever stores last sees afterwards what all others had added before they stored. To look before storing is not
/// enough, because the state may come back to what it was.
pub(super) fn settle(flags: impl Fn() -> TcpFlags, store: impl Fn(bool)) {
    let mut seen = flags();
    // Flags are only added, so each round but the last has found a new one.
    for _ in 0..=u16::BITS {
        store(is_settled(seen));
        let now = flags();
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// Whether a segment without SYN, FIN and RST changes nothing but the acknowledgement number. When the connection is
/// over, it marks the flow for eviction.
const fn is_settled(flags: TcpFlags) -> bool {
    !flags.intersects(TcpFlags::FIN_R.union(TcpFlags::DEAD))
        && (!flags.contains(TcpFlags::SYN_R) || flags.contains(TcpFlags::ESTABLISHED_R))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{TcpFlags, settle};

    #[test]
    fn flags_that_come_between_the_look_and_the_store_count() {
        let established = TcpFlags::SYN_R | TcpFlags::ESTABLISHED_R;
        let (flags, settled) = (Cell::new(established), Cell::new(false));
        let others = Cell::new(Some(TcpFlags::FIN_R));
        settle(
            || flags.get(),
            |value| {
                // Another thread adds a flag and stores what is stored already, which the exchange does not notice.
                if let Some(added) = others.take() {
                    flags.set(flags.get() | added);
                    settled.set(false);
                }
                settled.set(value);
            },
        );
        assert!(!settled.get(), "settled with a FIN of the other side");
        flags.set(established);
        settle(|| flags.get(), |value| settled.set(value));
        assert!(settled.get());
    }
}
