//! The maps of the steering program as typed values.

use crate::{
    error::SteerError,
    heartbeat::Heartbeat,
    object::{Abi, map_error, take_array_data, take_map},
    pins::{Pins, pin_error},
};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, XskMap},
};
use steer_abi::{ABI_VERSION, EndpointKey, QueueSlots, SteerConfig, map};

/// Maps that are pinned: for the successor, and for people with `bpftool`.
pub(super) const PINNED: [&str; 6] =
    [map::CONFIG, map::HEARTBEAT, map::ENDPOINTS, map::QUEUES, map::SOCKETS, map::COUNTERS];

pub(super) type Endpoints<T> = HashMap<T, Abi<EndpointKey>, u32>;

pub(super) struct Maps {
    config_map: Array<MapData, Abi<SteerConfig>>,
    config: SteerConfig,
    pub(super) endpoints: Endpoints<MapData>,
    pub(super) queues: Array<MapData, Abi<QueueSlots>>,
    pub(super) sockets: XskMap<MapData>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    pub(super) heartbeat: Heartbeat,
}

impl Maps {
    /// Takes the maps out of the object; `config` is what they hold.
    pub(super) fn take(object: &mut Ebpf, config: SteerConfig) -> Result<Self, SteerError> {
        Ok(Self {
            config_map: take_map(object, map::CONFIG)?,
            config,
            endpoints: take_map(object, map::ENDPOINTS)?,
            queues: take_map(object, map::QUEUES)?,
            sockets: take_map(object, map::SOCKETS)?,
            counters: take_map(object, map::COUNTERS)?,
            heartbeat: Heartbeat::of(&take_array_data(object, map::HEARTBEAT)?)?,
        })
    }

    pub(super) fn change_config(&mut self, change: impl FnOnce(&mut SteerConfig)) -> Result<(), SteerError> {
        let mut config = self.config;
        change(&mut config);
        self.config_map.set(0, Abi(config), 0).map_err(map_error(map::CONFIG))?;
        self.config = config;
        Ok(())
    }
}

/// Writes the configuration into the maps of an object that is not attached yet.
pub(super) fn write_config(object: &mut Ebpf, config: SteerConfig) -> Result<(), SteerError> {
    let mut map: Array<_, Abi<SteerConfig>> = map_mut(object, map::CONFIG)?;
    map.set(0, Abi(config), 0).map_err(map_error(map::CONFIG))
}

/// Copies the endpoints that a predecessor has pinned, so that no tunnel packet reaches the kernel meanwhile. A
/// predecessor with another layout leaves none.
pub(super) fn inherit_endpoints(object: &mut Ebpf, pins: &Pins) -> Result<usize, SteerError> {
    let Some(Map::Array(config)) = pinned(pins, map::CONFIG, Map::Array) else {
        return Ok(0);
    };
    let version = Array::<_, Abi<SteerConfig>>::try_from(Map::Array(config))
        .and_then(|map| map.get(&0, 0))
        .map(|Abi(config)| config.abi_version);
    let Some(inherited) =
        pinned(pins, map::ENDPOINTS, Map::HashMap).filter(|_| version.is_ok_and(|v| v == ABI_VERSION))
    else {
        return Ok(0);
    };
    let inherited = Endpoints::try_from(inherited).map_err(map_error(map::ENDPOINTS))?;
    let mut endpoints: Endpoints<_> = map_mut(object, map::ENDPOINTS)?;
    let mut count = 0;
    for entry in &inherited {
        let (key, tunnels) = entry.map_err(map_error(map::ENDPOINTS))?;
        endpoints.insert(key, tunnels, 0).map_err(map_error(map::ENDPOINTS))?;
        count += 1;
    }
    Ok(count)
}

/// Pins the maps of an object in place of a predecessor's.
pub(super) fn pin(object: &Ebpf, pins: &Pins) -> Result<(), SteerError> {
    for name in PINNED {
        pins.remove(name)?;
        let map = object.map(name).ok_or_else(|| SteerError::Object(format!("no map {name}")))?;
        map.pin(pins.path(name)).map_err(|error| pin_error(&pins.path(name), &error))?;
    }
    Ok(())
}

/// The value of a counter over all CPUs.
pub(crate) fn sum(counters: &PerCpuArray<MapData, u64>, index: u32) -> Result<u64, MapError> {
    Ok(counters.get(&index, 0)?.iter().sum())
}

/// Removing what is not there is no error.
pub(super) fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// A map that a predecessor has pinned. One that cannot be opened is as good as none: it is only a shortcut.
fn pinned(pins: &Pins, name: &str, kind: fn(MapData) -> Map) -> Option<Map> {
    MapData::from_pin(pins.path(name)).ok().map(kind)
}

fn map_mut<'a, M: TryFrom<&'a mut Map, Error = MapError>>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<M, SteerError> {
    let map = object.map_mut(name).ok_or_else(|| SteerError::Object(format!("no map {name}")))?;
    M::try_from(map).map_err(map_error(name))
}
