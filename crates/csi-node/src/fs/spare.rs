//! Buffers that were used and will be used again.

use std::sync::{Mutex, PoisonError};

/// How many are kept; a reader has about as many under way.
const KEPT: usize = 6;

/// The unused buffers of one reader; they go with it.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// An empty buffer with room for `capacity` bytes.
    pub(super) fn take(&self, capacity: usize) -> Vec<u8> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.iter().position(|buffer| buffer.capacity() >= capacity);
        match fitting {
            Some(place) => kept.swap_remove(place),
            None => Vec::with_capacity(capacity),
        }
    }

    /// Keeps `buffer` for later; the smallest goes if there are enough.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(buffer);
        if kept.len() > KEPT {
            let smallest = (0..kept.len()).min_by_key(|place| kept[*place].capacity()).unwrap_or(0);
            kept.swap_remove(smallest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_to_whom_it_fits() {
        let spare = Spare::default();
        spare.give(vec![7; 100]);
        assert_eq!(spare.take(1000).capacity(), 1000);
        let again = spare.take(50);
        assert!(again.is_empty() && again.capacity() >= 100);
    }

    #[test]
    fn the_large_ones_are_kept() {
        let spare = Spare::default();
        for size in [10, 1000, 20, 1000, 1000, 30, 1000, 1000, 1000] {
            spare.give(Vec::with_capacity(size));
        }
        assert!((0..KEPT).all(|_| spare.take(1).capacity() >= 1000));
    }
}
