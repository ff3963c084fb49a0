//! Compression of transfers: gzip or none.

use std::io;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, StatusCode};

use crate::envd::http_error::HttpError;

/// A body on its way.
pub(super) type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// Whether an answer is to be compressed. General clients offer several codings without wanting any: only who names
/// gzip alone, or forbids everything else, gets it.
pub(super) fn wants_gzip(headers: &HeaderMap) -> Result<bool, HttpError> {
    let header = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let codings = header.split(',').filter_map(coding).collect::<Vec<_>>();
    let quality =
        |name: &str| codings.iter().find(|(coding, _)| coding == name).map(|(_, accepted)| *accepted);
    let gzip = quality("gzip").or(quality("*")).unwrap_or(false);
    let identity = quality("identity").or(quality("*")).unwrap_or(true);
    let alone = codings.iter().all(|(coding, _)| coding == "gzip" || coding == "identity");
    match (identity, gzip) {
        (true, gzip) => Ok(gzip && alone && quality("gzip").is_some()),
        (false, true) => Ok(true),
        (false, false) => Err(HttpError::new(
            StatusCode::NOT_ACCEPTABLE,
            "no acceptable encoding: gzip and identity are offered",
        )),
    }
}

fn coding(item: &str) -> Option<(String, bool)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let refused = parts
        .filter_map(|part| part.strip_prefix("q="))
        .any(|quality| quality.parse::<f64>().is_ok_and(|quality| quality <= 0.0));
    Some((name.to_ascii_lowercase(), !refused))
}

/// The request's body without its compression.
pub(super) fn decoded(headers: &HeaderMap, chunks: Chunks) -> Result<Chunks, HttpError> {
    match headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(chunks),
        Some(b"gzip") => Ok(through(chunks, MultiGzDecoder::new(Vec::new()))),
        Some(_) => Err(HttpError::bad_request("content encoding: want gzip or identity")),
    }
}

/// `chunks` compressed.
pub(super) fn compressed(chunks: Chunks) -> Chunks {
    through(chunks, GzEncoder::new(Vec::new(), Compression::fast()))
}

/// A coder that is written to on one side and leaves its output in memory.
trait Coder: io::Write + Send + 'static {
    fn output(&mut self) -> &mut Vec<u8>;
    fn finish(&mut self) -> io::Result<()>;
}

impl Coder for MultiGzDecoder<Vec<u8>> {
    fn output(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.try_finish()
    }
}

impl Coder for GzEncoder<Vec<u8>> {
    fn output(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.try_finish()
    }
}

fn through(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static, coder: impl Coder) -> Chunks {
    let state = Some((chunks.boxed(), coder));
    futures::stream::try_unfold(state, async |state| {
        let Some((mut chunks, mut coder)) = state else { return Ok(None) };
        loop {
            let Some(chunk) = chunks.next().await else {
                coder.finish()?;
                return Ok(Some((Bytes::from(std::mem::take(coder.output())), None)));
            };
            io::Write::write_all(&mut coder, &chunk?)?;
            let output = std::mem::take(coder.output());
            if !output.is_empty() {
                return Ok(Some((Bytes::from(output), Some((chunks, coder)))));
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("", Some(false))]
    #[case::asked("gzip", Some(true))]
    #[case::a_general_client("gzip, deflate, br", Some(false))]
    #[case::refused("gzip;q=0", Some(false))]
    #[case::forced("gzip, identity;q=0", Some(true))]
    #[case::anything("*", Some(false))]
    #[case::nothing_offered("br, identity;q=0", None)]
    fn compression_is_for_those_who_ask(#[case] header: &str, #[case] expected: Option<bool>) {
        let headers = [(ACCEPT_ENCODING, header.parse().expect("a value"))].into_iter().collect();
        assert_eq!(wants_gzip(&headers).ok(), expected);
    }

    #[tokio::test]
    async fn what_was_compressed_comes_back() {
        let text = "mount ".repeat(10_000);
        let pieces =
            text.as_bytes().chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
        let packed = compressed(futures::stream::iter(pieces).boxed());
        let packed = packed.try_collect::<Vec<_>>().await.expect("compressed");
        assert!(packed.iter().map(Bytes::len).sum::<usize>() < text.len() / 10);
        let headers = [(CONTENT_ENCODING, "gzip".parse().expect("a value"))].into_iter().collect();
        let unpacked =
            decoded(&headers, futures::stream::iter(packed.into_iter().map(Ok)).boxed()).expect("known");
        let unpacked = unpacked.try_collect::<Vec<_>>().await.expect("decompressed");
        assert_eq!(unpacked.concat(), text.as_bytes());
    }
}
