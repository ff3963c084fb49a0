//! The random end of a volume id.

/// Characters of the suffix.
pub const SUFFIX_LENGTH: usize = 6;

/// A suffix of six characters of `[a-z0-9]` made from random bits that the caller brings.
pub fn suffix_from(random: u64) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rest = random;
    (0..SUFFIX_LENGTH)
        .map(|_| {
            let digit = usize::try_from(rest % 36).unwrap_or(0);
            rest /= 36;
            char::from(ALPHABET[digit])
        })
        .collect()
}
