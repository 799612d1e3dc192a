//! The program in the kernel, run packet by packet with `BPF_PROG_TEST_RUN`, and its maps.
#![allow(unsafe_code, reason = "types of this project in maps of the kernel")]

use aya::{
    Ebpf, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, PerCpuArray, XskMap},
    programs::{SchedClassifier, Xdp},
};
use std::{net::IpAddr, os::fd::BorrowedFd};
use steer_abi::{Counter, EndpointKey, Plain, QueueSlots, SteerConfig, SteerMeta, TunnelSet, map, program};

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Abi<T>(T);

// SAFETY: `Plain` promises what `Pod` asks for.
unsafe impl<T: Plain> Pod for Abi<T> {}

/// What came of one packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `XDP_*` of `linux/bpf.h`.
    pub action: u32,
    pub metadata: Option<SteerMeta>,
    /// Counters that rose, by how much.
    pub counted: Vec<(Counter, u64)>,
}

pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_REDIRECT: u32 = 4;

pub const TC_ACT_OK: u32 = 0;
pub const TC_ACT_SHOT: u32 = 2;
pub const TC_ACT_REDIRECT: u32 = 7;

pub struct Harness {
    object: Ebpf,
}

impl Harness {
    /// The committed object with this configuration, and nothing else in the maps.
    pub fn new(config: SteerConfig) -> Self {
        let mut object = Ebpf::load(steer_loader::OBJECT).unwrap();
        let steer: &mut Xdp = object.program_mut(program::STEER).unwrap().try_into().unwrap();
        steer.load().unwrap();
        for name in [program::SWALLOW, program::TO_HOST, program::FROM_HOST] {
            let program: &mut SchedClassifier = object.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        let mut harness = Self { object };
        harness.configure(config);
        harness
    }

    pub fn configure(&mut self, config: SteerConfig) {
        let mut map: Array<_, Abi<SteerConfig>> =
            self.object.map_mut(map::CONFIG).unwrap().try_into().unwrap();
        map.set(0, Abi(config), 0).unwrap();
    }

    pub fn beat(&mut self, now_ns: u64) {
        let mut map: Array<_, u64> = self.object.map_mut(map::HEARTBEAT).unwrap().try_into().unwrap();
        map.set(0, now_ns, 0).unwrap();
    }

    pub fn endpoint(&mut self, address: IpAddr, tunnels: TunnelSet) {
        let mut map: HashMap<_, Abi<EndpointKey>, u32> =
            self.object.map_mut(map::ENDPOINTS).unwrap().try_into().unwrap();
        map.insert(Abi(EndpointKey::new(address)), tunnels.bits(), 0).unwrap();
    }

    /// Says which slots serve queue 0, on which test packets arrive.
    pub fn queue(&mut self, first: u32, count: u32) {
        let mut map: Array<_, Abi<QueueSlots>> =
            self.object.map_mut(map::QUEUES).unwrap().try_into().unwrap();
        map.set(0, Abi(QueueSlots { first, count }), 0).unwrap();
    }

    pub fn socket(&mut self, slot: u32, socket: BorrowedFd<'_>) {
        let mut map: XskMap<_> = self.object.map_mut(map::SOCKETS).unwrap().try_into().unwrap();
        map.set(slot, socket, 0).unwrap();
    }

    pub fn run(&self, packet: &[u8]) -> Outcome {
        let before = self.counters();
        let steer: &Xdp = self.object.program(program::STEER).unwrap().try_into().unwrap();
        let mut out = vec![0; packet.len() + 256];
        let options =
            TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = steer.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        let added = out.len() - packet.len();
        assert_eq!(&out[added..], packet, "the packet itself is left alone");
        let metadata = SteerMeta::take(&mut out[..added]);
        assert_eq!(metadata.is_some(), added != 0, "what was added is metadata");
        Outcome { action: result.return_value, metadata, counted: self.risen(before) }
    }

    /// Runs a tc program: `TC_ACT_*` of `linux/pkt_cls.h`, and the counters of `steer` that rose, by how much.
    pub fn run_tc(&self, name: &str, packet: &[u8]) -> (u32, Vec<(Counter, u64)>) {
        let before = self.counters();
        let verdict = self.tc_verdict(name, packet);
        (verdict, self.risen(before))
    }

    /// Runs `swallow`; its verdict, and packets and bytes counted so far.
    pub fn swallow(&self, packet: &[u8]) -> (u32, u64, u64) {
        let verdict = self.tc_verdict(program::SWALLOW, packet);
        let counters = self.sums(map::SWALLOWED, 2);
        (verdict, counters[0], counters[1])
    }

    fn tc_verdict(&self, name: &str, packet: &[u8]) -> u32 {
        let program: &SchedClassifier = self.object.program(name).unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(packet), ..TestRunOptions::new() };
        program.test_run(options).unwrap().return_value
    }

    fn risen(&self, before: Vec<(Counter, u64)>) -> Vec<(Counter, u64)> {
        let rises = self.counters().into_iter().zip(before);
        let rises = rises.map(|((counter, after), (_, before))| (counter, after - before));
        rises.filter(|(_, rise)| *rise != 0).collect()
    }

    fn counters(&self) -> Vec<(Counter, u64)> {
        let sums = self.sums(map::COUNTERS, Counter::ALL.len() as u32);
        Counter::ALL.iter().copied().zip(sums).collect()
    }

    fn sums(&self, name: &str, count: u32) -> Vec<u64> {
        let map: PerCpuArray<_, u64> = self.object.map(name).unwrap().try_into().unwrap();
        (0..count).map(|index| map.get(&index, 0).unwrap().iter().sum()).collect()
    }
}
