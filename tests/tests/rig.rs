//! The pinger and the transfers measure what they say: here over a plain pair of devices, without a vrouter.

use std::net::Ipv4Addr;
use std::time::Duration;

use vr_tests::netns::Namespace;
use vr_tests::ping::{Plan, arriving_ttls, ping};
use vr_tests::transfer::Transfer;

const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

struct Pair {
    here: Namespace,
    there: Namespace,
}

impl Pair {
    fn create(title: &str) -> anyhow::Result<Self> {
        let name = |end: &str| format!("vrx-t-{title}-{}-{end}", std::process::id());
        let (here, there) = (name("a"), name("b"));
        let pair = Self { here: Namespace::create(&here)?, there: Namespace::create(&there)? };
        pair.here.veth("eth0", &pair.there, "eth0")?;
        for (namespace, address) in [(&pair.here, HERE), (&pair.there, THERE)] {
            namespace.up("eth0", 1500, None)?;
            namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        }
        Ok(pair)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.here, &self.there] {
            if let Err(error) = Namespace::delete(namespace.name()) {
                eprintln!("{error:#}");
            }
        }
    }
}

#[test]
fn replies_are_counted_and_ttls_seen_at_both_ends() {
    let pair = Pair::create("ping").unwrap();
    let plan = Plan { target: THERE, count: 200, interval: Duration::from_millis(1) };
    let (outcome, ttls) = arriving_ttls(&pair.there, HERE, || ping(&pair.here, plan)).unwrap();
    let outcome = outcome.unwrap();
    assert!(outcome.complete(), "{outcome:?}");
    assert_eq!(outcome.ttl, Some(64));
    assert!(outcome.median > Duration::ZERO && outcome.median < Duration::from_millis(100));
    assert_eq!(ttls, vec![64; 200]);
}

#[test]
fn lost_replies_are_noticed() {
    let pair = Pair::create("lost").unwrap();
    pair.there.ip(&["link", "set", "eth0", "down"]).unwrap();
    let plan = Plan { target: THERE, count: 5, interval: Duration::from_millis(10) };
    let outcome = ping(&pair.here, plan).unwrap();
    assert_eq!((outcome.sent, outcome.received, outcome.lost), (5, 0, vec![0, 1, 2, 3, 4]));
}

#[test]
fn a_transfer_arrives_whole() {
    let pair = Pair::create("tcp").unwrap();
    let bytes = 8 * 1024 * 1024 + 13;
    let transfer =
        Transfer { from: &pair.here, to: &pair.there, address: THERE, bytes, pause: Duration::ZERO };
    let done = transfer.run().unwrap();
    assert_eq!(done.bytes, bytes);
    assert!(done.rate() > 0.0);
}

#[test]
fn a_receiver_that_cannot_be_reached_is_an_error() {
    let pair = Pair::create("cut").unwrap();
    pair.here.ip(&["link", "set", "eth0", "down"]).unwrap();
    let transfer =
        Transfer { from: &pair.here, to: &pair.there, address: THERE, bytes: 1, pause: Duration::ZERO };
    assert!(transfer.run().is_err());
}
