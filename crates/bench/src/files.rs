//! File operations that are timed, the same ones for every mount.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use crate::BenchError;
use crate::error::io;

/// Length of the large file, in bytes.
const LARGE: usize = 256 << 20;
/// What is written and read at once, in bytes.
const BLOCK: usize = 1 << 20;
/// How many small files there are.
pub(crate) const SMALL: usize = 200;

/// Seconds for each thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Writing the large file from front to back, until it is saved.
    pub(crate) write: f64,
    /// Creating and reading the small files.
    pub(crate) small: f64,
}

/// Writes a large file and small ones in the new folder `folder`.
pub(crate) fn fill(folder: &Path) -> Result<Times, BenchError> {
    fs::create_dir(folder).map_err(io(format!("make {}", folder.display())))?;
    let begun = Instant::now();
    write_large(folder).map_err(io("write a large file"))?;
    let write = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    small_files(folder).map_err(io("write and read small files"))?;
    Ok(Times { write, small: begun.elapsed().as_secs_f64() })
}

/// Writes the large file in `folder`.
pub(crate) fn write_large(folder: &Path) -> std::io::Result<()> {
    let block: Vec<u8> = (0..=250u8).cycle().take(BLOCK).collect();
    let mut file = File::create(folder.join("large"))?;
    for _ in 0..LARGE / BLOCK {
        file.write_all(&block)?;
    }
    file.sync_all()
}

fn small_files(folder: &Path) -> std::io::Result<()> {
    write_small(folder)?;
    read_small(folder)
}

/// Writes the small files in `folder`.
pub(crate) fn write_small(folder: &Path) -> std::io::Result<()> {
    for number in 0..SMALL {
        fs::write(folder.join(number.to_string()), format!("content of {number}"))?;
    }
    Ok(())
}

/// Reads the small files in `folder`, which must hold what was written.
pub(crate) fn read_small(folder: &Path) -> std::io::Result<()> {
    for number in 0..SMALL {
        let text = fs::read_to_string(folder.join(number.to_string()))?;
        if text != format!("content of {number}") {
            return Err(std::io::Error::other(format!("file {number} holds {text:?}")));
        }
    }
    Ok(())
}

/// Seconds that reading the large file in `folder` from front to back takes.
pub(crate) fn read_large(folder: &Path) -> Result<f64, BenchError> {
    let begun = Instant::now();
    let length = read(&folder.join("large")).map_err(io("read a large file"))?;
    if length != LARGE {
        let short = std::io::Error::other(format!("it has {length} bytes instead of {LARGE}"));
        return Err(io("read a large file")(short));
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn read(path: &Path) -> std::io::Result<usize> {
    let mut block = vec![0; BLOCK];
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        match file.read(&mut block)? {
            0 => return Ok(length),
            count => length += count,
        }
    }
}
