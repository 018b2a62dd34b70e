//! Asking the hub: one agent, redirects followed by hand, the token sent to the endpoint's own host only.

use std::io::Read;

use serde::Deserialize;
use ureq::http::{HeaderMap, Request, Response, Uri, header};
use ureq::{Agent, Body, Proxy};

use super::checksum::Checksum;
use super::id::{HubId, is_commit};
use super::layout;
use super::options::{HubLimits, Token};
use super::{HubError, HubOptions};

/// A connection to one hub.
pub(super) struct Client<'a> {
    agent: Agent,
    endpoint: Uri,
    base: &'a str,
    token: Option<&'a Token>,
    pub(super) limits: &'a HubLimits,
}

/// What the hub says of a revision.
pub(super) struct Revision {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// What the hub says of a file before it is sent.
pub(super) struct Metadata {
    pub(super) checksum: Checksum,
    /// Bytes; not every server says so.
    pub(super) bytes: Option<u64>,
}

/// The part of the hub's answer that is read; it has many more keys.
#[derive(Deserialize)]
struct ModelInfo {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// What a 404 means where the hub does not say.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Revision(&'a HubId),
    File,
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a HubOptions) -> Result<Self, HubError> {
        let bad = |problem| HubError::Setting { key: "HF_ENDPOINT", problem };
        let base = options.endpoint.trim_end_matches('/');
        let endpoint: Uri = base.parse().map_err(|_| bad("not an address"))?;
        let known_scheme = matches!(endpoint.scheme_str(), Some("http" | "https"));
        if !known_scheme || endpoint.host().is_none_or(str::is_empty) || endpoint.query().is_some() {
            return Err(bad("an address begins with `https://` or `http://` and a host"));
        }
        let limits = &options.limits;
        let agent = Agent::config_builder()
            .user_agent(concat!("speaker-verification/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.connect))
            .timeout_per_read(Some(limits.silence))
            // This machine is not the proxy's.
            .proxy(if is_loopback(&endpoint) { None } else { Proxy::try_from_env() })
            .build()
            .into();
        Ok(Self { agent, endpoint, base, token: options.token.as_ref(), limits })
    }

    /// The commit that `revision` is, and the files that it has.
    pub(super) fn revision(&self, id: &HubId, revision: &str) -> Result<Revision, HubError> {
        let url = format!("{}/api/models/{}/revision/{}", self.base, id.repository(), revision.replace('/', "%2F"));
        let response = self.ask("GET", &url, None, Asked::Revision(id), |_| false)?;
        let limit = self.limits.answer_bytes;
        let mut text = Vec::new();
        let unreadable = |source: std::io::Error| HubError::Unreachable { url: url.clone(), source: source.into() };
        response.into_body().into_reader().take(limit + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > limit {
            return Err(HubError::TooLarge { url, bytes: text.len() as u64, limit });
        }
        let wrong = |problem| HubError::Answer { url: url.clone(), problem };
        let info: ModelInfo =
            serde_json::from_slice(&text).map_err(|_| wrong("answered with what is no description of a model"))?;
        if !is_commit(&info.sha) {
            return Err(wrong("names a revision that is no commit"));
        }
        let files: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        files.iter().try_for_each(|name| layout::check_name(id, name))?;
        Ok(Revision { commit: info.sha, files })
    }

    /// Checksum and size of a file.
    pub(super) fn metadata(&self, url: &str, commit: &str) -> Result<Metadata, HubError> {
        // A large file's answer is a redirect to its storage, and the checksum stands in the redirect, not there.
        let response = self.ask("HEAD", url, None, Asked::File, |headers| headers.contains_key("x-linked-etag"))?;
        let wrong = |problem| HubError::Answer { url: url.into(), problem };
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        if text("x-repo-commit").is_some_and(|found| found != commit) {
            return Err(wrong("answers for another commit than was asked for"));
        }
        let etag = text("x-linked-etag").or_else(|| text("etag")).ok_or_else(|| wrong("sends no ETag"))?;
        let checksum =
            Checksum::parse(etag).ok_or_else(|| wrong("sends an ETag that is neither SHA-256 nor git's SHA-1"))?;
        let size = match text("x-linked-size") {
            // The length of a redirect is that of its own text.
            None if response.status().is_redirection() => None,
            None => text("content-length"),
            linked => linked,
        };
        let bytes = size.map(|size| size.parse().map_err(|_| wrong("sends a size that is no number"))).transpose()?;
        Ok(Metadata { checksum, bytes })
    }

    /// The file itself, from byte `start` on if the server can: status 200 (whole), 206 (from there) or 416.
    pub(super) fn open(&self, url: &str, start: u64) -> Result<Response<Body>, HubError> {
        self.ask("GET", url, (start > 0).then_some(start), Asked::File, |_| false)
    }

    pub(super) fn file_url(&self, id: &HubId, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{name}", self.base, id.repository())
    }

    /// Asks, follows redirects until `enough` is true of one's headers, and turns every status but success into an error.
    fn ask(
        &self,
        method: &str,
        url: &str,
        start: Option<u64>,
        asked: Asked<'_>,
        enough: impl Fn(&HeaderMap) -> bool,
    ) -> Result<Response<Body>, HubError> {
        let mut at: Uri =
            url.parse().map_err(|_| HubError::Setting { key: "HF_ENDPOINT", problem: "not an address" })?;
        for _ in 0..=self.limits.redirects {
            let response = self.send(method, &at, start)?;
            let status = response.status().as_u16();
            let redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
            if redirect && !enough(response.headers()) {
                at = self.target(&at, response.headers())?;
                continue;
            }
            if redirect || matches!(status, 200 | 206 | 416) {
                return Ok(response);
            }
            return Err(self.refused(&at, status, response.headers(), asked));
        }
        Err(HubError::Redirect { url: url.into(), location: at.to_string(), problem: "sent round and round" })
    }

    fn send(&self, method: &str, url: &Uri, start: Option<u64>) -> Result<Response<Body>, HubError> {
        // As it is: a checksum is one of the file, not of its compressed form.
        let mut request = Request::builder().method(method).uri(url).header(header::ACCEPT_ENCODING, "identity");
        if let Some(token) = self.token.filter(|_| self.is_own(url)) {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        if let Some(start) = start {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| HubError::Unreachable {
            url: without_query(url),
            source,
        };
        let request = request.body(()).map_err(|error| unreachable(error.into()))?;
        self.agent.run(request).map_err(|error| unreachable(error.into()))
    }

    /// Whether `url` is on the endpoint's own host: scheme, name and port.
    fn is_own(&self, url: &Uri) -> bool {
        let place = |url: &Uri| {
            let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
            (url.scheme_str().map(str::to_owned), url.host().map(str::to_lowercase), url.port_u16().unwrap_or(default))
        };
        place(url) == place(&self.endpoint)
    }

    fn target(&self, from: &Uri, headers: &HeaderMap) -> Result<Uri, HubError> {
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let refused = |problem| HubError::Redirect { url: without_query(from), location: location.to_owned(), problem };
        let target = join(from, location).ok_or_else(|| refused("sent to what is no address"))?;
        if from.scheme_str() == Some("https") && target.scheme_str() != Some("https") {
            return Err(refused("sent from https to a connection that anyone can read"));
        }
        Ok(target)
    }

    fn refused(&self, url: &Uri, status: u16, headers: &HeaderMap, asked: Asked<'_>) -> HubError {
        let code = headers.get("x-error-code").and_then(|value| value.to_str().ok());
        let text = without_query(url);
        match (status, asked, code) {
            (401 | 403, _, _) => {
                HubError::Denied { url: text, status, token: self.token.is_some() && self.is_own(url) }
            }
            (404, Asked::Revision(id), Some("RevisionNotFound")) => {
                HubError::NoRevision { repository: id.repository(), revision: id.revision().into() }
            }
            (404, Asked::Revision(id), _) => {
                HubError::NoRepository { repository: id.repository(), endpoint: self.base.into() }
            }
            (404, Asked::File, _) => HubError::NoFile { url: text },
            _ => HubError::Status { url: text, status },
        }
    }
}

/// An address without its query, which may be a signature that opens the file to whoever has it.
fn without_query(url: &Uri) -> String {
    url.to_string().split('?').next().unwrap_or_default().to_owned()
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a `Location` leads from `from`: an address, or a path on the same host.
fn join(from: &Uri, location: &str) -> Option<Uri> {
    let (scheme, host) = (from.scheme_str()?, from.authority()?);
    let whole = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else if location.is_empty() || location.split(['/', '?']).next().is_some_and(|part| part.contains(':')) {
        return None;
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{location}")
    };
    whole.parse().ok().filter(|target: &Uri| target.host().is_some_and(|host| !host.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_leads_where_a_browser_would_go() {
        let from: Uri = "https://hub.org/a/b/resolve/c/file?x=1".parse().expect("an address");
        for (location, target) in [
            ("https://cdn.org/blob?sign=2", Some("https://cdn.org/blob?sign=2")),
            ("//cdn.org/blob", Some("https://cdn.org/blob")),
            ("/api/cache/file", Some("https://hub.org/api/cache/file")),
            ("other", Some("https://hub.org/a/b/resolve/c/other")),
            ("file:///etc/passwd", None),
            ("ftp://cdn.org/blob", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(join(&from, location).map(|target| target.to_string()).as_deref(), target, "{location}");
        }
    }

    #[test]
    fn the_token_is_for_the_endpoints_own_host() {
        let mut options = HubOptions::new("cache");
        options.endpoint = "https://Hub.org".into();
        let client = Client::new(&options).expect("a client");
        for (url, own) in [
            ("https://hub.org/x", true),
            ("https://hub.org:443/x", true),
            ("https://hub.org:8443/x", false),
            ("http://hub.org/x", false),
            ("https://hub.org.evil.org/x", false),
            ("https://cdn.hub.org/x", false),
            ("https://hub.org@evil.org/x", false),
        ] {
            assert_eq!(client.is_own(&url.parse().expect("an address")), own, "{url}");
        }
    }

    #[test]
    fn nothing_is_sent_from_https_in_the_open() {
        let options = HubOptions::new("cache");
        let client = Client::new(&options).expect("a client");
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, "http://huggingface.co/x".parse().expect("a header"));
        let error = client.target(&"https://huggingface.co/y".parse().expect("an address"), &headers);
        assert!(matches!(error, Err(HubError::Redirect { .. })));
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_refused() {
        for endpoint in ["", "huggingface.co", "ftp://hub.org", "https://", "https://hub.org/?x", "https://hub org"] {
            let mut options = HubOptions::new("cache");
            options.endpoint = endpoint.into();
            let error = Client::new(&options).err();
            assert!(matches!(error, Some(HubError::Setting { key: "HF_ENDPOINT", .. })), "{endpoint:?}");
        }
    }
}
