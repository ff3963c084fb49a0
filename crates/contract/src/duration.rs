//! Go durations: signed decimal numbers with units, concatenated, such as `1h30m` (`e2b-api.md` §6.3).

use std::time::Duration;

use jiff::SignedDuration;

/// How long a paused sandbox is kept unless something else was said: 100 × 365 days.
pub const FOREVER: Duration = Duration::from_hours(100 * 365 * 24);

/// Units with their length in nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Digits after the point that can matter: an hour has 13 digits of nanoseconds.
const FRACTION_DIGITS: usize = 13;

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
        let (number, tail) = rest.split_at(rest.find(|character| !is_number(character))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        nanoseconds = nanoseconds.checked_add(term(number, unit)?)?;
        rest = tail;
    }
    let nanoseconds = i64::try_from(if negative { -nanoseconds } else { nanoseconds }).ok()?;
    Some(SignedDuration::from_nanos(nanoseconds))
}

/// How long a paused sandbox is kept, from the stored text: `forever`, absent and unreadable texts mean [`FOREVER`]
/// (`kubernetes.md` §5.7).
pub fn retention(stored: Option<&str>) -> Duration {
    let parsed = stored.and_then(parse).and_then(|duration| Duration::try_from(duration).ok());
    parsed.unwrap_or(FOREVER)
}

fn is_number(character: char) -> bool {
    matches!(character, '0'..='9' | '.')
}

/// One number and its unit in nanoseconds, rounded down.
fn term(number: &str, unit: &str) -> Option<i128> {
    let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    whole.checked_mul(scale)?.checked_add(fraction_of(fraction, scale)?)
}

fn fraction_of(digits: &str, scale: i128) -> Option<i128> {
    let digits = &digits[..digits.len().min(FRACTION_DIGITS)];
    if digits.is_empty() {
        return Some(0);
    }
    let divisor = 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    Some(digits.parse::<i128>().ok()?.checked_mul(scale)? / divisor)
}
