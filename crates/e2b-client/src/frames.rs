//! Envelopes of the Connect protocol's streams (`e2b-api.md` §10): one byte of flags, four bytes of length in
//! network order, the payload.

/// The longest payload that is accepted, in bytes. envd sends chunks of 32 KiB, base64-encoded.
pub const LARGEST_FRAME: usize = 16 << 20;

const HEADER: usize = 5;
const COMPRESSED: u8 = 1;
const END_OF_STREAM: u8 = 2;

/// One frame of a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Whether it is the last frame, whose payload is `{}` or `{"error": …}`.
    pub is_end: bool,
    /// The payload, JSON.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A message frame.
    pub fn message(payload: Vec<u8>) -> Self {
        Self { is_end: false, payload }
    }

    /// The frame as bytes. A payload of 4 GiB or more can't be framed and is cut; [`LARGEST_FRAME`] is far below.
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.push(if self.is_end { END_OF_STREAM } else { 0 });
        bytes.extend(length.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// Why a stream can't be read on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Compressed frames were not asked for.
    #[error("a frame is compressed, flags {flags:#04x}")]
    Compressed {
        /// The flags.
        flags: u8,
    },
    /// A flag that the protocol doesn't know.
    #[error("a frame has unknown flags {flags:#04x}")]
    UnknownFlags {
        /// The flags.
        flags: u8,
    },
    /// A payload beyond [`LARGEST_FRAME`].
    #[error("a frame of {length} bytes is longer than {LARGEST_FRAME}")]
    TooLong {
        /// The length that the header announces.
        length: usize,
    },
    /// Bytes after the end frame, or the end of the bytes within a frame.
    #[error("the stream ended within a frame, {left} bytes were left over")]
    Torn {
        /// How many bytes were left over.
        left: usize,
    },
}

/// Cuts a byte stream, which comes in pieces of any size, into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    read: usize,
}

impl FrameDecoder {
    /// Adds the bytes that came next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, if it is there.
    ///
    /// # Errors
    /// [`FrameError`] when the header can't be a frame's; the stream is lost then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.read..];
        let [flags, a, b, c, d, payload @ ..] = rest else { return Ok(None) };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        match *flags {
            0 | END_OF_STREAM => {}
            flags if flags & COMPRESSED != 0 => return Err(FrameError::Compressed { flags }),
            flags => return Err(FrameError::UnknownFlags { flags }),
        }
        if length > LARGEST_FRAME {
            return Err(FrameError::TooLong { length });
        }
        let Some(payload) = payload.get(..length) else { return Ok(None) };
        let frame = Frame { is_end: *flags == END_OF_STREAM, payload: payload.to_vec() };
        self.read += HEADER + length;
        Ok(Some(frame))
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    /// [`FrameError::Torn`] when bytes are left over.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() - self.read {
            0 => Ok(()),
            left => Err(FrameError::Torn { left }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = FrameDecoder::default();
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece.max(1)) {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        decoder.finish().map(|()| frames)
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
            piece in 1..64_usize,
        ) {
            let mut frames: Vec<Frame> = payloads.into_iter().map(Frame::message).collect();
            frames.push(Frame { is_end: true, payload: b"{}".to_vec() });
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            prop_assert_eq!(decode(&bytes, piece), Ok(frames));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize) {
            let _ = decode(&bytes, piece);
        }
    }

    #[rstest::rstest]
    #[case::compressed(&[1, 0, 0, 0, 0], FrameError::Compressed { flags: 1 })]
    #[case::unknown_flags(&[4, 0, 0, 0, 0], FrameError::UnknownFlags { flags: 4 })]
    #[case::too_long(&[0, 0xff, 0, 0, 0], FrameError::TooLong { length: 0xff00_0000 })]
    #[case::torn(&[0, 0, 0, 0, 2, b'{'], FrameError::Torn { left: 6 })]
    fn bad_streams_are_refused(#[case] bytes: &[u8], #[case] error: FrameError) {
        assert_eq!(decode(bytes, 64), Err(error));
    }
}
