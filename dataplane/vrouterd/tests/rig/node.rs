//! The node under test: a fresh daemon, its control socket, and a front end for each interface.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sandesh::netlink::{FrameReader, HEADER_LEN};
use sandesh::{Compat, Message, Record, SandeshOp, decode};
use vr_tables::flow::SharedFlow;

use crate::daemon::{Daemon, PATIENCE, Place, wait_until};
use crate::front_end::{FrontEnd, Manners, accept};

/// Nothing comes any more when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(15);
/// The daemon makes mapped entries fresh within this time.
const FRESH: Duration = Duration::from_millis(110);

/// What a request is answered with: response codes, flags of the netlink messages, objects.
pub(crate) struct Answer {
    pub(crate) codes: Vec<i64>,
    pub(crate) flags: Vec<u16>,
    pub(crate) objects: Vec<Message>,
}

/// The other side of an interface.
struct Front {
    listener: UnixListener,
    end: Option<FrontEnd>,
}

impl Front {
    /// Takes note of a connection that has ended, and of a new one.
    fn serve(&mut self) -> Option<&mut FrontEnd> {
        self.end.take_if(|end| end.is_gone());
        if self.end.is_none() {
            let stream = accept(&self.listener, Duration::from_millis(1));
            self.end = stream.map(|stream| FrontEnd::start(stream, &MANNERS));
        }
        self.end.as_mut()
    }
}

const MANNERS: Manners =
    Manners { features: None, pairs: 1, ring: 256, kicks: false, reads: false, buffers: (16, 10_240) };
/// An interface that exists is connected within this time.
const SOON: Duration = Duration::from_millis(300);

pub(crate) struct Node {
    place: Place,
    daemon: Option<Daemon>,
    fronts: HashMap<String, Front>,
    /// Frames that came out, by name of interface, in order.
    pub(crate) sent: Vec<(String, Vec<u8>)>,
}

impl Node {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let daemon = Some(place.start("0x6"));
        Self { place, daemon, fronts: HashMap::new(), sent: Vec::new() }
    }

    /// On a daemon that runs.
    pub(crate) fn of(place: Place, daemon: Daemon) -> Self {
        Self { place, daemon: Some(daemon), fronts: HashMap::new(), sent: Vec::new() }
    }

    /// Ends the daemon, and gives back where it was.
    pub(crate) fn into_place(mut self, signal: Signal) -> (Place, Duration) {
        let time = self.daemon.take().unwrap().end(signal);
        (self.place, time)
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// Executes the messages of one payload, by a client that does nothing else.
    pub(crate) fn exchange(&mut self, payload: &[u8]) -> Answer {
        let requests: Vec<Message> = decode(payload, Compat::Current).flatten().collect();
        let added: Vec<String> = requests.iter().filter_map(|request| self.listen(request)).collect();
        let answer = self.ask(payload, requests.len().max(1));
        for name in added.iter().filter(|_| answer.codes == [0]) {
            self.reach(name);
        }
        if requests.iter().any(|request| matches!(request, Message::FlowReq(_))) {
            self.settle();
        }
        answer
    }

    /// Listens for the connection to an interface that is about to be added.
    fn listen(&mut self, request: &Message) -> Option<String> {
        let Message::InterfaceReq(request) = request else { return None };
        let name = request.vifr_name.trim_end_matches('\0').to_owned();
        if request.h_op != SandeshOp::ADD || name.is_empty() {
            return None;
        }
        self.attach(&name);
        Some(name)
    }

    /// The front end of an interface, if there is one, or comes soon.
    fn reach(&mut self, name: &str) -> Option<&mut FrontEnd> {
        let front = self.fronts.get_mut(name)?;
        let end = Instant::now() + SOON;
        while front.serve().is_none() && Instant::now() < end {}
        front.end.as_mut()
    }

    fn ask(&self, payload: &[u8], mut missing: usize) -> Answer {
        let mut stream = UnixStream::connect(self.place.sockets().join("dpdk_netlink")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut frame = vec![0; HEADER_LEN];
        frame[..4].copy_from_slice(&((HEADER_LEN + payload.len()) as u32).to_ne_bytes());
        frame[6] = 1;
        frame[16] = 1;
        let attribute = (4 + payload.len() as u16).to_ne_bytes();
        frame[20..22].copy_from_slice(&attribute);
        frame[22] = 1;
        frame.extend_from_slice(payload);
        stream.write_all(&frame).unwrap();
        let mut answer = Answer { codes: Vec::new(), flags: Vec::new(), objects: Vec::new() };
        let mut reader = FrameReader::new();
        while missing > 0 {
            while let Some(frame) = reader.next_frame().unwrap() {
                answer.flags.push(frame.header.flags);
                missing -= usize::from(frame.header.flags == 0);
                for message in decode(frame.payload, Compat::Current) {
                    match message.expect("a reply is readable") {
                        Message::Response(response) => answer.codes.push(i64::from(response.resp_code)),
                        object => answer.objects.push(object),
                    }
                }
            }
            if missing > 0 {
                reader.read_from(&mut stream).unwrap();
            }
        }
        answer
    }

    /// Reads an object that a message about it answers with.
    pub(crate) fn read(&mut self, request: &impl Record) -> Message {
        let mut payload = Vec::new();
        sandesh::encode(request, Compat::Current, &mut payload);
        let mut answer = self.exchange(&payload);
        assert_eq!(answer.codes, [0], "a read fails");
        answer.objects.remove(0)
    }

    /// A frame comes in by the interface of that name. What does not exist receives nothing.
    pub(crate) fn inject(&mut self, name: &str, frame: &[u8]) {
        // Rigs say so by mistake.
        let partial_checksum = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        while let Some(end) = self.reach(name) {
            let taken = end.taken(0);
            end.send(0, &partial_checksum, frame);
            wait_until("packet taken", || end.taken(0) != taken || end.is_gone());
            if end.taken(0) != taken {
                break;
            }
        }
        self.settle();
    }

    /// Time goes by; that nothing comes shows soon.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds.min(60)));
        self.settle();
    }

    /// Collects what comes out.
    pub(crate) fn settle(&mut self) {
        let mut last = Instant::now();
        while last.elapsed() < QUIET {
            for (name, front) in &mut self.fronts {
                for packet in front.end.as_mut().map_or_else(Vec::new, |end| end.receive(0)) {
                    self.sent.push((name.clone(), packet[10..].to_vec()));
                    last = Instant::now();
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A mapped flow entry, as clients see it.
    pub(crate) fn flow_entry(&self, index: u64) -> [u8; SharedFlow::SIZE] {
        std::thread::sleep(FRESH);
        let file = File::open(self.place.sockets().join("flow.shmem")).unwrap();
        let mut entry = [0; SharedFlow::SIZE];
        file.read_exact_at(&mut entry, index * SharedFlow::SIZE as u64).unwrap();
        entry
    }

    /// A front end posts a frame, and nobody waits for it.
    pub(crate) fn post(&mut self, name: &str, frame: &[u8]) {
        self.reach(name).unwrap().send(0, &[0; 10], frame);
    }

    /// A front end posts a frame and goes away at once.
    pub(crate) fn post_and_leave(&mut self, name: &str, frame: &[u8]) {
        let mut end = self.fronts.get_mut(name).unwrap().end.take().unwrap();
        end.send(0, &[0; 10], frame);
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.place.sockets()
    }

    /// Front ends go away, all at once.
    pub(crate) fn detach(&mut self) {
        self.fronts.clear();
    }

    /// Listens for an interface, unless somebody does already.
    fn attach(&mut self, name: &str) {
        let path = self.place.sockets().join(format!("uvh_vif_{name}"));
        self.fronts.entry(name.to_owned()).or_insert_with(|| {
            let _ = std::fs::remove_file(&path);
            Front { listener: UnixListener::bind(path).unwrap(), end: None }
        });
    }

    /// Front ends come to interfaces.
    pub(crate) fn attach_all(&mut self, names: &[&str]) {
        for name in names {
            self.attach(name);
            wait_until(&format!("connection to {name}"), || self.reach(name).is_some());
        }
    }

    /// Ends the node.
    pub(crate) fn close(self) {
        self.into_place(Signal::SIGTERM);
    }
}
