//! The hub's cache on this machine, laid out as its Python client lays it out, so that both find each other's files.
//!
//! ```text
//! models--ORG--NAME/refs/REVISION             the commit that a branch or tag was
//! models--ORG--NAME/blobs/ETAG                each file once, named by its checksum
//! models--ORG--NAME/snapshots/COMMIT/FILE     a link to its blob, or a copy
//! models--ORG--NAME/.checksums/COMMIT.toml    ours: what each file of the snapshot must hash to
//! .locks/models--ORG--NAME/ETAG.lock          held while a blob is written or placed
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::HubError;
use super::checksum::Checksum;
use super::id::{HubId, is_commit};
use super::options::Placement;
use crate::checkpoint::write_whole;
use crate::{ModelError, Source};

/// The part of the cache that belongs to one repository.
pub(super) struct RepositoryCache {
    root: PathBuf,
    name: String,
}

/// The longest file of ours, or of one line, that is read: real ones take less than 1 KiB.
const LARGEST_TEXT: u64 = 1 << 20;

impl RepositoryCache {
    pub(super) fn new(root: &Path, id: &HubId) -> Self {
        Self { root: root.into(), name: format!("models--{}--{}", id.organisation(), id.name()) }
    }

    fn folder(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, checksum: Checksum) -> PathBuf {
        self.folder().join("blobs").join(checksum.to_string())
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder().join("refs").join(revision)
    }

    fn record_path(&self, commit: &str) -> PathBuf {
        self.folder().join(".checksums").join(format!("{commit}.toml"))
    }

    /// The commit that `revision` was when it was resolved, if it ever was.
    pub(super) fn resolved(&self, revision: &str) -> Result<Option<String>, HubError> {
        let path = self.reference(revision);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        let commit = text.trim();
        // Anything else is no file of the hub's client; asking again mends it.
        Ok(is_commit(commit).then(|| commit.to_owned()))
    }

    pub(super) fn write_resolved(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if self.resolved(revision)?.as_deref() == Some(commit) {
            return Ok(());
        }
        write(&self.reference(revision), commit.as_bytes())
    }

    /// What was written down of a snapshot when it was complete.
    pub(super) fn record(&self, commit: &str) -> Result<Option<Source>, HubError> {
        let path = self.record_path(commit);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        let source: Result<Source, _> = toml::from_str(&text);
        source.map(Some).map_err(|error| HubError::Record { path, message: error.to_string() })
    }

    /// What is wrong with a record, as an error.
    pub(super) fn bad_record(&self, commit: &str, message: &str) -> HubError {
        HubError::Record { path: self.record_path(commit), message: message.into() }
    }

    pub(super) fn write_record(&self, commit: &str, source: &Source) -> Result<(), HubError> {
        let path = self.record_path(commit);
        let text = toml::to_string(source)
            .map_err(|error| HubError::Record { path: path.clone(), message: error.to_string() })?;
        write(&path, text.as_bytes())
    }

    /// The lock that is held while a blob is written or placed, by whichever client.
    pub(super) fn lock(&self, checksum: Checksum) -> Result<File, HubError> {
        let folder = self.root.join(".locks").join(&self.name);
        make_folder(&folder)?;
        let path = folder.join(format!("{checksum}.lock"));
        let locked = File::options().create(true).append(true).open(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        locked.map_err(|source| HubError::Cache { path, source })
    }

    /// The checksum that a snapshot's file has by the name of the blob that it links to; none for a copy.
    pub(super) fn linked(&self, commit: &str, name: &str) -> Option<Checksum> {
        let target = fs::read_link(self.snapshot(commit).join(name)).ok()?;
        Checksum::parse(target.file_name()?.to_str()?)
    }

    /// Puts a blob into a snapshot under `name`, unless it is there.
    pub(super) fn place(
        &self,
        commit: &str,
        name: &str,
        checksum: Checksum,
        placement: Placement,
    ) -> Result<(), HubError> {
        let blob = self.blob(checksum);
        let folder = self.snapshot(commit);
        let path = folder.join(name);
        make_folder(&folder)?;
        // One at a time, threads of one process too: they would take the same name beside.
        let _lock = self.lock(checksum)?;
        if self.linked(commit, name) == Some(checksum) && placement == Placement::LinkOrCopy {
            return Ok(());
        }
        let link = || {
            let beside = folder.join(format!(".{name}.{}.link", std::process::id()));
            let _ = fs::remove_file(&beside);
            symlink(&Path::new("..").join("..").join("blobs").join(checksum.to_string()), &beside)?;
            fs::rename(&beside, &path)
        };
        if placement == Placement::LinkOrCopy && link().is_ok() {
            return Ok(());
        }
        let mut from = File::open(&blob).map_err(|source| HubError::Cache { path: blob.clone(), source })?;
        write_whole(&path, |out| io::copy(&mut from, out).map(|_| ())).map_err(|error| failed(&path, error))
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Compares a file with its checksum.
pub(super) fn verify(path: &Path, expected: Checksum) -> Result<(), HubError> {
    // The file itself, not the link to it: that is what has to be removed.
    let unreadable = |source| HubError::Cache { path: path.into(), source };
    let path = path.canonicalize().map_err(unreadable)?;
    let found = expected.of_file(&path).map_err(unreadable)?;
    if found == expected {
        Ok(())
    } else {
        Err(HubError::Checksum { path, expected: expected.to_string(), found: found.to_string() })
    }
}

pub(super) fn make_folder(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(|source| HubError::Cache { path: folder.into(), source })
}

/// A small text; none if there is no such file.
fn read_text(path: &Path) -> Result<Option<String>, HubError> {
    let unreadable = |source| HubError::Cache { path: path.into(), source };
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(unreadable(error)),
        // A branch `a` cannot be beside a branch `a/b`: what is a folder here is no reference.
        Ok(kind) if kind.is_dir() => Ok(None),
        Ok(kind) if kind.len() > LARGEST_TEXT => Err(unreadable(io::ErrorKind::FileTooLarge.into())),
        Ok(_) => fs::read_to_string(path).map(Some).map_err(unreadable),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    path.parent().map_or(Ok(()), make_folder)?;
    write_whole(path, |out| out.write_all(bytes)).map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: ModelError) -> HubError {
    let source = match error {
        ModelError::Write { source, .. } => source,
        other => io::Error::other(other),
    };
    HubError::Cache { path: path.into(), source }
}
