//! Buffers that are used again: reading a large object needs one for every half megabyte, and memory that is new to
//! the process costs more than the bytes that are copied into it.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// How long each buffer is, in bytes; nothing longer is read at once.
pub(super) const BUFFER_SIZE: usize = 512 * 1024;

/// How many are kept while nobody uses them.
const KEPT: usize = 8;

/// The buffers that nobody uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer in use; it goes back when it is dropped.
struct Lent {
    bytes: Vec<u8>,
    length: usize,
    home: Buffers,
}

impl Buffers {
    /// Reads exactly `length` bytes, at most [`BUFFER_SIZE`].
    ///
    /// # Errors
    /// When the source can't be read, ends before, or more is asked for than a buffer holds.
    pub(super) fn read(&self, source: &mut impl Read, length: usize) -> std::io::Result<Bytes> {
        let idle = self.idle().pop();
        let bytes = idle.unwrap_or_else(|| vec![0; BUFFER_SIZE]);
        let mut lent = Lent { bytes, length, home: self.clone() };
        let place = lent.bytes.get_mut(..length).ok_or(std::io::ErrorKind::InvalidInput)?;
        source.read_exact(place)?;
        Ok(Bytes::from_owner(lent))
    }

    /// A panic elsewhere can't leave a list of buffers in a bad state.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.home.idle();
        if idle.len() < KEPT {
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_shows_nothing_of_its_former_use() {
        let buffers = Buffers::default();
        let first = buffers.read(&mut [1_u8; 100].as_slice(), 100).expect("read");
        let second = buffers.read(&mut [2_u8; 7].as_slice(), 7).expect("read");
        assert_eq!((&first[..], &second[..]), (&[1; 100][..], &[2; 7][..]));
        drop((first, second));
        assert_eq!(buffers.idle().len(), 2);
        let third = buffers.read(&mut [3_u8; 5].as_slice(), 5).expect("read");
        assert_eq!(&third[..], [3; 5]);
        assert_eq!(buffers.idle().len(), 1);
    }

    #[test]
    fn a_source_that_ends_early_is_an_error_and_costs_no_buffer() {
        let buffers = Buffers::default();
        let error = buffers.read(&mut [1_u8; 3].as_slice(), 4).expect_err("too short");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        buffers.read(&mut std::io::empty(), BUFFER_SIZE + 1).expect_err("too long");
        assert_eq!(buffers.idle().len(), 1);
    }

    #[test]
    fn only_so_many_are_kept() {
        let buffers = Buffers::default();
        let many: Vec<_> = (0..KEPT + 3).map(|_| buffers.read(&mut [0_u8; 1].as_slice(), 1)).collect();
        drop(many);
        assert_eq!(buffers.idle().len(), KEPT);
    }
}
