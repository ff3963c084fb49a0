//! Kubernetes quantities as numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const FACTORS: [(&str, f64); 15] = [
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// The quantity in thousandths, rounded; 0 for a text that is no quantity.
pub(crate) fn milli(quantity: &Quantity) -> u64 {
    rounded(value(&quantity.0) * 1000.0)
}

/// The quantity in whole units, rounded; 0 for a text that is no quantity.
pub(crate) fn whole(quantity: &Quantity) -> u64 {
    rounded(value(&quantity.0))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

fn value(text: &str) -> f64 {
    if let Ok(plain) = text.parse::<f64>() {
        return plain;
    }
    let split = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = FACTORS.iter().find(|(suffix, _)| *suffix == unit).map_or(0.0, |(_, factor)| *factor);
    number.parse::<f64>().unwrap_or_default() * factor
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("500m", 500)]
    #[case("2", 2000)]
    #[case("1.5", 1500)]
    #[case("1e1", 10_000)]
    #[case("a lot", 0)]
    fn thousandths(#[case] text: &str, #[case] expected: u64) {
        assert_eq!(milli(&Quantity(text.into())), expected);
    }

    #[rstest]
    #[case("1Gi", 1_073_741_824)]
    #[case("512Mi", 536_870_912)]
    #[case("1G", 1_000_000_000)]
    #[case("128974848", 128_974_848)]
    #[case("-1", 0)]
    fn units(#[case] text: &str, #[case] expected: u64) {
        assert_eq!(whole(&Quantity(text.into())), expected);
    }
}
