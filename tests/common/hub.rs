//! A hub on this machine: serves a directory, `ROOT/ORG/NAME/FILE`, in the addresses and headers of the Hugging Face hub, and
//! misbehaves as it is told. Large files lie on a second server, as the hub's do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Endings of the files that lie in the storage, and are named by their SHA-256.
const LARGE: [&str; 3] = ["ckpt", "pt", "safetensors"];

/// What the server does otherwise than the hub would.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Breaks this many downloads of a large file off after this many bytes each.
    pub cut: Option<(usize, usize)>,
    /// Instead of breaking off, falls silent for so long.
    pub silence: Option<Duration>,
    /// Sends the whole file whatever range is asked for.
    pub no_ranges: bool,
    /// Changes the last byte of large files.
    pub damaged: bool,
    /// Does not say how large anything is.
    pub no_sizes: bool,
    /// Says that large files have this size.
    pub claimed_size: Option<u64>,
    /// Names listed beside the files that are there.
    pub more_names: Vec<String>,
    /// The answer about a repository, instead of the true one.
    pub answer: Option<String>,
    /// The ETag of every file.
    pub etag: Option<String>,
    /// The commit that files claim to be of.
    pub commit: Option<String>,
    /// The status of every answer.
    pub status: Option<u16>,
    /// Every answer of the first server is a redirect to here.
    pub redirect: Option<String>,
    /// Answers only whoever sends this token.
    pub token: Option<String>,
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whether it came to the second server.
    pub storage: bool,
    /// `GET` or `HEAD`.
    pub method: String,
    /// With its query.
    pub path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    /// A header by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

struct Shared {
    root: PathBuf,
    hub: SocketAddr,
    storage: SocketAddr,
    behaviour: Mutex<Behaviour>,
    log: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

/// The two servers; they end when it is dropped.
pub struct HubServer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl HubServer {
    /// Serves `root`.
    ///
    /// # Panics
    /// If no port is to be had.
    #[must_use]
    pub fn start(root: &Path) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (hub, storage) = (listen(), listen());
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            root: root.into(),
            hub: address(&hub),
            storage: address(&storage),
            behaviour: Mutex::default(),
            log: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let serve = |listener: TcpListener, storage: bool| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let (shared, Ok(stream)) = (shared.clone(), stream) else { continue };
                    // A client that hangs up is part of the tests.
                    std::thread::spawn(move || drop(shared.answer(&stream, storage)));
                }
            })
        };
        let threads = vec![serve(hub, false), serve(storage, true)];
        Self { shared, threads }
    }

    /// What `HF_ENDPOINT` would be.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.shared.hub)
    }

    /// Changes what the server does.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut locked(&self.shared.behaviour));
    }

    /// The requests since the last call.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *locked(&self.shared.log))
    }

    /// The commit that a repository is at: it follows from the files.
    #[must_use]
    pub fn commit(&self, repository: &str) -> String {
        commit_of(&files_of(&self.shared.root.join(repository)))
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for address in [self.shared.hub, self.shared.storage] {
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

type Files = BTreeMap<String, Vec<u8>>;

fn files_of(folder: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let (Ok(name), Ok(bytes)) = (entry.file_name().into_string(), fs::read(entry.path())) {
            files.insert(name, bytes);
        }
    }
    files
}

fn commit_of(files: &Files) -> String {
    let mut hash = Sha1::new();
    for (name, bytes) in files {
        hash.update(name);
        hash.update(bytes);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The ETag that the hub gives a file.
#[must_use]
pub fn etag(name: &str, bytes: &[u8]) -> String {
    if is_large(name) {
        hex(&Sha256::digest(bytes))
    } else {
        hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
    }
}

fn is_large(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| LARGE.contains(&ending))
}

/// An answer without a body.
struct Head {
    status: u16,
    headers: Vec<(&'static str, String)>,
}

impl Head {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Shared {
    fn answer(&self, stream: &TcpStream, storage: bool) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let Some(request) = read_request(stream, storage)? else { return Ok(()) };
        locked(&self.log).push(request.clone());
        let behaviour = locked(&self.behaviour).clone();
        if storage {
            return self.send_large(stream, &request, &behaviour);
        }
        if let Some(token) = &behaviour.token
            && request.header("authorization") != Some(&format!("Bearer {token}"))
        {
            return send(stream, &request, Head::new(401).with("X-Error-Code", "RepoNotFound"), b"who are you?");
        }
        if let Some(status) = behaviour.status {
            return send(stream, &request, Head::new(status), b"as told");
        }
        if let Some(target) = &behaviour.redirect {
            return send(stream, &request, Head::new(302).with("Location", target), b"");
        }
        let path = request.path.clone();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["api", "models", organisation, name, "revision", revision] => {
                self.describe(stream, &request, &behaviour, &format!("{organisation}/{name}"), revision)
            }
            [organisation, name, "resolve", commit, file] => {
                self.resolve(stream, &request, &behaviour, [organisation, name, commit, file])
            }
            ["api", "resolve-cache", "models", organisation, name, commit, file] => {
                self.send_small(stream, &request, &behaviour, [organisation, name, commit, file])
            }
            _ => send(stream, &request, Head::new(404), b"no such address"),
        }
    }

    fn describe(
        &self,
        stream: &TcpStream,
        request: &Request,
        behaviour: &Behaviour,
        repository: &str,
        revision: &str,
    ) -> std::io::Result<()> {
        let files = files_of(&self.root.join(repository));
        if files.is_empty() {
            return send(stream, request, Head::new(404).with("X-Error-Code", "RepoNotFound"), b"no repository");
        }
        let commit = commit_of(&files);
        if !["main", "v1", "refs%2Fpr%2F1", commit.as_str()].contains(&revision) {
            return send(stream, request, Head::new(404).with("X-Error-Code", "RevisionNotFound"), b"no revision");
        }
        let siblings: Vec<_> =
            files.keys().chain(&behaviour.more_names).map(|name| serde_json::json!({ "rfilename": name })).collect();
        let answer = serde_json::json!({ "id": repository, "sha": commit, "private": false, "siblings": siblings });
        let answer = behaviour.answer.clone().unwrap_or_else(|| answer.to_string());
        send(stream, request, Head::new(200).with("Content-Type", "application/json"), answer.as_bytes())
    }

    /// Large files are elsewhere, and what they are stands in the redirect; small ones are elsewhere on the same server.
    fn resolve(
        &self,
        stream: &TcpStream,
        request: &Request,
        behaviour: &Behaviour,
        [organisation, name, commit, file]: [&str; 4],
    ) -> std::io::Result<()> {
        let files = files_of(&self.root.join(organisation).join(name));
        let Some(bytes) = files.get(file).filter(|_| commit_of(&files) == commit) else {
            return send(stream, request, Head::new(404).with("X-Error-Code", "EntryNotFound"), b"no such file");
        };
        if !is_large(file) {
            let target = format!("/api/resolve-cache/models/{organisation}/{name}/{commit}/{file}");
            return send(stream, request, Head::new(307).with("Location", target), b"Temporary Redirect");
        }
        let target = format!("http://{}/{organisation}/{name}/{file}?signature=secret", self.storage);
        let tag = behaviour.etag.clone().unwrap_or_else(|| etag(file, bytes));
        let size = behaviour.claimed_size.unwrap_or(bytes.len() as u64);
        let mut head = Head::new(302)
            .with("Location", target)
            .with("X-Repo-Commit", behaviour.commit.as_deref().unwrap_or(commit))
            .with("X-Linked-Etag", format!("\"{tag}\""))
            .with("ETag", "\"of the redirect\"");
        if !behaviour.no_sizes {
            head = head.with("X-Linked-Size", size.to_string());
        }
        send(stream, request, head, b"Found. Redirecting")
    }

    fn send_small(
        &self,
        stream: &TcpStream,
        request: &Request,
        behaviour: &Behaviour,
        [organisation, name, commit, file]: [&str; 4],
    ) -> std::io::Result<()> {
        let files = files_of(&self.root.join(organisation).join(name));
        let Some(bytes) = files.get(file) else { return send(stream, request, Head::new(404), b"no such file") };
        let tag = behaviour.etag.clone().unwrap_or_else(|| etag(file, bytes));
        let head = Head::new(200)
            .with("ETag", format!("W/\"{tag}\""))
            .with("X-Repo-Commit", behaviour.commit.as_deref().unwrap_or(commit));
        send(stream, request, head, bytes)
    }

    fn send_large(&self, stream: &TcpStream, request: &Request, behaviour: &Behaviour) -> std::io::Result<()> {
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        let Ok(mut bytes) = fs::read(self.root.join(path)) else {
            return send(stream, request, Head::new(404), b"no such blob");
        };
        if let (true, Some(last)) = (behaviour.damaged, bytes.last_mut()) {
            *last ^= 1;
        }
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let start: usize = range.filter(|_| !behaviour.no_ranges).map_or(0, |start| start.parse().unwrap_or(0));
        if start > 0 && start >= bytes.len() {
            return send(stream, request, Head::new(416), b"");
        }
        let mut head = Head::new(if start > 0 { 206 } else { 200 });
        if start > 0 {
            head = head.with("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()));
        }
        let body = &bytes[start..];
        if let Some((times @ 1.., most)) = behaviour.cut {
            locked(&self.behaviour).cut = Some((times - 1, most));
            let head = head.with("Content-Length", body.len().to_string());
            let sent = write(stream, head, &body[..most.min(body.len())]);
            behaviour.silence.into_iter().for_each(std::thread::sleep);
            return sent;
        }
        if behaviour.no_sizes {
            // The end of the connection is the end of the file.
            return write(stream, head, body);
        }
        send(stream, request, head, body)
    }
}

fn read_request(stream: &TcpStream, storage: bool) -> std::io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream.take(1 << 16)).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Request { storage, method, path, headers }))
}

/// Answers with the length of `body`, and with the body itself unless only its head was asked for.
fn send(stream: &TcpStream, request: &Request, head: Head, body: &[u8]) -> std::io::Result<()> {
    let head = head.with("Content-Length", body.len().to_string());
    write(stream, head, if request.method == "HEAD" { b"" } else { body })
}

fn write(mut stream: &TcpStream, head: Head, body: &[u8]) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {} As it is\r\nConnection: close\r\n", head.status);
    for (name, value) in head.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(text.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body)
}
