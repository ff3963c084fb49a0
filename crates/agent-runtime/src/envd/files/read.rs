//! `GET /files`.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE,
    VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::encoding::{Chunks, compressed, wants_gzip};
use super::{FilesQuery, account_of, blocking, target};
use crate::envd::http_error::HttpError;
use crate::envd::state::SharedEnvd;

/// Files up to this size, in bytes, are read in one go.
const SMALL: u64 = 256 << 10;
/// Files without a size of their own, like those in `/proc`, are read up to this many bytes.
const UNSIZED: u64 = 64 << 20;

/// Sends a file.
pub(super) async fn read(State(envd): State<SharedEnvd>, request: Request) -> Result<Response, HttpError> {
    let query = FilesQuery::from_uri(request.uri())?;
    query.authorize(&envd, request.headers(), "read")?;
    let account = account_of(&envd, query.username.as_deref())?;
    let path = target(&envd, &account, query.path.as_deref().unwrap_or_default())?;
    let gzip = wants_gzip(request.headers())?;
    let opened = path.clone();
    let found = blocking(move || open(&opened)).await?;
    let range = range(request.headers(), found.length());
    answer(&path, found, range, gzip)
}

/// What is to be sent.
enum Found {
    Whole(Bytes),
    Large(File, u64),
}

impl Found {
    fn length(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Large(_, length) => *length,
        }
    }

    fn chunks(self, range: Range<u64>) -> io::Result<Chunks> {
        match self {
            Self::Whole(bytes) => {
                let end = usize::try_from(range.end).unwrap_or(bytes.len()).min(bytes.len());
                let start = usize::try_from(range.start).unwrap_or(end).min(end);
                Ok(futures::stream::iter([Ok(bytes.slice(start..end))]).boxed())
            }
            Self::Large(mut file, _) => {
                file.seek(SeekFrom::Start(range.start))?;
                let reader = tokio::fs::File::from_std(file).take(range.end - range.start);
                Ok(ReaderStream::with_capacity(reader, 128 << 10).boxed())
            }
        }
    }
}

fn open(path: &Path) -> Result<Found, HttpError> {
    let failed =
        |problem: io::Error| HttpError::from_io(&format!("cannot read {}", path.display()), &problem);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    check_kind(path, &metadata)?;
    let mut file = File::open(path).map_err(failed)?;
    if metadata.len() > SMALL {
        return Ok(Found::Large(file, metadata.len()));
    }
    let mut bytes = Vec::new();
    let limit = if metadata.len() == 0 { UNSIZED } else { metadata.len() };
    file.by_ref().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Found::Whole(bytes.into()))
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), HttpError> {
    let kind = if metadata.is_dir() { "is a directory" } else { "is not a regular file" };
    if metadata.is_file() {
        return Ok(());
    }
    Err(HttpError::bad_request(format!("cannot read {}: it {kind}", path.display())))
}

fn answer(path: &Path, found: Found, asked: Asked, gzip: bool) -> Result<Response, HttpError> {
    let length = found.length();
    let (status, range) = match asked {
        Asked::Everything => (StatusCode::OK, 0..length),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => {
            let text = format!("the range is not within the {length} bytes of {}", path.display());
            return Err(HttpError::new(StatusCode::RANGE_NOT_SATISFIABLE, text));
        }
    };
    let gzip = gzip && status == StatusCode::OK && length > 0;
    let failed =
        |problem: io::Error| HttpError::from_io(&format!("cannot read {}", path.display()), &problem);
    let chunks = found.chunks(range.clone()).map_err(failed)?;
    let body = Body::from_stream(if gzip { compressed(chunks) } else { chunks });
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DISPOSITION, disposition(path));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok(response);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        headers.extend(HeaderValue::from_str(&text).map(|value| (CONTENT_RANGE, value)));
    }
    Ok(response)
}

/// `inline; filename="…"`, with what can't be in a header left out.
fn disposition(path: &Path) -> HeaderValue {
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    let name = name.to_string_lossy();
    let plain = name.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ');
    let plain = plain.filter(|letter| *letter != '"' && *letter != '\\').collect::<String>();
    HeaderValue::from_str(&format!("inline; filename=\"{plain}\""))
        .unwrap_or(HeaderValue::from_static("inline"))
}

/// Which part of a file is asked for.
#[derive(Debug, PartialEq)]
enum Asked {
    Everything,
    Part(Range<u64>),
    Nothing,
}

/// Reads `Range`. What isn't understood, such as several parts, asks for everything.
fn range(headers: &HeaderMap, length: u64) -> Asked {
    let text =
        headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("bytes="));
    let Some((first, last)) = text.and_then(|text| text.split_once('-')) else { return Asked::Everything };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..length,
        (Err(_), Ok(suffix)) if first.trim().is_empty() => length.saturating_sub(suffix)..length,
        _ => return Asked::Everything,
    };
    if range.is_empty() { Asked::Nothing } else { Asked::Part(range) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bytes=0-3", Asked::Part(0..4))]
    #[case("bytes=4-", Asked::Part(4..10))]
    #[case("bytes=-3", Asked::Part(7..10))]
    #[case("bytes=8-99", Asked::Part(8..10))]
    #[case("bytes=10-", Asked::Nothing)]
    #[case("bytes=3-1", Asked::Everything)]
    #[case("bytes=0-1,4-5", Asked::Everything)]
    #[case("lines=0-1", Asked::Everything)]
    fn ranges(#[case] header: &str, #[case] expected: Asked) {
        let headers = [(RANGE, header.parse().expect("a value"))].into_iter().collect();
        assert_eq!(range(&headers, 10), expected);
    }

    #[test]
    fn a_name_in_a_header_is_plain() {
        assert_eq!(disposition(Path::new("/a/b \"c\"\u{e9}.txt")), "inline; filename=\"b c.txt\"");
    }
}
