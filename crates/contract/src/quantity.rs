//! Kubernetes quantities, as far as they have to be checked before the API server sees them.

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
