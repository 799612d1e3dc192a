//! `flow -s` and `flow -r`: how many flows there are, and how fast they come and go. Both go on until they
//! are interrupted.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sandesh::constants::flow_action;

use super::{Flow, FlowTable, table_data};
use crate::failure::Failure;
use crate::records::per_second;
use crate::session::Session;
use crate::view::CLEAR;

/// How often they look.
const PERIOD: Duration = Duration::from_millis(500);

/// Flows by what happens to their packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    total: i64,
    hold: i64,
    forward: i64,
    drop: i64,
    nat: i64,
    created: i64,
    deleted: i64,
}

impl Numbers {
    fn of(flows: &[Flow]) -> Self {
        let mut numbers = Self::default();
        for flow in flows {
            numbers.total += 1;
            let count = match flow.action as i16 {
                flow_action::VR_FLOW_ACTION_HOLD => &mut numbers.hold,
                flow_action::VR_FLOW_ACTION_FORWARD => &mut numbers.forward,
                flow_action::VR_FLOW_ACTION_DROP => &mut numbers.drop,
                flow_action::VR_FLOW_ACTION_NAT => &mut numbers.nat,
                _ => continue,
            };
            *count += 1;
        }
        numbers
    }

    fn active(&self) -> i64 {
        self.total - self.hold
    }
}

/// `flow -s`.
pub(super) fn numbers(session: &mut Session) -> Result<(), Failure> {
    let (client, out) = session.parts()?;
    let mut before = Numbers::default();
    let mut taken = Instant::now();
    loop {
        let table = FlowTable::open(client)?;
        let now = Numbers {
            created: table.data.ftable_added as i64,
            deleted: table.data.ftable_deleted as i64,
            ..Numbers::of(&table.flows()?)
        };
        let elapsed = taken.elapsed().as_secs_f64();
        taken = Instant::now();
        write!(out, "{CLEAR}{}", time(SystemTime::now()))?;
        write!(out, "{}", report(&before, &now, elapsed))?;
        out.flush()?;
        before = now;
        std::thread::sleep(PERIOD);
    }
}

fn report(before: &Numbers, now: &Numbers, seconds: f64) -> String {
    // Nothing has a rate when it is seen for the first time.
    let rate = |change: i64| if *before == Numbers::default() { 0 } else { per_second(change, seconds) };
    let (total, active, hold) = (now.total, now.active(), now.hold);
    let (new_total, new_active) = (total - before.total, active - before.active());
    format!(
        "
Flow Statistics
---------------
    Total  Entries  --- Total = {total:7}, new = {new_total:7} 
    Active Entries  --- Total = {active:7}, new = {new_active:7} 
    Hold   Entries  --- Total = {hold:7}, new = {:7} 
    Fwd flow Entries  - Total = {:7}
    drop flow Entries - Total = {:7}
    NAT flow Entries  - Total = {:7}

    Rate of change of Active Entries
    --------------------------------
        current rate      = {:8}
        Avg setup rate    = {:8}
        Avg teardown rate = {:8}
    Rate of change of Flow Entries
    ------------------------------
        current rate      = {:8}
",
        hold - before.hold,
        now.forward,
        now.drop,
        now.nat,
        rate(new_active),
        rate(now.created - before.created),
        rate(now.deleted - before.deleted),
        rate(new_total),
    )
}

/// `flow -r`.
pub(super) fn rates(session: &mut Session) -> Result<(), Failure> {
    let (client, out) = session.parts()?;
    let mut before = table_data(client)?;
    let mut taken = Instant::now();
    loop {
        std::thread::sleep(PERIOD);
        let now = table_data(client)?;
        let elapsed = taken.elapsed();
        taken = Instant::now();
        let used = |of: &sandesh::messages::FlowTableData| of.ftable_used_entries as i64;
        let new = used(&now) - used(&before);
        let set_up = now.ftable_added.wrapping_sub(before.ftable_added) as i64;
        let seconds = elapsed.as_secs_f64();
        writeln!(
            out,
            "New = {new:4}, Flow setup rate = {:4} flows/sec, Flow rate = {:4} flows/sec, for last {:4} ms",
            per_second(set_up, seconds),
            per_second(new, seconds),
            elapsed.as_millis()
        )?;
        out.flush()?;
        before = now;
    }
}

/// A time as `2026-11-23 16:07:55 +0000`.
fn time(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000")
}

/// The Gregorian date so many days after 1970-01-01: years begin in March, so that the leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::{Numbers, date, report, time};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(59), (1970, 3, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_780), (2026, 11, 23));
        let at = UNIX_EPOCH + Duration::from_secs(20_780 * 86_400 + 58_075);
        assert_eq!(time(at), "2026-11-23 16:07:55 +0000");
    }

    #[test]
    fn rates_begin_with_the_second_look() {
        let now = Numbers { total: 9, hold: 1, forward: 8, created: 9, ..Numbers::default() };
        assert!(report(&Numbers::default(), &now, 1.0).contains("current rate      =        0\n"));
        let later = Numbers { total: 19, created: 19, ..now };
        assert!(report(&now, &later, 2.0).contains("Avg setup rate    =        5\n"));
    }
}
