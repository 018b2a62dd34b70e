//! Models by name, from a server on this machine that speaks as the hub does: what is downloaded, what is not, what is refused.

#[path = "hub/downloads.rs"]
mod downloads;

use std::fs;
use std::path::{Path, PathBuf};

use common::data::reference_dir;
use common::hub::{HubServer, Request, etag};
use common::model::tiny_model;
use sv_models::hub::{HubError, HubId, HubLimits, HubOptions, Placement, Resolve, Snapshot, Token, fetch};
use sv_models::{ModelDir, ModelError};
use tempfile::TempDir;

const REPOSITORY: &str = "our-lab/tiny_model.v1";
const WEIGHTS: &str = "weights.safetensors";

/// A server with a model of ours and one that has SpeechBrain's files, and an empty cache.
struct Hub {
    server: HubServer,
    folder: TempDir,
}

impl Hub {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let served = folder.path().join("served");
        let ours = served.join(REPOSITORY);
        tiny_model(None).save(&ours).expect("written");
        fs::write(ours.join("README.md"), "not fetched").expect("written");
        let theirs = served.join("speechbrain/ecapa");
        fs::create_dir_all(&theirs).expect("made");
        for (name, bytes) in [
            ("hyperparams.yaml", b"sample_rate: 16000\n".to_vec()),
            ("embedding_model.ckpt", (0..200_000_u32).flat_map(u32::to_le_bytes).collect()),
            ("label_encoder.txt", b"'id00000' => 0\n".to_vec()),
            ("example.wav", b"RIFF".to_vec()),
        ] {
            fs::write(theirs.join(name), bytes).expect("written");
        }
        Self { server: HubServer::start(&served), folder }
    }

    fn served(&self, file: &str) -> PathBuf {
        self.folder.path().join("served").join(file)
    }

    fn options(&self) -> HubOptions {
        let mut options = HubOptions::new(self.folder.path().join("cache"));
        options.endpoint = self.server.endpoint();
        options
    }

    /// The same, with every file in the cache.
    fn fetched() -> (Self, Snapshot) {
        let hub = Self::start();
        let snapshot = fetch(&id(REPOSITORY), &hub.options()).expect("downloaded");
        let _ = hub.server.requests();
        (hub, snapshot)
    }

    fn offline(&self) -> HubOptions {
        HubOptions { offline: true, ..self.options() }
    }

    fn refuses(&self, name: &str) -> HubError {
        fetch(&id(name), &self.options()).expect_err(name)
    }

    /// The cache of our repository.
    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache/models--our-lab--tiny_model.v1")
    }
}

fn id(name: &str) -> HubId {
    name.parse().expect("a name")
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a text")).collect();
    names.sort();
    names
}

fn downloads(requests: &[Request]) -> Vec<&Request> {
    requests.iter().filter(|request| request.storage && request.method == "GET").collect()
}

#[test]
fn a_model_is_downloaded_into_the_layout_of_the_hubs_cache() {
    let (hub, snapshot) = Hub::fetched();
    let commit = hub.server.commit(REPOSITORY);
    assert_eq!(snapshot.commit, commit);
    assert_eq!(snapshot.folder, hub.cache().join("snapshots").join(&commit));
    assert_eq!(files_in(&snapshot.folder), ["model.toml", WEIGHTS], "and neither README.md nor parts");
    assert_eq!(fs::read_to_string(hub.cache().join("refs/main")).expect("a reference"), commit);
    let mut sums = Vec::new();
    for (name, sum) in &snapshot.files {
        let bytes = fs::read(hub.served(REPOSITORY).join(name)).expect("served");
        assert_eq!(sum.to_string(), etag(name, &bytes));
        assert_eq!(fs::read(snapshot.folder.join(name)).expect("fetched"), bytes);
        sums.push(sum.to_string());
    }
    sums.sort();
    assert_eq!(files_in(&hub.cache().join("blobs")), sums, "each file once, and no part of one");
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(snapshot.folder.join(WEIGHTS)).expect("a link"),
        Path::new("../../blobs").join(snapshot.files[WEIGHTS].to_string())
    );
}

#[test]
fn a_model_of_the_hub_is_the_model_that_was_published_and_says_where_it_is_from() {
    let hub = Hub::start();
    let model = ModelDir::from_hub(&id(REPOSITORY), &hub.options()).expect("loaded");
    assert_eq!(model.fingerprint(), tiny_model(None).fingerprint());
    let source = &model.description().source;
    assert_eq!((source.name.as_str(), source.revision.as_deref()), (REPOSITORY, Some(&*hub.server.commit(REPOSITORY))));
    let bytes = fs::read(hub.served(REPOSITORY).join(WEIGHTS)).expect("served");
    assert_eq!(source.files[WEIGHTS], etag(WEIGHTS, &bytes));
    // Kept in `model.toml` when the model is converted, and read from there.
    let converted = hub.folder.path().join("converted");
    model.save(&converted).expect("written");
    assert_eq!(ModelDir::load(&converted).expect("loaded").description().source, *source);
}

/// The directories of other systems, as they lie in the reference folder, and as the hub would serve them.
#[test]
fn a_directory_of_another_system_is_the_same_model_from_the_hub() {
    let Some(reference) = reference_dir() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let served = folder.path().join("served");
    let systems = [
        ("ecapa_tiny", "embedding_model.ckpt", 5),
        ("xvector_tiny", "embedding_model.ckpt", 5),
        ("wespeaker_ecapa_tiny", "avg_model.pt", 2),
        ("wespeaker_resnet34_tiny", "avg_model.pt", 2),
    ];
    for (system, _, _) in systems {
        let there = served.join("tiny").join(system);
        fs::create_dir_all(&there).expect("made");
        for name in files_in(&reference.join(system)) {
            fs::copy(reference.join(system).join(&name), there.join(&name)).expect("copied");
        }
        fs::write(there.join("README.md"), "not fetched").expect("written");
    }
    let server = HubServer::start(&served);
    let options = HubOptions { endpoint: server.endpoint(), ..HubOptions::new(folder.path().join("cache")) };
    for (system, weights, files) in systems {
        let model = ModelDir::from_hub(&id(&format!("tiny/{system}")), &options).expect(system);
        let local = ModelDir::load(&reference.join(system)).expect(system);
        assert_eq!(model.fingerprint(), local.fingerprint(), "{system}");
        let source = &model.description().source;
        assert_eq!((source.files.len(), source.files[weights].len()), (files, 64), "{system}: {source:?}");
        // `sv convert`: another directory, the same model, and where it is from.
        let converted = folder.path().join("converted").join(system);
        model.save(&converted).expect("written");
        let converted = ModelDir::load(&converted).expect(system);
        assert_eq!(
            (converted.fingerprint(), &converted.description().source),
            (model.fingerprint(), source),
            "{system}"
        );
    }
}

#[test]
fn a_second_load_asks_nothing_of_the_hub() {
    let (hub, first) = Hub::fetched();
    assert_eq!(fetch(&id(REPOSITORY), &hub.options()).expect("cached"), first);
    assert_eq!(hub.server.requests(), []);
}

#[test]
fn a_model_in_the_cache_loads_offline_and_without_a_hub() {
    let (hub, first) = Hub::fetched();
    let named = format!("{REPOSITORY}@{}", first.commit);
    for name in [REPOSITORY, &named] {
        assert_eq!(fetch(&id(name), &hub.offline()).expect("offline"), first);
    }
    assert_eq!(hub.server.requests(), []);
    let Hub { server, folder } = hub;
    let options = HubOptions { endpoint: server.endpoint(), ..HubOptions::new(folder.path().join("cache")) };
    drop(server);
    assert_eq!(fetch(&id(REPOSITORY), &options).expect("no hub, but a cache"), first);
    let error = fetch(&id("our-lab/other"), &options).expect_err("no hub and no cache");
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
}

#[test]
fn what_is_not_in_the_cache_is_an_error_offline() {
    let (hub, first) = Hub::fetched();
    for name in ["our-lab/other".to_owned(), format!("{REPOSITORY}@v1"), format!("{REPOSITORY}@{}", "0".repeat(40))] {
        let error = fetch(&id(&name), &hub.offline()).expect_err("not there");
        assert!(matches!(error, HubError::Offline { .. }) && error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    }
    fs::remove_file(first.folder.join(WEIGHTS)).expect("removed");
    let error = fetch(&id(REPOSITORY), &hub.offline()).expect_err("incomplete");
    assert!(error.to_string().contains(WEIGHTS), "{error}");
    assert_eq!(hub.server.requests(), []);
}

#[test]
fn a_file_that_changed_in_the_cache_is_refused_at_the_next_load() {
    for placement in [Placement::LinkOrCopy, Placement::Copy] {
        let hub = Hub::start();
        let options = HubOptions { placement, ..hub.options() };
        let first = fetch(&id(REPOSITORY), &options).expect("downloaded");
        let path = first.folder.join(WEIGHTS).canonicalize().expect("there");
        let mut bytes = fs::read(&path).expect("read");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).expect("written");
        for options in [&options, &HubOptions { offline: true, ..options.clone() }] {
            let error = fetch(&id(REPOSITORY), options).expect_err("changed");
            let HubError::Checksum { path: named, expected, found } = &error else { panic!("{error}") };
            assert_eq!((named, expected), (&path, &first.files[WEIGHTS].to_string()));
            assert_eq!(*found, etag(WEIGHTS, &bytes));
            let error = ModelDir::from_hub(&id(REPOSITORY), options).expect_err("changed");
            assert!(matches!(error, ModelError::Hub(_)), "{error}");
        }
        // As the error advises.
        fs::remove_file(&path).expect("removed");
        assert_eq!(fetch(&id(REPOSITORY), &options).expect("fetched again"), first);
    }
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage() {
    let hub = Hub::start();
    hub.server.set(|it| it.token = Some("hf_secret".into()));
    let error = hub.refuses(REPOSITORY);
    assert!(matches!(error, HubError::Denied { status: 401, token: false, .. }), "{error}");
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    let mut options = hub.options();
    options.token = Some(Token::new("hf_wrong").expect("a token"));
    let error = fetch(&id(REPOSITORY), &options).expect_err("refused");
    assert!(matches!(error, HubError::Denied { status: 401, token: true, .. }), "{error}");
    assert!(!error.to_string().contains("hf_wrong"), "{error}");
    options.token = Some(Token::new("hf_secret").expect("a token"));
    let _ = hub.server.requests();
    fetch(&id(REPOSITORY), &options).expect("downloaded");
    let requests = hub.server.requests();
    assert!(requests.iter().any(|request| request.storage), "large files are on another server");
    for request in requests {
        let expected = (!request.storage).then_some("Bearer hf_secret");
        assert_eq!(request.header("authorization"), expected, "{request:?}");
        assert_eq!(request.header("accept-encoding"), Some("identity"), "a checksum is one of the file as it is");
    }
}

#[test]
fn what_the_hub_does_not_have_is_said() {
    let hub = Hub::start();
    let error = hub.refuses("our-lab/nothing");
    assert!(matches!(&error, HubError::NoRepository { repository, .. } if repository == "our-lab/nothing"), "{error}");
    let error = hub.refuses(&format!("{REPOSITORY}@v9"));
    assert!(matches!(&error, HubError::NoRevision { revision, .. } if revision == "v9"), "{error}");
    // Listed, but not there.
    hub.server.set(|it| it.more_names = vec!["labels.txt".into()]);
    let error = hub.refuses(REPOSITORY);
    assert!(matches!(&error, HubError::NoFile { url } if url.ends_with("labels.txt")), "{error}");
    hub.server.set(|it| it.status = Some(503));
    assert!(matches!(hub.refuses(REPOSITORY), HubError::Status { status: 503, .. }));
    hub.server.set(|it| it.status = Some(403));
    assert!(matches!(hub.refuses(REPOSITORY), HubError::Denied { status: 403, .. }));
}

#[test]
fn a_repository_without_a_model_is_refused_by_what_it_holds() {
    let hub = Hub::start();
    fs::remove_file(hub.served("speechbrain/ecapa/embedding_model.ckpt")).expect("removed");
    let error = hub.refuses("speechbrain/ecapa");
    assert!(matches!(error, HubError::Incomplete { missing: "embedding_model.ckpt", .. }), "{error}");
    fs::remove_file(hub.served("speechbrain/ecapa/hyperparams.yaml")).expect("removed");
    let error = hub.refuses("speechbrain/ecapa");
    assert!(matches!(error, HubError::NotAModel { .. }) && error.to_string().contains("example.wav"), "{error}");
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let hub = Hub::start();
    for name in ["../../../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil"] {
        hub.server.set(|it| it.more_names = vec![name.into()]);
        let error = hub.refuses(REPOSITORY);
        assert!(matches!(&error, HubError::FileName { name: told, .. } if told == name), "{error}");
    }
    assert_eq!(files_in(hub.folder.path()), ["served"], "nothing was written");
}

#[test]
fn answers_that_no_hub_gives_are_refused() {
    let hub = Hub::start();
    let is_answer = |error: HubError| assert!(matches!(error, HubError::Answer { .. }), "{error}");
    let commit = hub.server.commit(REPOSITORY);
    for answer in ["", "<html>", "[]", "{}", r#"{"sha": "main"}"#, r#"{"sha": "../../../../etc"}"#] {
        hub.server.set(|it| it.answer = Some(answer.into()));
        is_answer(hub.refuses(REPOSITORY));
    }
    hub.server.set(|it| it.answer = None);
    for tag in ["", "../../evil", "abc", &"g".repeat(64)] {
        hub.server.set(|it| it.etag = Some(tag.into()));
        is_answer(hub.refuses(REPOSITORY));
    }
    hub.server.set(|it| it.etag = None);
    hub.server.set(|it| it.commit = Some("0".repeat(40)));
    is_answer(hub.refuses(REPOSITORY));
    assert_ne!(commit, "0".repeat(40));
}

#[test]
fn sizes_beyond_the_limits_are_refused() {
    let hub = Hub::start();
    hub.server.set(|it| it.claimed_size = Some(u64::MAX));
    let error = hub.refuses(REPOSITORY);
    assert!(matches!(error, HubError::TooLarge { bytes: u64::MAX, .. }), "{error}");
    assert_eq!(downloads(&hub.server.requests()), Vec::<&Request>::new(), "nothing was downloaded");
    // Less than what then comes.
    hub.server.set(|it| it.claimed_size = Some(10));
    let error = hub.refuses(REPOSITORY);
    assert!(matches!(error, HubError::Answer { problem: "sends more bytes than it announced", .. }), "{error}");
    hub.server.set(|it| it.claimed_size = None);
    let limited = |change: fn(&mut HubLimits)| {
        let mut options = hub.options();
        change(&mut options.limits);
        fetch(&id("speechbrain/ecapa"), &options).expect_err("too large")
    };
    let error = limited(|limits| limits.file_bytes = 799_999);
    assert!(matches!(error, HubError::TooLarge { bytes: 800_000, limit: 799_999, .. }), "{error}");
    let error = limited(|limits| limits.answer_bytes = 20);
    assert!(matches!(error, HubError::TooLarge { limit: 20, .. }), "{error}");
    hub.server.set(|it| it.no_sizes = true);
    let error = limited(|limits| limits.file_bytes = 799_999);
    assert!(matches!(error, HubError::TooLarge { limit: 799_999, .. }), "without a size: {error}");
}

#[test]
fn redirects_without_end_or_sense_are_refused() {
    let hub = Hub::start();
    for target in ["/round", "file:///etc/passwd", ""] {
        hub.server.set(|it| it.redirect = Some(target.into()));
        let error = hub.refuses(REPOSITORY);
        assert!(matches!(error, HubError::Redirect { .. }), "{target:?}: {error}");
    }
    assert!(hub.server.requests().len() < 15, "a circle is left");
}

#[test]
fn a_branch_stays_at_its_commit_until_it_is_asked_again() {
    let (hub, first) = Hub::fetched();
    let path = hub.served(REPOSITORY).join("README.md");
    fs::write(path, "a new commit").expect("written");
    assert_eq!(fetch(&id(REPOSITORY), &hub.options()).expect("pinned"), first);
    let again = HubOptions { revision: Resolve::Again, ..hub.options() };
    let second = fetch(&id(REPOSITORY), &again).expect("asked again");
    assert_ne!(second.commit, first.commit);
    assert_eq!(second.files, first.files);
    let requests = hub.server.requests();
    assert!(downloads(&requests).is_empty(), "the same blobs: {requests:?}");
    assert_eq!(fetch(&id(REPOSITORY), &hub.options()).expect("pinned anew"), second);
    // The old commit is still here by its own name.
    assert_eq!(fetch(&id(&format!("{REPOSITORY}@{}", first.commit)), &hub.offline()).expect("cached"), first);
}

#[test]
fn tags_and_pull_requests_are_revisions() {
    let hub = Hub::start();
    for revision in ["v1", "refs/pr/1"] {
        let snapshot = fetch(&id(&format!("{REPOSITORY}@{revision}")), &hub.options()).expect(revision);
        let noted = fs::read_to_string(hub.cache().join("refs").join(revision)).expect("a reference");
        assert_eq!(noted, snapshot.commit);
    }
    let by_commit = id(&format!("{REPOSITORY}@{}", hub.server.commit(REPOSITORY)));
    fetch(&by_commit, &hub.options()).expect("a commit");
    assert_eq!(files_in(&hub.cache().join("refs")), ["refs", "v1"], "a commit needs no reference");
}

#[test]
fn where_links_are_not_wanted_files_are_copies() {
    let hub = Hub::start();
    let options = HubOptions { placement: Placement::Copy, ..hub.options() };
    let snapshot = fetch(&id(REPOSITORY), &options).expect("downloaded");
    for name in snapshot.files.keys() {
        let kind = fs::symlink_metadata(snapshot.folder.join(name)).expect("there");
        assert!(kind.is_file(), "{name}");
    }
    assert_eq!(fetch(&id(REPOSITORY), &HubOptions { offline: true, ..options }).expect("offline"), snapshot);
}

/// A cache that the hub's Python client filled has no list of checksums of ours.
#[test]
fn the_cache_of_another_client_is_used_and_checked() {
    let (hub, first) = Hub::fetched();
    fs::remove_dir_all(hub.cache().join(".checksums")).expect("removed");
    assert_eq!(fetch(&id(REPOSITORY), &hub.offline()).expect("complete"), first);
    let online = fetch(&id(REPOSITORY), &hub.options()).expect("complete");
    assert_eq!(online, first);
    assert_eq!(downloads(&hub.server.requests()), Vec::<&Request>::new(), "the blobs are here");
    // Without links and without a list there is nothing to compare with.
    fs::remove_dir_all(hub.cache().join(".checksums")).expect("removed");
    let weights = first.folder.join(WEIGHTS);
    let blob = weights.canonicalize().expect("there");
    fs::write(&blob, b"another").expect("written");
    let error = fetch(&id(REPOSITORY), &hub.offline()).expect_err("changed");
    assert!(matches!(&error, HubError::Checksum { path, .. } if *path == blob), "{error}");
}

#[test]
fn a_list_of_checksums_that_was_changed_is_refused() {
    let (hub, first) = Hub::fetched();
    let record = hub.cache().join(".checksums").join(format!("{}.toml", first.commit));
    let text = fs::read_to_string(&record).expect("a record");
    for broken in [
        "",
        "name = 3",
        &text.replace("[files]", "[other]"),
        &text.replace("name", "title"),
        &text.replace(&first.files[WEIGHTS].to_string(), "12"),
        &text[..text.find("[files]").expect("files")],
    ] {
        fs::write(&record, broken).expect("written");
        let error = fetch(&id(REPOSITORY), &hub.offline()).expect_err(broken);
        assert!(matches!(error, HubError::Record { .. }), "{broken}: {error}");
    }
    fs::write(&record, text.replace(WEIGHTS, "../../../evil")).expect("written");
    assert!(matches!(fetch(&id(REPOSITORY), &hub.offline()), Err(HubError::FileName { .. })));
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_with_its_path() {
    let hub = Hub::start();
    let file = hub.folder.path().join("a file");
    fs::write(&file, "in the way").expect("written");
    let options = HubOptions { cache: file.clone(), ..hub.options() };
    let error = fetch(&id(REPOSITORY), &options).expect_err("no folder");
    assert!(matches!(&error, HubError::Cache { path, .. } if path.starts_with(&file)), "{error}");
}
