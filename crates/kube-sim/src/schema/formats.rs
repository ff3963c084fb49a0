//! String formats that are checked.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;

/// Whether a text has a format; a format that is not known is not checked.
pub(super) fn holds(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<Timestamp>().is_ok(),
        "date" => text.parse::<Date>().is_ok(),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "byte" => BASE64_STANDARD.decode(text).is_ok(),
        "uuid" => uuid::Uuid::parse_str(text).is_ok(),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()),
        _ => true,
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(bits)) = (address.parse::<std::net::IpAddr>(), bits.parse::<u8>()) else {
        return false;
    };
    bits <= if address.is_ipv4() { 32 } else { 128 }
}

/// A duration as Go writes it, such as `1h2m3.5s` or `-300ms`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let number =
            rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let (digits, unit) = rest.split_at(number);
        let Some(unit_end) = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .iter()
            .filter(|known| unit.starts_with(**known))
            .map(|known| known.len())
            .max()
        else {
            return false;
        };
        if digits.parse::<f64>().is_err() {
            return false;
        }
        parts += 1;
        rest = unit.get(unit_end..).unwrap_or_default();
    }
    parts > 0
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("date-time", "2026-11-24T03:00:00Z", true)]
    #[case("date-time", "2026-11-24T03:00:00+08:00", true)]
    #[case("date-time", "tomorrow", false)]
    #[case("duration", "1h2m3.5s", true)]
    #[case("duration", "-300ms", true)]
    #[case("duration", "5", false)]
    #[case("duration", "", false)]
    #[case("cidr", "10.0.0.0/8", true)]
    #[case("cidr", "10.0.0.0/33", false)]
    #[case("something-new", "x", true)]
    fn formats_are_checked(#[case] format: &str, #[case] text: &str, #[case] expected: bool) {
        assert_eq!(holds(format, text), expected, "{format} {text}");
    }
}
