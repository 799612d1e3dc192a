//! Messages as items to be shown: their fields as JSON, their counters as rates.

use sandesh::messages::Message;
use sandesh::{Value, ValueMut};
use serde_json::json;

use crate::text;
use crate::view::Item;

/// Fields that tell which object of a list it is, where lists hold counters.
const KEYS: [&str; 2] = ["vifr_idx", "vsr_vrf"];
/// 64-bit fields that are no counters begin so.
const NO_COUNTERS: [&str; 3] = ["vifr_ip6", "vms_", "vifr_fat"];
/// Fields that hold an IPv4 address as it lies in memory.
const ADDRESSES: [&str; 3] = ["vifr_ip", "nhr_tun_sip", "nhr_tun_dip"];

impl Item for Message {
    fn json(&self) -> serde_json::Value {
        let record = self.as_record();
        let fields = record.kind().fields().iter().enumerate();
        let object = fields.filter_map(|(index, name)| {
            let value = record.value(index)?;
            Some(((*name).to_owned(), field(name, value)))
        });
        serde_json::Value::Object(object.collect())
    }

    fn rates(&self, before: &[Self], seconds: f64) -> Self {
        let mut rates = self.clone();
        let same = |other: &&Self| {
            other.as_record().kind() == self.as_record().kind()
                && KEYS.iter().all(|key| other.as_record().get(key) == self.as_record().get(key))
        };
        let Some(before) = before.iter().find(same) else { return rates };
        for (index, name) in self.as_record().kind().fields().iter().enumerate() {
            if NO_COUNTERS.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            match (rates.as_record_mut().value_mut(index), before.as_record().value(index)) {
                (Some(ValueMut::I64(now)), Some(Value::I64(before))) => {
                    *now = per_second(now.wrapping_sub(before), seconds);
                }
                (Some(ValueMut::U64(now)), Some(Value::U64(before))) => {
                    *now = per_second(now.wrapping_sub(before) as i64, seconds) as u64;
                }
                _ => {}
            }
        }
        rates
    }
}

/// Change of a counter per second, rounded.
pub(crate) fn per_second(change: i64, seconds: f64) -> i64 {
    if seconds > 0.0 { (change as f64 / seconds).round() as i64 } else { 0 }
}

fn field(name: &str, value: Value<'_>) -> serde_json::Value {
    match value {
        Value::U32(raw) if ADDRESSES.contains(&name) => json!(text::raw_inet(raw).to_string()),
        Value::Bytes(bytes) if name.ends_with("mac") => json!(text::mac(bytes)),
        Value::Bytes(bytes) if name == "rtr_prefix" => {
            json!(text::address(bytes).map(|address| address.to_string()))
        }
        Value::Bytes(bytes) if name.ends_with("_name") || name == "vdu_proc_info" => {
            json!(text::c_text(bytes))
        }
        Value::Byte(number) => json!(number),
        Value::Bytes(numbers) => json!(numbers),
        Value::I16(number) => json!(number),
        Value::I16s(numbers) => json!(numbers),
        Value::U16(number) => json!(number),
        Value::U16s(numbers) => json!(numbers),
        Value::I32(number) => json!(number),
        Value::I32s(numbers) => json!(numbers),
        Value::U32(number) => json!(number),
        Value::U32s(numbers) => json!(numbers),
        Value::I64(number) => json!(number),
        Value::I64s(numbers) => json!(numbers),
        Value::U64(number) => json!(number),
        Value::U64s(numbers) => json!(numbers),
        Value::Text(text) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use sandesh::messages::{InterfaceReq, Message};

    use crate::view::Item;

    fn vif(index: i32, packets: i64) -> Message {
        InterfaceReq {
            vifr_idx: index,
            vifr_ipackets: packets,
            vifr_ip: 0x0200_0008,
            vifr_ip6_u: 9,
            vifr_mac: vec![0, 1, 2, 3, 4, 5],
            ..InterfaceReq::default()
        }
        .into()
    }

    #[test]
    fn counters_become_rates_and_other_fields_stay() {
        let before = [vif(1, 100), vif(2, 100)];
        let Message::InterfaceReq(rates) = vif(2, 400).rates(&before, 2.0) else { panic!() };
        assert_eq!((rates.vifr_ipackets, rates.vifr_ip6_u, rates.vifr_idx), (150, 9, 2));
        let Message::InterfaceReq(new) = vif(3, 400).rates(&before, 2.0) else { panic!() };
        assert_eq!(new.vifr_ipackets, 400);
    }

    #[test]
    fn addresses_are_readable_in_json() {
        let json = vif(1, 2).json();
        assert_eq!((&json["vifr_ip"], &json["vifr_mac"]), (&"8.0.0.2".into(), &"00:01:02:03:04:05".into()));
        assert_eq!(json["vifr_ipackets"], 2);
    }
}
