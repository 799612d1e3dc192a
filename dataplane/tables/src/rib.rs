//! The configured routes of one VRF and family, in dump order.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::fib::{Fib, Route};

/// Exact prefixes beside the [`Fib`] that is made from them.
#[derive(Default)]
pub struct Rib<const N: usize> {
    routes: BTreeMap<([u8; N], u8), Route>,
}

/// The address with all bits behind `len` cleared.
#[must_use]
pub fn masked<const N: usize>(mut address: [u8; N], len: u8) -> [u8; N] {
    let len = usize::from(len);
    for (i, byte) in address.iter_mut().enumerate() {
        let keep = len.saturating_sub(i * 8).min(8);
        *byte &= !(0xff_u32 >> keep) as u8;
    }
    address
}

impl<const N: usize> Rib<N> {
    /// Adds or replaces a route; its `prefix_len` is the length of the prefix. Returns what it replaced.
    pub fn insert(&mut self, fib: &mut Fib<N>, prefix: [u8; N], route: Route) -> Option<Route> {
        let prefix = masked(prefix, route.prefix_len);
        fib.insert(&prefix, route);
        self.routes.insert((prefix, route.prefix_len), route)
    }

    /// Removes a route if it is there.
    pub fn remove(&mut self, fib: &mut Fib<N>, prefix: [u8; N], len: u8) -> Option<Route> {
        let prefix = masked(prefix, len);
        let removed = self.routes.remove(&(prefix, len))?;
        let covering = (0..len).rev().find_map(|shorter| self.exact(prefix, shorter)).unwrap_or(Route::MISS);
        fib.remove(&prefix, len, covering);
        Some(removed)
    }

    /// The route of exactly this prefix.
    #[must_use]
    pub fn exact(&self, prefix: [u8; N], len: u8) -> Option<Route> {
        self.routes.get(&(masked(prefix, len), len)).copied()
    }

    /// The longest match of `address` that is no longer than `len`.
    #[must_use]
    pub fn covering(&self, address: [u8; N], len: u8) -> Option<Route> {
        (0..=len).rev().find_map(|l| self.exact(address, l))
    }

    /// Routes in order of (address, length), starting behind every prefix with the address `after`.
    pub fn iter_after(&self, after: Option<[u8; N]>) -> impl Iterator<Item = (&[u8; N], &Route)> {
        let start = after.map_or(Bound::Unbounded, |address| Bound::Excluded((address, u8::MAX)));
        self.routes.range((start, Bound::Unbounded)).map(|((prefix, _), route)| (prefix, route))
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Rib, masked};
    use crate::fib::{Fib, Route, RouteFlags};
    use crate::nexthop::NexthopSlot;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use vr_types::BridgeIndex;

    fn route(nexthop: u32, len: u8) -> Route {
        Route::new(NexthopSlot(nexthop), nexthop, RouteFlags::LABEL_VALID, BridgeIndex::NONE, len)
    }

    /// The plainest possible longest prefix match.
    fn naive<const N: usize>(routes: &HashMap<([u8; N], u8), Route>, address: [u8; N]) -> Route {
        (0..=(N * 8) as u8)
            .rev()
            .find_map(|len| routes.get(&(masked(address, len), len)).copied())
            .unwrap_or(Route::MISS)
    }

    fn check<const N: usize>(
        ops: Vec<([u8; N], u8, Option<u32>)>,
        probes: Vec<[u8; N]>,
    ) -> Result<(), TestCaseError> {
        let (mut rib, mut fib, mut model) = (Rib::default(), Fib::default(), HashMap::new());
        for (address, len, nexthop) in &ops {
            let len = len % (N as u8 * 8 + 1);
            let prefix = masked(*address, len);
            match nexthop {
                Some(nexthop) => {
                    let route = route(*nexthop, len);
                    let replaced = rib.insert(&mut fib, *address, route);
                    prop_assert_eq!(replaced, model.insert((prefix, len), route));
                }
                None => {
                    prop_assert_eq!(rib.remove(&mut fib, *address, len), model.remove(&(prefix, len)));
                }
            }
            prop_assert_eq!(fib.lookup(address), naive(&model, *address));
            let covering = (0..=len).rev().find_map(|len| model.get(&(masked(*address, len), len)).copied());
            prop_assert_eq!(rib.covering(*address, len), covering);
            prop_assert_eq!(rib.len(), model.len());
        }
        for address in probes.into_iter().chain(ops.into_iter().map(|(address, ..)| address)) {
            prop_assert_eq!(fib.lookup(&address), naive(&model, address));
        }
        let mut expected: Vec<_> = model.keys().copied().collect();
        expected.sort_unstable();
        let dumped: Vec<_> = rib.iter_after(None).map(|(p, r)| (*p, r.prefix_len)).collect();
        prop_assert_eq!(dumped, expected);
        Ok(())
    }

    // Few distinct bytes, so that prefixes nest and collide.
    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![Just(10u8), Just(0), Just(255), Just(1), any::<u8>()]
    }

    proptest! {
        #[test]
        fn inet_equals_the_naive_model(
            ops in prop::collection::vec((prop::array::uniform4(byte()), any::<u8>(), prop::option::weighted(0.7, 1..1000u32)), 0..120),
            probes in prop::collection::vec(prop::array::uniform4(byte()), 0..50),
        ) {
            check(ops, probes)?;
        }

        #[test]
        fn inet6_equals_the_naive_model(
            ops in prop::collection::vec((prop::array::uniform16(byte()), any::<u8>(), prop::option::weighted(0.7, 1..1000u32)), 0..40),
            probes in prop::collection::vec(prop::array::uniform16(byte()), 0..20),
        ) {
            check(ops, probes)?;
        }
    }

    #[test]
    fn removing_a_shorter_prefix_keeps_the_longer_ones() {
        let (mut rib, mut fib) = (Rib::<4>::default(), Fib::default());
        for len in [25, 23, 24] {
            rib.insert(&mut fib, [10, 60, 7, 0], route(38, len));
        }
        rib.insert(&mut fib, [10, 60, 0, 0], route(2, 20));
        rib.remove(&mut fib, [10, 60, 0, 0], 20);
        for host in [3, 144] {
            assert_eq!(fib.lookup(&[10, 60, 7, host]).nexthop, NexthopSlot(38));
        }
        assert_eq!(fib.lookup(&[10, 60, 1, 1]), Route::MISS);
    }
}
