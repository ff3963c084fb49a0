//! Go durations: signed decimal numbers with units, concatenated, such as `1h30m` (`e2b-api.md` §6.3).

use jiff::SignedDuration;

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// The duration that `text` writes, or nothing when it is not one or does not fit 64 bits of nanoseconds.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds: i128 = 0;
    while !rest.is_empty() {
        let (number, tail) =
            rest.split_at(rest.find(|character: char| !matches!(character, '0'..='9' | '.'))?);
        let (unit, tail) = tail.split_at(
            tail.find(|character: char| matches!(character, '0'..='9' | '.')).unwrap_or(tail.len()),
        );
        nanoseconds = nanoseconds.checked_add(term(number, unit)?)?;
        rest = tail;
    }
    let nanoseconds = i64::try_from(if negative { -nanoseconds } else { nanoseconds }).ok()?;
    Some(SignedDuration::from_nanos(nanoseconds))
}

fn term(number: &str, unit: &str) -> Option<i128> {
    let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    #[allow(clippy::cast_possible_truncation, reason = "the scale is a whole number below 2^43")]
    let scale_nanoseconds = scale as i128;
    let fraction = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? };
    #[allow(clippy::cast_possible_truncation, reason = "a fraction of a unit is below 2^43 nanoseconds")]
    let part = (fraction * scale) as i128;
    whole.checked_mul(scale_nanoseconds)?.checked_add(part)
}
