//! The committed object and its maps as typed values.

use crate::error::{SteerError, errno, missing_capabilities, refusal};
use aya::{
    Ebpf, EbpfError, EbpfLoader, Pod,
    maps::{Map, MapData, MapError},
    programs::{Program, ProgramError},
};
use steer_abi::Plain;

/// The object as `cargo xtask build-ebpf` wrote it, an ELF file for the BPF target.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../steer.bpf.o");

/// A value of `steer-abi` in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(crate) struct Abi<T>(pub(crate) T);

// SAFETY: `Plain` promises what `Pod` asks for.
unsafe impl<T: Plain> Pod for Abi<T> {}

/// Creates the maps of the object. The programs are loaded one by one with [`load_program`].
pub(crate) fn open() -> Result<Ebpf, SteerError> {
    EbpfLoader::new().load(OBJECT).map_err(|error| describe_open(&error))
}

fn describe_open(error: &EbpfError) -> SteerError {
    refusal(errno(error)).unwrap_or_else(|| match error {
        EbpfError::MapError(inner) => SteerError::Map { map: "of the object", reason: with_causes(inner) },
        other => SteerError::Object(with_causes(other)),
    })
}

/// The program `name`, given to the kernel's verifier.
pub(crate) fn load_program<'a, P>(
    object: &'a mut Ebpf,
    name: &'static str,
    load: impl FnOnce(&mut P) -> Result<(), ProgramError>,
) -> Result<&'a mut P, SteerError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program =
        object.program_mut(name).ok_or_else(|| SteerError::Object(format!("no program `{name}`")))?;
    let program: &mut P = program.try_into().map_err(|error| SteerError::Object(with_causes(&error)))?;
    load(program).map_err(|error| describe_load(name, &error))?;
    Ok(program)
}

fn describe_load(program: &'static str, error: &ProgramError) -> SteerError {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return SteerError::Rejected { program, log: with_causes(error) };
    };
    let log = verifier_log.to_string();
    // The verifier refuses some programs only to those who lack a capability, and says so in its own words.
    let refusal = refusal(io_error.raw_os_error());
    if let Some(refusal) = refusal.filter(|_| log.trim().is_empty() || missing_capabilities().is_some()) {
        return refusal;
    }
    let mut last: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(4).collect();
    last.reverse();
    SteerError::Rejected { program, log: format!("{io_error}; {}", last.join(" / ")) }
}

/// Takes the map `name` out of the object, as `M`.
pub(crate) fn take_map<M: TryFrom<Map, Error = MapError>>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<M, SteerError> {
    let map = object.take_map(name).ok_or_else(|| SteerError::Object(format!("no map {name}")))?;
    M::try_from(map).map_err(|error| SteerError::Object(with_causes(&error)))
}

/// Takes the map `name` out of the object without its type.
pub(crate) fn take_array_data(object: &mut Ebpf, name: &'static str) -> Result<MapData, SteerError> {
    match object.take_map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(SteerError::Object(format!("no array {name}"))),
    }
}

/// Turns what aya says about a map into our error.
pub(crate) fn map_error(map: &'static str) -> impl Fn(MapError) -> SteerError {
    move |error| SteerError::Map { map, reason: with_causes(&error) }
}

/// `error` and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
