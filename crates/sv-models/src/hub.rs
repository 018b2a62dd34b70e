//! Models by name: `org/name[@revision]` of the Hugging Face hub, in its own cache, at a commit and with checksums.
//!
//! ```text
//! name       HubId::from_str           "org/name@revision"; checked, it becomes paths and addresses
//! options    HubOptions::from_env      cache, endpoint, token, offline: the variables of the hub's own client
//! files      fetch                     -> Snapshot     a folder that ModelDir::load reads, each file compared with its checksum
//! model      ModelDir::from_hub        -> ModelDir     whose Source names repository, commit and checksums
//! ```
//!
//! The commit that a branch is gets resolved once and kept ([`Resolve`]): the same name is the same model from then on, and needs no
//! connection. Every file is compared with the hub's ETag when it is downloaded and each time that it is loaded. A download that
//! broke off goes on where it was. Nothing but the files of a known system is fetched.
//!
//! ```no_run
//! use sv_models::ModelDir;
//! use sv_models::hub::HubOptions;
//!
//! let model = ModelDir::from_hub(&"speechbrain/spkrec-ecapa-voxceleb".parse()?, &HubOptions::from_env()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod checksum;
mod client;
mod download;
mod error;
mod id;
mod layout;
mod options;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use checksum::Checksum;
pub use error::HubError;
pub use id::HubId;
pub use options::{HubLimits, HubOptions, Placement, Resolve, Token};

use crate::{ModelDir, ModelError, Source};
use cache::{RepositoryCache, verify};
use client::Client;

/// The files of a model at one commit, on this machine, each with the checksum that it was found to have.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// `org/name`.
    pub repository: String,
    /// 40 hexadecimal digits.
    pub commit: String,
    /// The folder of the files: `snapshots/COMMIT` of the cache.
    pub folder: PathBuf,
    /// Names in the folder, and the hub's ETags.
    pub files: BTreeMap<String, Checksum>,
}

impl Snapshot {
    /// The same for `model.toml`.
    #[must_use]
    pub fn source(&self) -> Source {
        Source {
            name: self.repository.clone(),
            revision: Some(self.commit.clone()),
            sha256: None,
            files: self.files.iter().map(|(name, sum)| (name.clone(), sum.to_string())).collect(),
        }
    }
}

/// Brings a model's files to this machine, or finds them there, and compares each with its checksum.
///
/// # Errors
/// [`HubError`]: the hub cannot be reached, refuses, or has no such thing; a file is not what its checksum says; offline, and not in
/// the cache; the cache cannot be written.
pub fn fetch(id: &HubId, options: &HubOptions) -> Result<Snapshot, HubError> {
    let fetch = Fetch { id, options, cache: RepositoryCache::new(&options.cache, id) };
    let known = match id.commit() {
        Some(commit) => Some(commit.to_owned()),
        None => fetch.cache.resolved(id.revision())?,
    };
    if options.offline {
        let missing = || fetch.missing(&format!("revision {}", id.revision()));
        return fetch.cached(&known.ok_or_else(missing)?);
    }
    let pinned = known.filter(|_| options.revision == Resolve::Pinned || id.commit().is_some());
    if let Some(commit) = &pinned
        && let Some(snapshot) = fetch.recorded(commit)?
    {
        return Ok(snapshot);
    }
    match (fetch.online(pinned.as_deref()), pinned) {
        // Another client's cache may be complete; if it is not, what matters is that the hub is not there.
        (Err(error @ HubError::Unreachable { .. }), Some(commit)) => match fetch.cached(&commit) {
            Err(HubError::Offline { .. }) => Err(error),
            other => other,
        },
        (outcome, _) => outcome,
    }
}

/// One call of [`fetch`].
struct Fetch<'a> {
    id: &'a HubId,
    options: &'a HubOptions,
    cache: RepositoryCache,
}

impl Fetch<'_> {
    /// What the hub has, downloaded where it is not in the cache; written down once it is complete.
    fn online(&self, pinned: Option<&str>) -> Result<Snapshot, HubError> {
        let client = Client::new(self.options)?;
        let revision = client.revision(self.id, pinned.unwrap_or(self.id.revision()))?;
        let commit = &revision.commit;
        if let Some(snapshot) = self.recorded(commit)? {
            self.remember(commit)?;
            return Ok(snapshot);
        }
        let mut files = BTreeMap::new();
        for name in layout::choose(self.id, &revision.files)? {
            let url = client.file_url(self.id, commit, name);
            let metadata = client.metadata(&url, commit)?;
            download::blob(&client, &self.cache, &url, &metadata)?;
            self.cache.place(commit, name, metadata.checksum, self.options.placement)?;
            files.insert(name.to_owned(), metadata.checksum);
        }
        let snapshot = self.snapshot(commit, files);
        self.cache.write_record(commit, &snapshot.source())?;
        self.remember(commit)?;
        Ok(snapshot)
    }

    /// Notes which commit the revision was, once that commit is here: until then, what was noted before still loads.
    fn remember(&self, commit: &str) -> Result<(), HubError> {
        if self.id.commit().is_some() { Ok(()) } else { self.cache.write_resolved(self.id.revision(), commit) }
    }

    /// A snapshot that was complete once, its files compared again; none if there is no such, or a file of it was removed.
    fn recorded(&self, commit: &str) -> Result<Option<Snapshot>, HubError> {
        let Some(source) = self.cache.record(commit)? else { return Ok(None) };
        let folder = self.cache.snapshot(commit);
        let mut files = BTreeMap::new();
        for (name, sum) in source.files {
            layout::check_name(self.id, &name)?;
            let sum =
                Checksum::parse(&sum).ok_or_else(|| self.cache.bad_record(commit, "a checksum has 40 or 64 digits"))?;
            if !folder.join(&name).is_file() {
                return Ok(None);
            }
            files.insert(name, sum);
        }
        if files.is_empty() {
            return Err(self.cache.bad_record(commit, "it names no file"));
        }
        files.iter().try_for_each(|(name, &sum)| verify(&folder.join(name), sum))?;
        Ok(Some(self.snapshot(commit, files)))
    }

    /// What is in the cache, without the hub. Another client leaves no list of checksums: then the name of the blob that a file
    /// links to is its checksum, and a copy, which has none, is taken as a folder that a user names would be.
    fn cached(&self, commit: &str) -> Result<Snapshot, HubError> {
        if let Some(snapshot) = self.recorded(commit)? {
            return Ok(snapshot);
        }
        let folder = self.cache.snapshot(commit);
        let names: Vec<String> = std::fs::read_dir(&folder)
            .map(|entries| {
                entries
                    .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_file()))
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .collect()
            })
            .map_err(|_| self.missing(&format!("commit {commit}")))?;
        let chosen = layout::choose(self.id, &names).map_err(|error| match error {
            HubError::Incomplete { missing, .. } => self.missing(missing),
            _ => self.missing(&format!("a model at commit {commit}")),
        })?;
        let mut files = BTreeMap::new();
        for name in chosen {
            let path = folder.join(name);
            let sum = match self.cache.linked(commit, name) {
                Some(sum) => verify(&path, sum).map(|()| sum)?,
                None => Checksum::Sha256([0; 32])
                    .of_file(&path)
                    .map_err(|source| HubError::Cache { path: path.clone(), source })?,
            };
            files.insert(name.to_owned(), sum);
        }
        Ok(self.snapshot(commit, files))
    }

    fn snapshot(&self, commit: &str, files: BTreeMap<String, Checksum>) -> Snapshot {
        let folder = self.cache.snapshot(commit);
        Snapshot { repository: self.id.repository(), commit: commit.to_owned(), folder, files }
    }

    fn missing(&self, what: &str) -> HubError {
        HubError::Offline { id: self.id.to_string(), missing: what.into(), cache: self.options.cache.clone() }
    }
}

impl ModelDir {
    /// Fetches a model from the hub, or finds it in its cache, and loads it. Its [`Source`] names repository, commit and the checksum
    /// of every file.
    ///
    /// # Errors
    /// [`ModelError::Hub`] if the files cannot be had; otherwise those of [`ModelDir::load`].
    pub fn from_hub(id: &HubId, options: &HubOptions) -> Result<Self, ModelError> {
        let snapshot = fetch(id, options)?;
        Ok(Self::load(&snapshot.folder)?.with_source(snapshot.source()))
    }
}
