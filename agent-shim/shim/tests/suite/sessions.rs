//! Many clients at a time, and those that do not behave.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sandesh::SandeshOp;
use sandesh::messages::{InterfaceReq, Message, MplsReq, NexthopReq};
use sandesh::netlink::{Header, MAX_REPLY};
use vr_shim::{About, SOCKET, Server};
use vr_tables::control::{Tables, TablesConfig};
use vr_types::Label;

use crate::client::{Client, framed};
use crate::served::{NoPorts, Served};

/// Clients that are served at a time.
const CLIENTS: usize = 64;

/// A request that has an object as its answer.
fn get() -> NexthopReq {
    NexthopReq { h_op: SandeshOp::GET, ..NexthopReq::default() }
}

/// A label that leads to the discard nexthop.
fn label(number: i32) -> MplsReq {
    MplsReq { h_op: SandeshOp::ADD, mr_label: number, ..MplsReq::default() }
}

fn serves(client: &mut Client) {
    let (code, objects) = client.ask(&get());
    assert_eq!((code, objects.len()), (0, 1));
}

/// Whether the server has closed the connection, without an answer.
fn is_closed(client: &mut Client) -> bool {
    let mut bytes = [0; 64];
    match client.stream.read(&mut bytes) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn places_are_limited_and_free_again() {
    let served = Served::new();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    clients.iter_mut().for_each(serves);
    for _ in 0..100 {
        assert!(is_closed(&mut served.connect()), "there is no place");
    }
    clients.iter_mut().for_each(serves);
    for place in 0..CLIENTS {
        clients.swap_remove(place % clients.len());
        // The server notices when it looks next.
        serves(&mut clients[0]);
        clients.push(served.connect());
        clients.iter_mut().rev().take(2).for_each(serves);
    }
}

#[test]
fn who_connects_without_end_does_not_keep_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::bind(directory.path(), About::version("test")).unwrap();
    let mut tables = Tables::new(TablesConfig::default()).unwrap();
    let mut poll = || server.poll(&mut tables, &mut NoPorts, Duration::ZERO, None).unwrap();
    let streams: Vec<UnixStream> = (0..3 * CLIENTS)
        .map(|_| {
            let stream = UnixStream::connect(directory.path().join(SOCKET)).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let closed = || streams.iter().filter(|stream| (&**stream).read(&mut [0]).is_ok_and(|read| read == 0));
    for refused in [0, CLIENTS, 2 * CLIENTS] {
        poll();
        assert_eq!(closed().count(), refused);
    }
}

#[test]
fn who_takes_nothing_is_closed_and_others_do_not_wait() {
    let patience = Duration::from_millis(500);
    let served = Served::with(|server| server.with_patience(patience));
    let mut other = served.connect();
    for number in 16..2000 {
        assert_eq!(other.ask(&label(number)).0, 0);
    }
    let dump = MplsReq { h_op: SandeshOp::DUMP, mr_marker: -1, ..MplsReq::default() };
    let mut deaf = served.connect();
    deaf.stream.set_nonblocking(true).unwrap();
    let requests = framed(&Header::request(0), &[&dump]).repeat(100);
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    let end = loop {
        match deaf.stream.write(&requests) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => break error.kind(),
        }
        let asked = Instant::now();
        serves(&mut other);
        slowest = slowest.max(asked.elapsed());
        assert!(start.elapsed() < Duration::from_secs(30), "it is still served");
    };
    assert!(matches!(end, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{end:?}");
    assert!(start.elapsed() >= patience, "closed after {:?}", start.elapsed());
    assert!(slowest < patience, "another client waited {slowest:?}");
}

/// A client that only listens, as the agent does for hours, is no client that takes nothing.
#[test]
fn silence_is_no_offence() {
    let served = Served::with(|server| server.with_patience(Duration::from_millis(50)));
    let (mut silent, mut hesitant) = (served.connect(), served.connect());
    let request = framed(&Header::request(0), &[&get()]);
    hesitant.stream.write_all(&request[..1]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    serves(&mut silent);
    hesitant.stream.write_all(&request[1..]).unwrap();
    assert_eq!(hesitant.read().messages.len(), 2);
}

#[test]
fn clients_vanish_in_the_middle_of_a_reply() {
    let served = Served::new();
    let mut other = served.connect();
    for number in 16..500 {
        assert_eq!(other.ask(&label(number)).0, 0);
    }
    let dump = MplsReq { h_op: SandeshOp::DUMP, mr_marker: -1, ..MplsReq::default() };
    for round in 0..4 * CLIENTS {
        let mut client = served.connect();
        client.stream.write_all(&framed(&Header::request(0), &[&dump]).repeat(200)).unwrap();
        let mut some = vec![0; 1 + 97 * (round % 50)];
        client.stream.read_exact(&mut some).unwrap();
        drop(client);
        serves(&mut other);
    }
    let mut clients: Vec<Client> = (1..CLIENTS).map(|_| served.connect()).collect();
    clients.iter_mut().for_each(serves);
}

/// The connection is over, but what was asked for before is in force.
#[test]
fn requests_in_front_of_garbage_are_published() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::bind(directory.path(), About::version("test")).unwrap();
    let mut tables = Tables::new(TablesConfig::default()).unwrap();
    let mut reader = tables.reader();
    let mut stream = UnixStream::connect(directory.path().join(SOCKET)).unwrap();
    let garbage = [u8::MAX; 64];
    let request = framed(&Header::request(0), &[&label(16)]);
    stream.write_all(&[&request[..], &garbage].concat()).unwrap();
    while server.clients() == 0 {
        server.poll(&mut tables, &mut NoPorts, Duration::from_secs(1), None).unwrap();
    }
    assert!(reader.latest().label(Label(16)).is_none(), "not yet read");
    server.poll(&mut tables, &mut NoPorts, Duration::from_secs(1), None).unwrap();
    assert_eq!(server.clients(), 0);
    assert!(reader.latest().label(Label(16)).is_some());
}

/// They are not forgotten, though nothing more comes.
#[test]
fn requests_wait_for_room_for_their_replies() {
    const REQUESTS: usize = 300;
    let served = Served::new();
    let mut other = served.connect();
    for number in 16..500 {
        assert_eq!(other.ask(&label(number)).0, 0);
    }
    let dump = MplsReq { h_op: SandeshOp::DUMP, mr_marker: -1, ..MplsReq::default() };
    let mut client = served.connect();
    client.stream.write_all(&framed(&Header::request(0), &[&dump]).repeat(REQUESTS)).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    serves(&mut other);
    for _ in 0..REQUESTS {
        assert_eq!(client.read_all().len(), 2);
    }
    assert!(is_closed(&mut client));
}

/// Sixteen objects fit into one netlink message; a refused one does not stop those behind it.
#[test]
fn sixteen_messages_in_one() {
    let served = Served::new();
    let mut client = served.connect();
    let add = |id: i32| NexthopReq {
        h_op: SandeshOp::ADD,
        nhr_id: if id == 7 { -1 } else { id },
        nhr_type: 5,
        nhr_flags: 1,
        ..NexthopReq::default()
    };
    let gets: Vec<NexthopReq> = (1..=16).map(|id| NexthopReq { h_op: SandeshOp::GET, ..add(id) }).collect();
    let adds: Vec<NexthopReq> = (1..=16).map(add).collect();
    for (requests, objects, error) in [(&adds, 0, -22), (&gets, 15, -19)] {
        let records: Vec<_> = requests.iter().map(|request| request as _).collect();
        assert!(framed(&Header::request(0), &records).len() <= MAX_REPLY, "as much as a client sends");
        client.send(&records);
        let replies = client.read_all();
        assert_eq!(replies.len(), 16);
        let mut returned = 0;
        for (number, reply) in replies.iter().enumerate() {
            let Message::Response(response) = &reply.messages[0] else { panic!("no response first") };
            assert_eq!(response.resp_code, if number == 6 { error } else { 0 });
            assert_eq!(reply.header.seq, replies[0].header.seq);
            assert_eq!(reply.header.is_multi(), number < 15);
            if let Some(Message::NexthopReq(nexthop)) = reply.messages.get(1) {
                assert_eq!(nexthop.nhr_id, number as i32 + 1);
                returned += 1;
            }
        }
        assert_eq!(returned, objects);
    }
}

#[test]
fn everyone_gets_the_answers_to_his_own_requests_in_order() {
    const REQUESTS: u32 = 2000;
    let served = Served::new();
    std::thread::scope(|scope| {
        for own in 0..8 {
            let mut client = served.connect();
            let mut sender = client.stream.try_clone().unwrap();
            scope.spawn(move || {
                for seq in 0..REQUESTS {
                    let vif = InterfaceReq {
                        h_op: SandeshOp::GET,
                        vifr_idx: 4000 + own,
                        vifr_os_idx: own,
                        ..InterfaceReq::default()
                    };
                    let request = MplsReq { h_op: SandeshOp::DEL, mr_label: own, ..MplsReq::default() };
                    let header = Header { pid: own as u32, ..Header::request(seq) };
                    sender.write_all(&framed(&header, &[&request, &vif])).unwrap();
                }
            });
            scope.spawn(move || {
                for seq in 0..REQUESTS {
                    let replies = client.read_all();
                    let header = Header { flags: 0, ..Header::request(seq) };
                    assert_eq!(replies[1].header, header);
                    let codes =
                        replies.iter().flat_map(|reply| &reply.messages).map(|message| match message {
                            Message::Response(response) => response.resp_code,
                            other => panic!("{other:?}"),
                        });
                    assert_eq!(codes.collect::<Vec<_>>(), [0, -2]);
                }
            });
        }
    });
}
