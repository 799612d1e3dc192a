//! IPv4 and IPv6 routes (control.md 4.5, forwarding.md 3.2).

use vr_types::{BridgeIndex, Mac, NexthopId, VrfId};

use super::nexthop::NexthopKind;
use super::{CommandError, GivenMac, Tables};
use crate::bridge::BridgeKey;
use crate::fib::{Fib, Route, RouteFlags};
use crate::nexthop::NexthopSlot;
use crate::rib::Rib;
use crate::snapshot::Vrf;

/// Prefix of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// IPv4 address and length.
    Inet([u8; 4], u8),
    /// IPv6 address and length.
    Inet6([u8; 16], u8),
}

impl Prefix {
    /// The address in `bytes`, 4 or 16 of them as `inet6` says, with a length that fits.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for another number of bytes or too great a length.
    pub fn new(inet6: bool, bytes: &[u8], len: i32) -> Result<Self, CommandError> {
        let invalid = CommandError::Invalid("the prefix is malformed");
        let Ok(len) = u8::try_from(len) else { return Err(invalid) };
        match (inet6, bytes.try_into(), bytes.try_into()) {
            (false, Ok(address), _) if len <= 32 => Ok(Self::Inet(address, len)),
            (true, _, Ok(address)) if len <= 128 => Ok(Self::Inet6(address, len)),
            _ => Err(invalid),
        }
    }
}

/// A route as the agent describes it.
#[derive(Clone, Copy, Debug)]
pub struct RouteSpec {
    /// VRF.
    pub vrf: VrfId,
    /// Prefix; bits behind its length do not count.
    pub prefix: Prefix,
    /// Nexthop; for a removal that of the covering route.
    pub nexthop: NexthopId,
    /// Label; counts with [`RouteFlags::LABEL_VALID`].
    pub label: u32,
    /// Flags.
    pub flags: RouteFlags,
    /// MAC whose bridge entry answers ARP.
    pub mac: GivenMac,
}

/// What a route lookup of a client gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// The route.
    pub route: Route,
    /// Id of its nexthop.
    pub nexthop: NexthopId,
    /// The stitched MAC, if there is one and its bridge entry is still there.
    pub mac: Option<Mac>,
}

/// Routes of one VRF; a family without a table never had a route.
#[derive(Default)]
pub(super) struct VrfRoutes {
    inet: Option<Rib<4>>,
    inet6: Option<Rib<16>>,
}

impl VrfRoutes {
    fn has(&self, prefix: Prefix) -> bool {
        match prefix {
            Prefix::Inet(..) => self.inet.is_some(),
            Prefix::Inet6(..) => self.inet6.is_some(),
        }
    }

    fn insert(&mut self, vrf: &mut Vrf, prefix: Prefix, make: impl Fn(u8) -> Route) -> Option<Route> {
        match prefix {
            Prefix::Inet(address, len) => {
                self.inet.get_or_insert_default().insert(&mut vrf.inet, address, make(len))
            }
            Prefix::Inet6(address, len) => {
                self.inet6.get_or_insert_default().insert(&mut vrf.inet6, address, make(len))
            }
        }
    }

    fn remove(&mut self, vrf: &mut Vrf, prefix: Prefix) -> Option<Route> {
        fn from<const N: usize>(
            rib: Option<&mut Rib<N>>,
            fib: &mut Fib<N>,
            address: [u8; N],
            len: u8,
        ) -> Option<Route> {
            rib?.remove(fib, address, len)
        }
        match prefix {
            Prefix::Inet(address, len) => from(self.inet.as_mut(), &mut vrf.inet, address, len),
            Prefix::Inet6(address, len) => from(self.inet6.as_mut(), &mut vrf.inet6, address, len),
        }
    }

    fn covering(&self, prefix: Prefix) -> Option<Route> {
        match prefix {
            Prefix::Inet(address, len) => self.inet.as_ref()?.covering(address, len),
            Prefix::Inet6(address, len) => self.inet6.as_ref()?.covering(address, len),
        }
    }

    fn len(&self) -> usize {
        self.inet.as_ref().map_or(0, Rib::len) + self.inet6.as_ref().map_or(0, Rib::len)
    }
}

impl Tables {
    fn check_vrf(&self, vrf: VrfId) -> Result<(), CommandError> {
        if u32::from(vrf.0) < self.limits.vrfs {
            Ok(())
        } else {
            Err(CommandError::Invalid("the VRF is beyond the table"))
        }
    }

    /// Adds or replaces a route. The VRF need not be known before.
    ///
    /// # Errors
    /// [`CommandError`] as control.md 4.5 says.
    pub fn route_add(&mut self, spec: &RouteSpec) -> Result<(), CommandError> {
        self.begin();
        self.check_vrf(spec.vrf)?;
        let nexthop = self.nexthop_slot(spec.nexthop).ok_or(CommandError::NotFound("nexthop"))?;
        let is_tunnel =
            self.nexthops.get(nexthop).is_some_and(|stored| stored.spec.kind == NexthopKind::Tunnel);
        if is_tunnel && !spec.flags.contains(RouteFlags::LABEL_VALID) {
            return Err(CommandError::Invalid("a route to a tunnel needs a label"));
        }
        let stitched = self.stitched(spec.vrf, spec.mac)?;
        let make = |len| Route::new(nexthop, spec.label, spec.flags, stitched, len);
        self.nexthops.acquire(nexthop);
        let routes = self.routes.entry(spec.vrf).or_default();
        let replaced =
            with_vrf(&mut self.work.vrfs, spec.vrf, |vrf| routes.insert(vrf, spec.prefix, make)).flatten();
        self.route_left(replaced.map(|route| route.nexthop));
        Ok(())
    }

    /// Removes a route; one that is not there is no error. The description of the covering route is checked
    /// and not otherwise used, because covering routes are kept here.
    ///
    /// # Errors
    /// [`CommandError`] as control.md 4.5 says.
    pub fn route_delete(&mut self, spec: &RouteSpec) -> Result<(), CommandError> {
        self.begin();
        self.check_vrf(spec.vrf)?;
        self.nexthop_slot(spec.nexthop).ok_or(CommandError::NotFound("nexthop"))?;
        self.stitched(spec.vrf, spec.mac)?;
        let routes = self
            .routes
            .get_mut(&spec.vrf)
            .filter(|routes| routes.has(spec.prefix))
            .ok_or(CommandError::NotFound("route table"))?;
        let removed =
            with_vrf(&mut self.work.vrfs, spec.vrf, |vrf| routes.remove(vrf, spec.prefix)).flatten();
        self.route_left(removed.map(|route| route.nexthop));
        Ok(())
    }

    fn route_left(&mut self, nexthop: Option<NexthopSlot>) {
        if let Some(nexthop) = nexthop {
            self.nexthops.release(&mut self.work, nexthop);
        }
        self.changed();
    }

    /// The bridge entry of a stitched MAC.
    fn stitched(&self, vrf: VrfId, mac: GivenMac) -> Result<BridgeIndex, CommandError> {
        let Some(mac) = mac.non_zero() else { return Ok(BridgeIndex::NONE) };
        let entry = self.bridge.table().lookup(BridgeKey::new(vrf, mac));
        entry.map(|entry| entry.index).ok_or(CommandError::NotFound("bridge entry"))
    }

    /// The longest match of the prefix's address that is no longer than the prefix; `None` if the VRF has no
    /// table, [`Route::MISS`] if nothing matches.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a VRF beyond the table.
    pub fn route(&self, vrf: VrfId, prefix: Prefix) -> Result<Option<RouteView>, CommandError> {
        self.check_vrf(vrf)?;
        let Some(routes) = self.routes.get(&vrf).filter(|routes| routes.has(prefix)) else {
            return Ok(None);
        };
        Ok(Some(self.route_view(routes.covering(prefix).unwrap_or(Route::MISS))))
    }

    fn route_view(&self, route: Route) -> RouteView {
        let mac = self.bridge.table().entry(route.stitched).map(|(key, _)| key.mac());
        RouteView { route, nexthop: self.nexthop_id(route.nexthop), mac }
    }

    /// IPv4 routes of a VRF in order of address and length, behind all with the address `after`.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when the VRF has no table.
    pub fn inet_routes(
        &self,
        vrf: VrfId,
        after: Option<[u8; 4]>,
    ) -> Result<impl Iterator<Item = ([u8; 4], RouteView)>, CommandError> {
        let rib = self.routes.get(&vrf).and_then(|routes| routes.inet.as_ref());
        Ok(self.views(rib.ok_or(NO_TABLE)?, after))
    }

    /// As [`Tables::inet_routes`] for IPv6.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when the VRF has no table.
    pub fn inet6_routes(
        &self,
        vrf: VrfId,
        after: Option<[u8; 16]>,
    ) -> Result<impl Iterator<Item = ([u8; 16], RouteView)>, CommandError> {
        let rib = self.routes.get(&vrf).and_then(|routes| routes.inet6.as_ref());
        Ok(self.views(rib.ok_or(NO_TABLE)?, after))
    }

    fn views<const N: usize>(
        &self,
        rib: &Rib<N>,
        after: Option<[u8; N]>,
    ) -> impl Iterator<Item = ([u8; N], RouteView)> {
        rib.iter_after(after).map(|(prefix, route)| (*prefix, self.route_view(*route)))
    }

    /// How many routes there are in all VRFs.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes.values().map(VrfRoutes::len).sum()
    }
}

const NO_TABLE: CommandError = CommandError::Invalid("the VRF has no route table");

/// Changes a VRF, which comes into being by that, and advances its epoch.
pub(super) fn with_vrf<R>(
    vrfs: &mut crate::dense::Dense<Vrf>,
    id: VrfId,
    change: impl FnOnce(&mut Vrf) -> R,
) -> Option<R> {
    if vrfs.get(id.index()).is_none() {
        vrfs.set(id.index(), Some(Vrf::default()));
    }
    let vrf = vrfs.get_mut(id.index())?;
    vrf.epoch = vrf.epoch.wrapping_add(1);
    Some(change(vrf))
}
