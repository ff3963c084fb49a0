//! Quantities such as `500m`, `2`, `1Gi`.

/// The quantity in thousandths, rounded up; `None` for a text that is none or doesn't fit.
pub(crate) fn milli(text: &str) -> Option<u64> {
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

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[0-9.]{0,40}[a-zA-Z]{0,2}") {
            milli(&text);
        }
    }
}
