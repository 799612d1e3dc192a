//! Sets of CPUs, as the command line of the original has them.

use super::OptionError;

/// The highest CPU that a set may name; the system has fewer.
const HIGHEST: u16 = 1023;

/// The CPUs of a hexadecimal mask, or of a list of numbers and ranges; none without a text.
pub(super) fn cpus(option: &'static str, text: Option<&str>) -> Result<Vec<u16>, OptionError> {
    let Some(text) = text.map(str::trim) else { return Ok(Vec::new()) };
    let cpus = if text.contains([',', '-']) { list(text) } else { mask(text) };
    cpus.filter(|cpus| !cpus.is_empty()).ok_or_else(|| OptionError {
        option,
        what: format!("`{text}` is no set of CPUs; write a mask such as 0x6, or numbers such as 1,2 or 4-7"),
    })
}

fn mask(text: &str) -> Option<Vec<u16>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mut cpus = Vec::new();
    for (place, digit) in digits.chars().rev().enumerate() {
        let digit = digit.to_digit(16)?;
        for bit in (0..4).filter(|bit| digit & 1 << bit != 0) {
            cpus.push(u16::try_from(place * 4 + bit).ok().filter(|cpu| *cpu <= HIGHEST)?);
        }
    }
    Some(cpus)
}

fn list(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(|number| number.trim().parse::<u16>().ok());
        cpus.extend(first?..=last.filter(|last| *last <= HIGHEST)?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::cpus;

    #[test]
    fn masks_and_lists() {
        let read = |text| cpus("--x", Some(text)).ok();
        assert_eq!(read("0x6"), Some(vec![1, 2]));
        assert_eq!(read("F0"), Some(vec![4, 5, 6, 7]));
        assert_eq!(read(" 0X100000001 "), Some(vec![0, 32]));
        assert_eq!(read("1,3-5"), Some(vec![1, 3, 4, 5]));
        assert_eq!(cpus("--x", None).unwrap(), [0; 0]);
        for wrong in ["", "0x", "0", "0xg", "1,", "5-4", "1-2000", "-1", "1-2-3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("1{}", "0".repeat(300))), None);
    }
}
