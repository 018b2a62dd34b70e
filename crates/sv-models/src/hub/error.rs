//! What can go wrong between a name on the hub and a folder on this machine.

use std::io;
use std::path::PathBuf;

/// Why a model of the hub could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A text that names no repository.
    #[error("{text:?} is no name on the hub: {problem}; write `org/name` or `org/name@revision`")]
    BadName {
        /// The text.
        text: String,
        /// The rule that it breaks.
        problem: &'static str,
    },
    /// A setting of the hub, from the environment or the caller, that cannot be.
    #[error("{key}: {problem}")]
    Setting {
        /// The variable.
        key: &'static str,
        /// What is wrong with it. The value is left out: it may be a secret.
        problem: &'static str,
    },
    /// No answer: no network, no such host, a broken connection, a certificate that is not trusted.
    #[error("{url}: the hub cannot be reached: {source}; what is in the cache loads without it")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the client said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// 401 or 403: the hub wants to know who asks, or does not let this one in. It says the same of what does not exist.
    #[error(
        "{url}: refused with status {status}, {}; is the name right? private and gated models want an account that may \
         read them: set HF_TOKEN",
        if *.token { "in spite of the token" } else { "and no token was sent" }
    )]
    Denied {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// No such repository.
    #[error("{endpoint} has no model {repository}; look at its spelling, capital letters included")]
    NoRepository {
        /// `org/name`.
        repository: String,
        /// The hub.
        endpoint: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repository} has no revision {revision:?}; name a branch, a tag or a commit in full")]
    NoRevision {
        /// `org/name`.
        repository: String,
        /// What was asked for.
        revision: String,
    },
    /// A file that the repository lists is not there.
    #[error("{url}: the hub has no such file, though the repository lists it")]
    NoFile {
        /// What was asked for.
        url: String,
    },
    /// Any other status than success.
    #[error("{url}: answered with status {status}; try again later")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// An answer that the hub does not give.
    #[error("{url}: {problem}; is HF_ENDPOINT a hub?")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        problem: &'static str,
    },
    /// A redirect that is not followed.
    #[error("{url}: {problem}, to {location:?}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where it was sent.
        location: String,
        /// Why that is not followed.
        problem: &'static str,
    },
    /// The repository lists a file whose name leaves its folder.
    #[error("{id}: lists a file named {name:?}, which leads out of its folder; nothing of it is loaded")]
    FileName {
        /// The repository.
        id: String,
        /// The name.
        name: String,
    },
    /// The repository holds no model that is read.
    #[error(
        "{id}: none of the models that are read (ours, SpeechBrain's, WeSpeaker's); its files are {}",
        if .files.is_empty() { "none".to_owned() } else { format!("{}, ...", .files.join(", ")) }
    )]
    NotAModel {
        /// The repository.
        id: String,
        /// The first of its files.
        files: Vec<String>,
    },
    /// The repository looks like a system's, but lacks a file.
    #[error("{id}: looks like {system}, but has no {missing}; is it a speaker encoder?")]
    Incomplete {
        /// The repository.
        id: String,
        /// Whose layout it has.
        system: &'static str,
        /// The file that is not there.
        missing: &'static str,
    },
    /// More bytes than the limit.
    #[error("{url}: {bytes} bytes or more; at most {limit} are taken (`HubLimits`)")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The size that was announced, or reached.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The connection broke off, and again when the download was resumed.
    #[error("{url}: the connection broke off after {have} bytes{}, {attempts} times; call again to resume", .need.map_or_else(String::new, |need| format!(" of {need}")))]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Bytes that are kept for the next call.
        have: u64,
        /// Bytes in all, where the hub says so.
        need: Option<u64>,
        /// How often it was tried.
        attempts: u32,
    },
    /// A file is not what the hub says it is.
    #[error("{}: has checksum {found}, the hub's is {expected}; it was changed or damaged, remove it and fetch it again", .path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The hub's ETag.
        expected: String,
        /// What the file's bytes give.
        found: String,
    },
    /// Offline, and not in the cache.
    #[error("{id}: {missing} is not in the cache {}, and HF_HUB_OFFLINE forbids to ask the hub; fetch it once online", .cache.display())]
    Offline {
        /// What was asked for.
        id: String,
        /// The file or revision that is missing.
        missing: String,
        /// The cache.
        cache: PathBuf,
    },
    /// A file of the cache cannot be read or written.
    #[error("{}: {source}; is the cache writable, and the disk not full?", .path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file that this crate keeps in the cache is not as it was written.
    #[error("{}: not the list of checksums that was written there: {message}; remove it and fetch the model again", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Line, key, and what was expected.
        message: String,
    },
}
