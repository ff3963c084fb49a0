//! How a changed file is put together again from parts: which are copied on the server, which are sent.

use std::ops::Range;

use super::extents::Extents;

/// Parts at most; S3 takes 10,000.
const MOST_PARTS: u64 = 9_000;
/// Longest range that is copied as one part; S3 takes 5 GiB.
const LONGEST_COPY: u64 = 512 << 20;

/// One part of the new object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// The same bytes of the old object.
    Copy(Range<u64>),
    /// Bytes that are sent.
    Send(Range<u64>),
}

/// Cuts a file of `size` bytes, of which the first `base` are in the old object except where `local` says
/// otherwise, into parts of about `part` bytes. Every part but the last has at least `part` bytes.
pub(super) fn plan(size: u64, base: u64, local: &Extents, part: u64) -> Vec<Piece> {
    let part = part.max(size.div_ceil(MOST_PARTS));
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    while at < size {
        let end = (at + part).min(size);
        let unchanged = end <= base && !local.overlaps(at..end);
        match pieces.last_mut() {
            Some(Piece::Copy(range)) if unchanged && end - range.start <= LONGEST_COPY.max(part) => {
                range.end = end;
            }
            _ if unchanged => pieces.push(Piece::Copy(at..end)),
            _ => pieces.push(Piece::Send(at..end)),
        }
        at = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn an_append_sends_only_the_end() {
        let mut local = Extents::default();
        local.insert(100 * MIB..101 * MIB);
        let pieces = plan(101 * MIB, 100 * MIB, &local, 8 * MIB);
        assert_eq!(pieces, [Piece::Copy(0..96 * MIB), Piece::Send(96 * MIB..101 * MIB)]);
    }

    proptest! {
        #[test]
        fn parts_cover_the_file_and_copy_nothing_that_changed(
            size in 1..4000u64, base in 0..4000u64, part in 5..50u64,
            writes in prop::collection::vec((0..4000u64, 1..100u64), 0..10),
        ) {
            let mut local = Extents::default();
            for (start, length) in writes {
                local.insert(start..start + length);
            }
            local.truncate(size);
            let pieces = plan(size, base, &local, part);
            let mut at = 0;
            for (index, piece) in pieces.iter().enumerate() {
                let (Piece::Copy(range) | Piece::Send(range)) = piece;
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end - range.start >= part || index + 1 == pieces.len());
                if matches!(piece, Piece::Copy(_)) {
                    prop_assert!(range.end <= base && !local.overlaps(range.clone()));
                }
                at = range.end;
            }
            prop_assert_eq!(at, size);
            prop_assert!(pieces.len() as u64 <= MOST_PARTS + 1);
        }
    }
}
