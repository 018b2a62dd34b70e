//! One file into the cache: taken up where it broke off, compared with its checksum, and only then a blob.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, header};

use super::HubError;
use super::cache::{RepositoryCache, make_folder, verify};
use super::client::{Client, Metadata};

/// Bytes that make an attempt count as progress.
const PROGRESS: u64 = 1 << 20;
/// The wait after the first attempt; after the second it is twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes sure that the blob of `url` is in the cache and has its checksum.
pub(super) fn blob(
    client: &Client<'_>,
    cache: &RepositoryCache,
    url: &str,
    metadata: &Metadata,
) -> Result<(), HubError> {
    let limit = client.limits.file_bytes;
    if let Some(bytes) = metadata.bytes.filter(|&bytes| bytes > limit) {
        return Err(HubError::TooLarge { url: url.into(), bytes, limit });
    }
    let blob = cache.blob(metadata.checksum);
    if blob.is_file() {
        return verify(&blob, metadata.checksum);
    }
    let _lock = cache.lock(metadata.checksum)?;
    // Another process may have finished it meanwhile.
    if blob.is_file() {
        return verify(&blob, metadata.checksum);
    }
    blob.parent().map_or(Ok(()), make_folder)?;
    let part = blob.with_extension("incomplete");
    let resumed = length(&part)? > 0;
    let mut outcome = fill(client, url, metadata, &part);
    if let (Err(HubError::Checksum { .. }), true) = (&outcome, resumed) {
        // What an earlier call left was not the beginning of this file.
        outcome = fill(client, url, metadata, &part);
    }
    outcome?;
    fs::rename(&part, &blob).map_err(|source| HubError::Cache { path: blob, source })
}

/// Brings `part` to the whole file, and removes it if that has another checksum.
fn fill(client: &Client<'_>, url: &str, metadata: &Metadata, part: &Path) -> Result<(), HubError> {
    download(client, url, metadata.bytes, part)?;
    verify(part, metadata.checksum).inspect_err(|_| {
        // The mismatch is what is told; a file that stays would be found wrong again.
        let _ = fs::remove_file(part);
    })
}

fn download(client: &Client<'_>, url: &str, need: Option<u64>, part: &Path) -> Result<(), HubError> {
    let mut attempts = 0;
    loop {
        let before = length(part)?;
        if need.is_some_and(|need| before == need && need > 0) {
            return Ok(());
        }
        let result = attempt(client, url, need, part, before);
        let have = length(part)?;
        if have >= before + PROGRESS {
            attempts = 0;
        }
        attempts += 1;
        match result {
            Ok(()) => return Ok(()),
            Err(Attempt::Final(error)) => return Err(error),
            Err(Attempt::Broken) if attempts < client.limits.attempts => std::thread::sleep(PAUSE * attempts),
            Err(Attempt::Broken) => {
                return Err(HubError::Interrupted { url: url.into(), have, need, attempts });
            }
        }
    }
}

/// Why an attempt did not bring the whole file.
enum Attempt {
    /// The connection broke: worth another one.
    Broken,
    Final(HubError),
}

impl From<HubError> for Attempt {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// One connection: goes on after the first `have` bytes of `part` if the server does, begins again otherwise.
fn attempt(client: &Client<'_>, url: &str, need: Option<u64>, part: &Path, have: u64) -> Result<(), Attempt> {
    let limit = need.unwrap_or(client.limits.file_bytes);
    // More than the whole file is none of its beginnings.
    let mut have = if have > limit { 0 } else { have };
    let response = match client.open(url, have) {
        // Once a part is here, the hub was there: it may come back.
        Err(HubError::Unreachable { .. }) if have > 0 => return Err(Attempt::Broken),
        other => other?,
    };
    match response.status().as_u16() {
        206 if have > 0 && starts_at(&response, have) => {}
        200 => have = 0,
        _ => {
            // The server has nothing after what is here, or something else: begin again.
            truncate(part, 0)?;
            return Err(Attempt::Broken);
        }
    }
    truncate(part, have)?;
    let unwritable = |source| HubError::Cache { path: PathBuf::from(part), source };
    let mut file = OpenOptions::new().append(true).open(part).map_err(unwritable)?;
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                have += bytes as u64;
                if have > limit {
                    return Err(too_long(url, need, have, limit).into());
                }
                file.write_all(&buffer[..bytes]).map_err(unwritable)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Attempt::Broken),
        }
    }
    if need.is_some_and(|need| have < need) {
        return Err(Attempt::Broken);
    }
    // Stored before it takes its name: a power cut leaves a part, not half a blob.
    Ok(file.sync_all().map_err(unwritable)?)
}

fn too_long(url: &str, need: Option<u64>, bytes: u64, limit: u64) -> HubError {
    match need {
        Some(_) => HubError::Answer { url: url.into(), problem: "sends more bytes than it announced" },
        None => HubError::TooLarge { url: url.into(), bytes, limit },
    }
}

/// Whether a partial answer begins at byte `start`: `bytes 5-9/10`.
fn starts_at(response: &Response<Body>, start: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    first == Some(start)
}

fn truncate(part: &Path, bytes: u64) -> Result<(), HubError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(part);
    file.and_then(|file: File| file.set_len(bytes)).map_err(|source| HubError::Cache { path: part.into(), source })
}

fn length(part: &Path) -> Result<u64, HubError> {
    match fs::metadata(part) {
        Ok(part) => Ok(part.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(source) => Err(HubError::Cache { path: part.into(), source }),
    }
}
