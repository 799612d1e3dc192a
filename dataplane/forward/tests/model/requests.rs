//! Random requests about flows.

use vr_tables::control::{FlowSpec, Reverse};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_types::VrfId;

use crate::random::Random;
use crate::talk::{SIDES, Side, Talk};
use crate::world::ROUTED;

/// How a request names its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name {
    /// By position if the flow exists, else by its key.
    Fitting,
    ByKey,
    ByPosition(u32),
}

/// A request about a flow; what it says of entries is looked up when it is made.
#[derive(Clone, Debug)]
pub(crate) struct SetSpec {
    pub(crate) talk: usize,
    pub(crate) side: Side,
    pub(crate) name: Name,
    /// Added to the generation.
    pub(crate) off: u8,
    /// The request has the key of another side.
    pub(crate) key: Option<Side>,
    pub(crate) action: Option<FlowAction>,
    pub(crate) flags: FlowFlags,
    /// The reverse flow, by position or by key.
    pub(crate) reverse: Option<(Side, bool)>,
    pub(crate) vrfs: [u16; 2],
    pub(crate) mirrors: [u16; 2],
    pub(crate) member: i8,
    pub(crate) source: u32,
    pub(crate) ttl: u8,
    pub(crate) force_evict: bool,
}

/// Both directions as an agent sets them: linked to each other, plain or translated.
pub(crate) fn pair(random: &mut Random, talk: &Talk, number: usize) -> [SetSpec; 3] {
    let outwards = match random.below(4) {
        0 | 1 => FlowFlags::empty(),
        2 => FlowFlags::SNAT | random.of(&[FlowFlags::empty(), FlowFlags::SPAT]),
        _ => FlowFlags::SNAT | FlowFlags::SPAT | FlowFlags::VRFT,
    };
    let is_nat = !outwards.is_empty();
    let inwards = [(FlowFlags::SNAT, FlowFlags::DNAT), (FlowFlags::SPAT, FlowFlags::DPAT)]
        .into_iter()
        .filter(|(ours, _)| outwards.contains(*ours))
        .fold(outwards & FlowFlags::VRFT, |all, (_, theirs)| all | theirs);
    let far_guest = talk.far_guest().is_some();
    let there = Side::Out;
    let back = match (is_nat, far_guest) {
        (true, _) => Side::InByAlias,
        (false, true) => Side::FromFar,
        (false, false) => Side::In,
    };
    let (vrf, other) = (if talk.guest == 2 { 2 } else { 1 }, if talk.guest == 2 { 1 } else { 2 });
    let checked = random.once_in(2);
    let far_source = match talk.far_guest() {
        Some(far) => ROUTED[far],
        None => random.of(&[30, 30, 31, 40]),
    };
    let action = Some(if is_nat { FlowAction::Nat } else { FlowAction::Forward });
    let base = SetSpec {
        talk: number,
        side: there,
        name: Name::Fitting,
        off: 0,
        key: None,
        action,
        flags: FlowFlags::ACTIVE,
        reverse: None,
        vrfs: [vrf, other],
        mirrors: [255, 255],
        member: random.of(&[-1, -1, 0, 1, 2]),
        source: if checked { ROUTED[talk.guest] } else { 0 },
        ttl: 0,
        force_evict: false,
    };
    let linked = FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID;
    let reply = SetSpec {
        side: back,
        flags: linked | inwards,
        reverse: Some((there, true)),
        vrfs: if inwards.contains(FlowFlags::VRFT) { [other, vrf] } else { [vrf, other] },
        source: if checked { far_source } else { 0 },
        ..base.clone()
    };
    let again = SetSpec { flags: linked | outwards, reverse: Some((back, true)), ..base.clone() };
    let first = SetSpec { flags: FlowFlags::ACTIVE, ..base };
    [first, reply, again]
}

/// What comes to the service and the answers of the near guest, linked to each other. The guest has the service's address
/// itself, or it is translated.
pub(crate) fn service_pair(random: &mut Random, talk: &Talk, number: usize) -> [SetSpec; 3] {
    let linked = FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID;
    let vrf = if talk.guest == 2 { 2 } else { 1 };
    let [first, _, answer] = pair(random, talk, number);
    let (action, flags) = random.of(&[
        (FlowAction::Forward, FlowFlags::empty()),
        (FlowAction::Nat, FlowFlags::DNAT | FlowFlags::VRFT),
    ]);
    let to_service = SetSpec {
        side: Side::ToService,
        action: Some(action),
        flags: linked | flags,
        reverse: Some((Side::Out, true)),
        vrfs: [1, vrf],
        member: random.of(&[-1, 0, 0, 1]),
        source: random.of(&[0, 0, 30, 40]),
        ..first.clone()
    };
    let answer = SetSpec { reverse: Some((Side::ToService, true)), ..answer };
    [first, to_service, answer]
}

/// A request that may say anything.
pub(crate) fn any_set(random: &mut Random, talk: usize) -> SetSpec {
    let bits = [
        FlowFlags::SNAT,
        FlowFlags::DNAT,
        FlowFlags::SPAT,
        FlowFlags::DPAT,
        FlowFlags::VRFT,
        FlowFlags::NEW_FLOW,
        FlowFlags::EVICTED,
    ];
    let flags =
        bits.into_iter().fold(FlowFlags::ACTIVE, |all, bit| if random.once_in(6) { all | bit } else { all });
    let reverse = random.once_in(2).then(|| (random.of(&SIDES), random.once_in(2)));
    let linked =
        if reverse.is_some() == random.once_in(12) { FlowFlags::empty() } else { FlowFlags::RFLOW_VALID };
    let rare = if random.once_in(8) { None } else { Some(FlowAction::Forward) };
    let side = random.of(&[
        Side::Out,
        Side::Out,
        Side::In,
        Side::In,
        Side::InByAlias,
        Side::FromFar,
        Side::ToService,
    ]);
    let mirrored = random.once_in(6);
    SetSpec {
        talk,
        side,
        name: match random.below(12) {
            0 => Name::ByKey,
            1 => Name::ByPosition(random.below(20) as u32),
            _ => Name::Fitting,
        },
        off: u8::from(random.once_in(16)),
        key: random.once_in(20).then(|| random.of(&SIDES)),
        action: random.of(&[
            Some(FlowAction::Forward),
            Some(FlowAction::Forward),
            Some(FlowAction::Nat),
            Some(FlowAction::Nat),
            Some(FlowAction::Drop),
            Some(FlowAction::Hold),
            rare,
        ]),
        flags: flags | linked | if mirrored { FlowFlags::MIRROR } else { FlowFlags::empty() },
        reverse,
        vrfs: [random.of(&[1, 1, 1, 2]), if random.once_in(16) { 9 } else { random.of(&[1, 2]) }],
        mirrors: random.of(&[[0, 255], [0, 255], [0, 0], [255, 0], [3, 0], [255, 255]]),
        member: random.of(&[-1, -1, -1, 0, 1, 2, 5]),
        source: random.of(&[0, 0, 0, 20, 22, 24, 30, 31, 40, 41, 99]),
        ttl: if random.once_in(8) { random.of(&[1, 33]) } else { 0 },
        force_evict: false,
    }
}

/// A request to let packets of a flow pass.
pub(crate) fn plain(key: FlowKey, vrf: VrfId) -> FlowSpec {
    FlowSpec {
        index: None,
        key: Some(key),
        generation: 0,
        action: Some(FlowAction::Forward),
        flags: FlowFlags::ACTIVE,
        flags1: 0,
        force_evict: false,
        reverse: Reverse::Key(None),
        vrf,
        dvrf: vrf,
        mirrors: [255, 255],
        ecmp_index: -1,
        source_nexthop: 0,
        qos_map: -1,
        ttl: 0,
        underlay_index: -1,
        drop_reason: 0,
    }
}
