//! Where the hub and its cache are, who asks, and how much is taken: the environment variables of the hub's own client.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::HubError;

/// How a model of the hub is had.
///
/// [`HubOptions::from_env`] reads the variables that the hub's Python client reads, so that both share one cache:
///
/// | variable | means |
/// |---|---|
/// | `HF_HUB_CACHE` | the cache; else `hub` in `HF_HOME`, else in `$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface` |
/// | `HF_ENDPOINT` | the hub; else `https://huggingface.co` |
/// | `HF_TOKEN` | who asks; else the content of `HF_TOKEN_PATH`, else of `token` in `HF_HOME` |
/// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | `1`, `ON`, `YES` or `TRUE`: none of these |
/// | `HF_HUB_OFFLINE` | `1`, `ON`, `YES` or `TRUE`: nothing is asked of the hub |
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// The cache's folder; made if need be.
    pub cache: PathBuf,
    /// The hub's address, `http://` or `https://`, without a slash at its end.
    pub endpoint: String,
    /// Sent to the endpoint, and to no other host.
    pub token: Option<Token>,
    /// What is in the cache is loaded, nothing is asked.
    pub offline: bool,
    /// A branch or tag that is known already: take the commit that it named then, or ask again.
    pub revision: Resolve,
    /// How a snapshot's files are made of the cache's blobs.
    pub placement: Placement,
    /// How much is taken, and how long is waited.
    pub limits: HubLimits,
}

/// Whether a branch or tag that was resolved once is resolved again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolve {
    /// The commit of the first time: the same model each time, and no connection needed.
    #[default]
    Pinned,
    /// The commit that the hub names now.
    Again,
}

/// How a snapshot's files are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// A symbolic link to the blob; where the system does not allow one, a copy.
    #[default]
    LinkOrCopy,
    /// A copy.
    Copy,
}

/// How much is taken from the hub, and how long is waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    /// Bytes of one file: 4 GiB, some forty times the largest published speaker encoder.
    pub file_bytes: u64,
    /// Bytes of an answer about a repository: 8 MiB.
    pub answer_bytes: u64,
    /// Redirects on the way to one answer: 8.
    pub redirects: u32,
    /// Attempts at one file that bring less than a MiB each: 5.
    pub attempts: u32,
    /// Until a connection stands, and until an answer begins: 20 s.
    pub connect: Duration,
    /// Without a single byte, before the connection counts as broken: 30 s.
    pub silence: Duration,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            file_bytes: 4 << 30,
            answer_bytes: 8 << 20,
            redirects: 8,
            attempts: 5,
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(30),
        }
    }
}

/// An access token. It is not shown, neither by `Debug` nor in errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token; white space around it is dropped.
    ///
    /// # Errors
    /// [`HubError::Setting`] if it is empty or holds what cannot stand in a header.
    pub fn new(text: &str) -> Result<Self, HubError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "a token is made of visible ASCII characters, without a space; copy it again";
            return Err(HubError::Setting { key: "HF_TOKEN", problem });
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

impl HubOptions {
    /// The public hub, nobody's account, and the given cache.
    #[must_use]
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            endpoint: "https://huggingface.co".into(),
            token: None,
            offline: false,
            revision: Resolve::default(),
            placement: Placement::default(),
            limits: HubLimits::default(),
        }
    }

    /// As the environment says.
    ///
    /// # Errors
    /// [`HubError::Setting`] for a variable that cannot be, or where neither it nor a home folder says where the cache is;
    /// [`HubError::Cache`] if the file of the token cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// As `variable` says, which stands for the environment.
    ///
    /// # Errors
    /// Those of [`Self::from_env`].
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let home = path("HF_HOME").or_else(|| {
            let caches = path("XDG_CACHE_HOME");
            let in_home = || Some(path("HOME").or_else(|| path("USERPROFILE"))?.join(".cache"));
            Some(caches.or_else(in_home)?.join("huggingface"))
        });
        let cache = path("HF_HUB_CACHE").or_else(|| Some(home.as_ref()?.join("hub")));
        let nowhere = "neither it nor HF_HOME nor a home folder is set; set it to a folder for the cache";
        let mut options = Self::new(cache.ok_or(HubError::Setting { key: "HF_HUB_CACHE", problem: nowhere })?);
        if let Some(endpoint) = set("HF_ENDPOINT") {
            let endpoint = endpoint.into_string();
            let not_text = |_| HubError::Setting { key: "HF_ENDPOINT", problem: "not a text" };
            options.endpoint = endpoint.map_err(not_text)?.trim_end_matches('/').to_owned();
        }
        let is_set = |name| set(name).is_some_and(|value| is_yes(&value.to_string_lossy()));
        options.offline = is_set("HF_HUB_OFFLINE");
        options.token = match set("HF_TOKEN") {
            _ if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some(token) => Some(Token::new(&token.to_string_lossy())?),
            None => stored_token(path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token"))))?,
        };
        Ok(options)
    }
}

fn is_yes(value: &str) -> bool {
    matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// The token that `hf auth login` stored; none if there is no such file, or nothing in it.
fn stored_token(path: Option<PathBuf>) -> Result<Option<Token>, HubError> {
    let Some(path) = path.filter(|path| path.is_file()) else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|source| HubError::Cache { path, source })?;
    if text.trim().is_empty() { Ok(None) } else { Token::new(&text).map(Some) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<HubOptions, HubError> {
        HubOptions::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_is_where_the_hubs_client_has_it() {
        for (variables, cache) in [
            (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
            (&[("USERPROFILE", "/u")], "/u/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "/hf")], "/hf/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")], "/c"),
            (&[("HOME", "/h"), ("HF_HUB_CACHE", "")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(options(variables).expect(cache).cache, Path::new(cache));
        }
        assert!(matches!(options(&[]), Err(HubError::Setting { key: "HF_HUB_CACHE", .. })));
    }

    #[test]
    fn endpoint_offline_and_token_are_read() {
        let found = options(&[
            ("HF_HUB_CACHE", "/c"),
            ("HF_ENDPOINT", "http://mirror:8080/"),
            ("HF_HUB_OFFLINE", "yes"),
            ("HF_TOKEN", " hf_secret\n"),
        ])
        .expect("options");
        assert_eq!((found.endpoint.as_str(), found.offline), ("http://mirror:8080", true));
        assert_eq!(found.token.as_ref().map(Token::header).as_deref(), Some("Bearer hf_secret"));
        assert!(!format!("{found:?}").contains("secret"));
        let nobody = options(&[("HF_HOME", "/h"), ("HF_TOKEN", "hf_secret"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert_eq!(nobody.expect("options").token, None);
        let plain = options(&[("HF_HUB_CACHE", "/c"), ("HF_HUB_OFFLINE", "0")]).expect("options");
        assert_eq!((plain.endpoint.as_str(), plain.offline, plain.token), ("https://huggingface.co", false, None));
    }

    #[test]
    fn a_stored_token_is_read_and_a_broken_one_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let read = || options(&[("HF_HOME", folder.path().to_str().expect("a text"))]);
        assert_eq!(read().expect("no token").token, None);
        std::fs::write(&path, "hf_stored\n").expect("written");
        assert_eq!(read().expect("a token").token, Some(Token::new("hf_stored").expect("a token")));
        std::fs::write(&path, "hf_one\r\nX-Header: two").expect("written");
        let error = read().expect_err("two lines");
        assert!(matches!(error, HubError::Setting { key: "HF_TOKEN", .. }));
        assert!(!error.to_string().contains("hf_one"), "{error}");
    }
}
