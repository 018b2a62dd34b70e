//! Downloads that break off, are taken up again, are damaged, or are two at once.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use common::hub::etag;
use sv_models::hub::{HubError, HubLimits, fetch};

use super::{Hub, REPOSITORY, downloads, files_in, id};

#[test]
fn a_download_with_another_checksum_is_refused_and_leaves_nothing() {
    let hub = Hub::start();
    hub.server.set(|it| it.damaged = true);
    let error = hub.refuses(REPOSITORY);
    assert!(matches!(error, HubError::Checksum { .. }), "{error}");
    let blobs = files_in(&hub.cache().join("blobs"));
    assert!(blobs.iter().all(|name| name.len() == 40), "only the small file: {blobs:?}");
    assert!(!hub.cache().join("refs/main").exists(), "an incomplete snapshot is not what main is");
    hub.server.set(|it| it.damaged = false);
    fetch(&id(REPOSITORY), &hub.options()).expect("mended");
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let hub = Hub::start();
    hub.server.set(|it| it.cut = Some((2, 300_000)));
    let snapshot = fetch(&id("speechbrain/ecapa"), &hub.options()).expect("downloaded");
    assert_eq!(files_in(&snapshot.folder), ["embedding_model.ckpt", "hyperparams.yaml", "label_encoder.txt"]);
    let requests = hub.server.requests();
    let ranges: Vec<_> = downloads(&requests).iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert_eq!(ranges[0], None);
    // What was on its way when the connection broke may be lost with it, but not all of it.
    let starts: Vec<usize> = ranges[1..].iter().map(|range| start_of(range.expect("a range"))).collect();
    assert!(0 < starts[0] && starts[0] <= 300_000 && starts[0] < starts[1] && starts[1] <= 600_000, "{starts:?}");
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let hub = Hub::start();
    hub.server.set(|it| {
        it.cut = Some((1, 300_000));
        it.silence = Some(Duration::from_secs(5));
    });
    let mut options = hub.options();
    options.limits = HubLimits { silence: Duration::from_secs(1), ..options.limits };
    fetch(&id("speechbrain/ecapa"), &options).expect("downloaded");
    let requests = hub.server.requests();
    let downloads = downloads(&requests);
    assert!(downloads.len() > 1 && start_of(downloads[1].header("range").expect("a range")) > 0, "{downloads:?}");
}

#[test]
fn a_hub_that_never_answers_is_unreachable() {
    let hub = Hub::start();
    // Connections stand, but nobody accepts them.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut options = hub.options();
    options.endpoint = format!("http://{}", deaf.local_addr().expect("an address"));
    options.limits = HubLimits { connect: Duration::from_millis(300), ..options.limits };
    let error = fetch(&id(REPOSITORY), &options).expect_err("no answer");
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
}

#[test]
fn the_next_call_goes_on_where_the_last_one_gave_up() {
    let hub = Hub::start();
    hub.server.set(|it| it.cut = Some((usize::MAX, 200_000)));
    let mut options = hub.options();
    options.limits = HubLimits { attempts: 1, ..options.limits };
    let error = fetch(&id("speechbrain/ecapa"), &options).expect_err("broken off");
    let HubError::Interrupted { have, need: Some(800_000), attempts: 1, .. } = error else { panic!("{error}") };
    assert!(0 < have && have <= 200_000);
    hub.server.set(|it| it.cut = None);
    let _ = hub.server.requests();
    fetch(&id("speechbrain/ecapa"), &options).expect("the rest");
    let requests = hub.server.requests();
    assert_eq!(downloads(&requests)[0].header("range"), Some(format!("bytes={have}-").as_str()));
}

#[test]
fn a_server_that_knows_no_ranges_sends_the_file_again() {
    let hub = Hub::start();
    hub.server.set(|it| {
        it.cut = Some((1, 300_000));
        it.no_ranges = true;
    });
    let snapshot = fetch(&id("speechbrain/ecapa"), &hub.options()).expect("downloaded");
    let served = fs::read(hub.served("speechbrain/ecapa/embedding_model.ckpt")).expect("served");
    assert_eq!(fs::read(snapshot.folder.join("embedding_model.ckpt")).expect("fetched"), served);
}

#[test]
fn a_part_that_is_of_another_file_is_dropped() {
    let hub = Hub::start();
    let served = fs::read(hub.served("speechbrain/ecapa/embedding_model.ckpt")).expect("served");
    let blobs = hub.folder.path().join("cache/models--speechbrain--ecapa/blobs");
    let part = blobs.join(format!("{}.incomplete", etag("embedding_model.ckpt", &served)));
    // A wrong beginning, all of it wrong, more than all.
    for bytes in [1_000, served.len(), served.len() + 10] {
        let _ = fs::remove_dir_all(hub.folder.path().join("cache"));
        fs::create_dir_all(&blobs).expect("made");
        fs::write(&part, vec![7; bytes]).expect("written");
        let snapshot = fetch(&id("speechbrain/ecapa"), &hub.options()).expect("downloaded");
        assert_eq!(fs::read(snapshot.folder.join("embedding_model.ckpt")).expect("fetched"), served);
        assert!(!part.exists());
    }
}

#[test]
fn a_file_of_unknown_size_is_downloaded_to_its_end() {
    let hub = Hub::start();
    hub.server.set(|it| it.no_sizes = true);
    fetch(&id("speechbrain/ecapa"), &hub.options()).expect("downloaded");
}

#[test]
fn two_at_once_download_once() {
    let hub = Hub::start();
    let options = hub.options();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| fetch(&id("speechbrain/ecapa"), &options))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic").expect("downloaded")).collect()
    });
    assert!(results.iter().all(|snapshot| *snapshot == results[0]));
    assert_eq!(downloads(&hub.server.requests()).len(), 1);
}

fn start_of(range: &str) -> usize {
    range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a number")
}
