//! Kubernetes quantities such as `500m`, `2`, `1Gi`: checked before the API server sees them, and compared by value.

const SUFFIXES: [&str; 14] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti"];
const LARGE_SUFFIXES: [&str; 2] = ["Pi", "Ei"];

/// Whether `text` is a quantity above zero, such as `500m`, `1.5`, `2e3` or `1Gi`.
pub fn is_positive(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let end = number.find(|character: char| !matches!(character, '0'..='9' | '.')).unwrap_or(number.len());
    let (digits, suffix) = number.split_at(end);
    let well_formed = digits.matches('.').count() <= 1 && digits.bytes().any(|byte| byte.is_ascii_digit());
    well_formed && digits.bytes().any(|byte| matches!(byte, b'1'..=b'9')) && is_suffix(suffix)
}

fn is_suffix(suffix: &str) -> bool {
    let exponent = |rest: &str| {
        let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    SUFFIXES.contains(&suffix)
        || LARGE_SUFFIXES.contains(&suffix)
        || suffix.strip_prefix(['e', 'E']).is_some_and(exponent)
}

/// The quantity in thousandths, rounded up; `None` for a text that is none or doesn't fit.
pub fn milli(text: &str) -> Option<u64> {
    let split =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let (numerator, denominator): (u128, u128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1000 * 1000, 1),
        "M" => (1000 * 1000_u128.pow(2), 1),
        "G" => (1000 * 1000_u128.pow(3), 1),
        "T" => (1000 * 1000_u128.pow(4), 1),
        "P" => (1000 * 1000_u128.pow(5), 1),
        "E" => (1000 * 1000_u128.pow(6), 1),
        "Ki" => (1000 * 1024, 1),
        "Mi" => (1000 * 1024_u128.pow(2), 1),
        "Gi" => (1000 * 1024_u128.pow(3), 1),
        "Ti" => (1000 * 1024_u128.pow(4), 1),
        "Pi" => (1000 * 1024_u128.pow(5), 1),
        "Ei" => (1000 * 1024_u128.pow(6), 1),
        _ => return None,
    };
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    u64::try_from(digits.checked_mul(numerator)?.div_ceil(denominator * scale)).ok()
}

/// Whether two quantities have the same value: `1` and `1000m` do.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || milli(one).is_some_and(|value| milli(other) == Some(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", Some(1000))]
    #[case("500m", Some(500))]
    #[case("1.5", Some(1500))]
    #[case(".5", Some(500))]
    #[case("1Ki", Some(1_024_000))]
    #[case("1.5Gi", Some(1_610_612_736_000))]
    #[case("100u", Some(1))]
    #[case("", None)]
    #[case("abc", None)]
    #[case("1Zi", None)]
    fn quantities(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(milli(text), expected);
    }

    #[rstest]
    #[case("1", "1000m", true)]
    #[case("1Gi", "1024Mi", true)]
    #[case("1", "2", false)]
    #[case("x", "x", true)]
    #[case("x", "y", false)]
    fn values(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        assert_eq!(is_same(one, other), same);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[0-9.]{0,40}[a-zA-Z]{0,2}") {
            milli(&text);
        }
    }
}
