//! Fetching weights from servers of every temper.

use crate::command::listing;
use crate::common::golden_path;
use crate::http_server::{Reply, Request, Server, whole_or_rest};
use nada::Error;
use nada::fetch::{self, Event, Fetched, Kind, Licence, Settings, Watcher, Weights};
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) fn generator() -> Vec<u8> {
    std::fs::read(golden_path("generator32", "generator.pt")).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x"), bytes).unwrap();
    nada::checkpoint::sha256(folder.path().join("x")).unwrap()
}

/// A row of the table, whose address the tests replace by their server's.
pub(crate) fn weights(name: &str, sha256: Option<String>) -> Weights {
    Weights {
        name: name.into(),
        kind: Kind::Generator,
        about: "a test".into(),
        licence: Licence { name: "none".into(), link: "https://example.org".into() },
        url: "https://example.org/a/b.pt".into(),
        megabytes: 1,
        sha256,
    }
}

fn quick(server: &Server) -> Settings {
    Settings {
        base_url: Some(server.url()),
        pause: Duration::from_millis(1),
        patience: Duration::from_millis(400),
        ..Settings::default()
    }
}

/// Remembers what happened, and stops after so many bytes.
#[derive(Default)]
pub(crate) struct Diary {
    retries: Vec<String>,
    restarts: usize,
    stop_at: Option<u64>,
    stop: bool,
}

impl Watcher for Diary {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Bytes { done, .. } => self.stop |= self.stop_at.is_some_and(|at| done >= at),
            Event::Retry { why, .. } => self.retries.push(why.to_owned()),
            Event::Restart(_) => self.restarts += 1,
            _ => {}
        }
    }

    fn stopped(&self) -> bool {
        self.stop
    }
}

pub(crate) fn bring(
    weights: &Weights,
    folder: &Path,
    server: &Server,
) -> (Result<Fetched, Error>, Diary) {
    let mut diary = Diary::default();
    let fetched = fetch::fetch(weights, folder, &quick(server), &mut diary);
    (fetched, diary)
}

#[track_caller]
fn says(fetched: Result<Fetched, Error>, words: &[&str]) -> String {
    let error = fetched.unwrap_err();
    let text = format!("{error} | {}", error.hint().unwrap_or_default());
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    text
}

#[track_caller]
pub(crate) fn holds(folder: &Path, want: &[&str]) {
    let names: Vec<String> = listing(folder).iter().map(|p| p.display().to_string()).collect();
    assert_eq!(names, want);
}

// ---------------------------------------------------------------- good servers

#[test]
fn a_file_is_fetched_recorded_and_not_fetched_twice() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let server = Server::of(file.clone());
    let (fetched, diary) = bring(&weights("a/b@c", None), folder.path(), &server);
    let fetched = fetched.unwrap();
    assert_eq!((fetched.was_there, &fetched.sha256), (false, &sha256(&file)));
    assert_eq!(std::fs::read(&fetched.path).unwrap(), file);
    assert!(diary.retries.is_empty() && diary.restarts == 0);
    holds(folder.path(), &["a-b-c.pt", "a-b-c.pt.sha256"]);
    let receipt = std::fs::read_to_string(folder.path().join("a-b-c.pt.sha256")).unwrap();
    assert_eq!(receipt, format!("{}  a-b-c.pt\n", sha256(&file)));
    assert_eq!(server.seen()[0].path, "/a/b.pt");
    assert_eq!(server.seen()[0].headers["accept-encoding"], "identity");

    let (again, _) = bring(&weights("a/b@c", None), folder.path(), &server);
    assert!(again.unwrap().was_there);
    assert_eq!(server.seen().len(), 1);
    // What lies there is compared, not believed.
    std::fs::write(&fetched.path, &file[1..]).unwrap();
    let (again, _) = bring(&weights("a/b@c", None), folder.path(), &server);
    says(again, &["is not what it should be", &sha256(&file), "--force"]);
    let mut forced = quick(&server);
    forced.force = true;
    fetch::fetch(&weights("a/b@c", None), folder.path(), &forced, &mut Diary::default()).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), file);
}

#[test]
fn a_file_that_somebody_put_there_is_checked_and_recorded() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let server = Server::start(|_| Reply::new(500, ""));
    std::fs::write(folder.path().join("x.pt"), "<html>").unwrap();
    let (fetched, _) = bring(&weights("x", None), folder.path(), &server);
    says(fetched, &["x.pt`: is a web page", "nada fetch x --force"]);
    std::fs::write(folder.path().join("x.pt"), &file).unwrap();
    assert!(bring(&weights("x", None), folder.path(), &server).0.unwrap().was_there);
    holds(folder.path(), &["x.pt", "x.pt.sha256"]);
    assert!(server.seen().is_empty());
}

#[test]
fn another_download_than_the_recorded_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::of(generator());
    let path = bring(&weights("x", None), folder.path(), &server).0.unwrap().path;
    std::fs::remove_file(&path).unwrap();
    let other = std::fs::read(golden_path("generator64", "generator.pt")).unwrap();
    let server = Server::of(other.clone());
    let (fetched, _) = bring(&weights("x", None), folder.path(), &server);
    says(fetched, &[&sha256(&other), "expected", &sha256(&generator())]);
    holds(folder.path(), &["x.pt.sha256"]);
    std::fs::write(folder.path().join("x.pt.sha256"), "none").unwrap();
    says(bring(&weights("x", None), folder.path(), &server).0, &["holds no SHA-256", "remove it"]);
}

#[test]
fn a_server_without_lengths_is_read_to_its_end() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let sent = file.clone();
    let server = Server::start(move |_| Reply::new(200, sent.clone()).chunked());
    bring(&weights("x", Some(sha256(&file))), folder.path(), &server).0.unwrap();
    // Nothing is recorded where the checksum is known.
    holds(folder.path(), &["x.pt"]);
}

#[test]
fn redirects_are_followed_to_an_end() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let sent = file.clone();
    let server = Server::start(move |request| match request.path.as_str() {
        "/a/b.pt" => Reply::redirect("c?signed=1"),
        "/a/c?signed=1" => Reply::redirect("/d"),
        _ => whole_or_rest(&sent, "\"v1\"", request).cut(if request.before < 3 {
            70_000
        } else {
            1 << 20
        }),
    });
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!(diary.retries, ["the connection was cut"]);
    // A signed address may have expired, so the way is gone again from its beginning, with the range.
    let paths: Vec<String> = server.seen().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/a/b.pt", "/a/c?signed=1", "/d", "/a/b.pt", "/a/c?signed=1", "/d"]);
    assert_eq!(server.seen()[5].from(), Some(70_000));

    let circle = Server::start(|_| Reply::redirect("/a/b.pt"));
    says(bring(&weights("y", None), folder.path(), &circle).0, &["redirects more than 8 times"]);
    let away = Server::start(|_| Reply::redirect("file:///etc/passwd"));
    says(
        bring(&weights("y", None), folder.path(), &away).0,
        &["`file:///etc/passwd`, which is no web"],
    );
}

// ---------------------------------------------------------------- broken downloads

/// Sends at most so many bytes at a time.
fn short_breath(file: Vec<u8>, most: usize) -> Server {
    Server::start(move |request| whole_or_rest(&file, "\"v1\"", request).cut(most))
}

#[test]
fn a_connection_that_is_cut_goes_on_where_it_ended() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let server = short_breath(file.clone(), 40_000);
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!(diary.retries, ["the connection was cut"; 3]);
    let seen = server.seen();
    let starts: Vec<_> = seen.iter().map(Request::from).collect();
    assert_eq!(starts, [None, Some(40_000), Some(80_000), Some(120_000)]);
    assert_eq!(seen[1].headers["if-range"], "\"v1\"");
}

#[test]
fn a_server_that_brings_too_little_is_given_up_and_the_bytes_are_kept() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let server = short_breath(file.clone(), 1000);
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    let url = format!("{}/a/b.pt", server.url());
    let place = folder.path().join("x.pt").display().to_string();
    says(fetched, &["the connection was cut", "5000 bytes are kept", &url, &place]);
    assert_eq!(diary.retries.len(), 4);
    holds(folder.path(), &["x.pt.part", "x.pt.part.yaml"]);
    // The same server in a better mood, another day.
    let better = Server::of(file.clone());
    let notes = folder.path().join("x.pt.part.yaml");
    let text = std::fs::read_to_string(&notes).unwrap().replace(&server.url(), &better.url());
    std::fs::write(&notes, text).unwrap();
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &better);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!((better.seen()[0].from(), diary.restarts), (Some(5000), 0));
    holds(folder.path(), &["x.pt", "x.pt.sha256"]);
}

#[test]
fn a_stop_keeps_the_bytes_for_the_next_time() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let server = Server::of(file.clone());
    let mut diary = Diary { stop_at: Some(1), ..Diary::default() };
    let stopped = fetch::fetch(&weights("x", None), folder.path(), &quick(&server), &mut diary);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    let kept = std::fs::metadata(folder.path().join("x.pt.part")).unwrap().len() as usize;
    assert!(kept > 0);
    let (fetched, _) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!(server.seen()[1].from(), Some(kept));
}

#[test]
fn a_file_that_changed_on_the_server_is_fetched_anew() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let other = std::fs::read(golden_path("generator64", "generator.pt")).unwrap();
    let sent = file.clone();
    let server = Server::start(move |request| match request.before {
        0 => whole_or_rest(&other, "\"v0\"", request).cut(90_000),
        _ => whole_or_rest(&sent, "\"v1\"", request),
    });
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!((server.seen()[1].headers["if-range"].as_str(), diary.restarts), ("\"v0\"", 1));
}

#[test]
fn a_server_that_knows_no_ranges_starts_again() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let sent = file.clone();
    let server = Server::start(move |request| {
        Reply::new(200, sent.clone()).cut(if request.before == 0 { 90_000 } else { 1 << 20 })
    });
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!((server.seen()[1].from(), diary.restarts), (Some(90_000), 1));
}

#[test]
fn another_part_than_was_asked_for_is_not_joined() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let sent = file.clone();
    let server = Server::start(move |request| match request.before {
        0 => whole_or_rest(&sent, "\"v1\"", request).cut(90_000),
        1 => Reply::new(206, &sent[10..])
            .header("Content-Range", format!("bytes 10-9/{}", sent.len())),
        2 => whole_or_rest(&sent, "\"v1\"", request).cut(90_000),
        3 => Reply::new(206, "x").header("Content-Range", "bytes 90000-90000/90001"),
        _ => whole_or_rest(&sent, "\"v1\"", request),
    });
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert!(
        diary.retries[1].contains("another part") && diary.retries[3].contains("another length")
    );
}

#[test]
fn a_416_means_that_all_is_there_or_that_it_starts_again() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let server = Server::of(file.clone());
    let part = |bytes: &[u8]| {
        let _ = std::fs::remove_file(folder.path().join("x.pt"));
        let notes = format!("url: {}/a/b.pt\nvalidator: '\"v1\"'\n", server.url());
        std::fs::write(folder.path().join("x.pt.part"), bytes).unwrap();
        std::fs::write(folder.path().join("x.pt.part.yaml"), notes).unwrap();
    };
    part(&file);
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!((server.seen().len(), diary.retries.len()), (1, 0));
    part(&[&file[..], b"more"].concat());
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert!(diary.retries[0].contains("too long"), "{:?}", diary.retries);
}

#[test]
fn a_beginning_of_unknown_origin_is_not_trusted() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let server = Server::of(file.clone());
    let part = folder.path().join("x.pt.part");
    // No notes; notes of another address; notes without a version.
    for notes in [
        "",
        "url: https://example.org/x\nvalidator: a\n",
        "url: URL\n",
        "- [",
        "url: URL\ntotal: 3\n",
    ] {
        let _ = std::fs::remove_file(folder.path().join("x.pt"));
        std::fs::write(&part, "junk").unwrap();
        let notes = notes.replace("URL", &format!("{}/a/b.pt", server.url()));
        std::fs::write(folder.path().join("x.pt.part.yaml"), notes).unwrap();
        let (fetched, _) = bring(&weights("x", None), folder.path(), &server);
        assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
        assert_eq!(server.seen().last().unwrap().from(), None);
    }
    // With a checksum it may be tried: junk is found out, and all of it fetched again.
    std::fs::remove_file(folder.path().join("x.pt")).unwrap();
    std::fs::write(&part, "junk").unwrap();
    std::fs::write(folder.path().join("x.pt.part.yaml"), format!("url: {}/a/b.pt\n", server.url()))
        .unwrap();
    let (fetched, diary) = bring(&weights("x", Some(sha256(&file))), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!(diary.restarts, 1);
}

#[test]
fn two_at_once_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(200, vec![7; 1000]).stall(10));
    let other = folder.path().to_path_buf();
    let settings = quick(&server);
    let first = std::thread::spawn(move || {
        let _ = fetch::fetch(&weights("x", None), &other, &settings, &mut Diary::default());
    });
    while server.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    says(
        bring(&weights("x", None), folder.path(), &server).0,
        &["another `nada fetch` writes to it"],
    );
    first.join().unwrap();
}

// ---------------------------------------------------------------- bad servers

#[test]
fn what_a_server_refuses_is_told_with_the_address_and_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("x.pt").display().to_string();
    for (status, why) in [
        (404, "the file is not there"),
        (410, "not there"),
        (403, "wants a login"),
        (401, "wants a login"),
        (418, "answers 418"),
    ] {
        let server = Server::start(move |_| Reply::new(status, "no"));
        let url = format!("{}/a/b.pt", server.url());
        says(
            bring(&weights("x", None), folder.path(), &server).0,
            &[why, &status.to_string(), &url, &place],
        );
        assert_eq!(server.seen().len(), 1, "{status} is not asked for twice");
        holds(folder.path(), &[]);
    }
    let server = Server::start(|request| match request.before {
        0 => Reply::new(503, "").header("Retry-After", "0"),
        1 => Reply::new(429, ""),
        _ => Reply::new(500, ""),
    });
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    says(fetched, &["answers 500"]);
    assert_eq!(diary.retries[..2], ["the server answers 503", "the server answers 429"]);
    assert_eq!(server.seen().len(), 5);
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let sent = file.clone();
    let server = Server::start(move |request| {
        let reply = whole_or_rest(&sent, "\"v1\"", request);
        if request.before == 0 { reply.stall(70_000) } else { reply }
    });
    let began = Instant::now();
    let (fetched, diary) = bring(&weights("x", None), folder.path(), &server);
    assert_eq!(std::fs::read(fetched.unwrap().path).unwrap(), file);
    assert_eq!(diary.retries, ["the server is silent"]);
    assert_eq!(server.seen()[1].from(), Some(70_000));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn damaged_bytes_and_other_files_are_not_kept() {
    let (file, folder) = (generator(), tempfile::tempdir().unwrap());
    let mut damaged = file.clone();
    damaged[60_000] ^= 1;
    let server = Server::of(damaged.clone());
    let (fetched, _) = bring(&weights("x", Some(sha256(&file))), folder.path(), &server);
    says(fetched, &[&sha256(&damaged), "expected", &sha256(&file), "nothing was kept"]);
    holds(folder.path(), &[]);

    let page = b"<!DOCTYPE html><html>Quota exceeded</html>".to_vec();
    let server = Server::of(page.clone());
    for known in [None, Some(sha256(&file))] {
        let (fetched, _) = bring(&weights("x", known), folder.path(), &server);
        says(fetched, &["is a web page, not a checkpoint"]);
        holds(folder.path(), &[]);
    }
    // A torch file with nothing in it.
    let server = Server::of(
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02]."
            .to_vec(),
    );
    let (fetched, _) = bring(&weights("x", None), folder.path(), &server);
    says(fetched, &["holds no tensors (dictionary of 0 items)"]);
    let server = Server::start(|_| Reply::new(200, "x").header("Content-Encoding", "gzip"));
    says(bring(&weights("x", None), folder.path(), &server).0, &["answers in `gzip`"]);
}

#[test]
fn more_than_was_expected_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![b'{'; 4_000_000];
    let sent = large.clone();
    let server = Server::start(move |_| Reply::new(200, sent.clone()));
    says(
        bring(&weights("x", None), folder.path(), &server).0,
        &["sends 4000000 bytes", "about 1 MB"],
    );
    let server = Server::start(move |_| Reply::new(200, large.clone()).chunked());
    says(bring(&weights("x", None), folder.path(), &server).0, &["about 1 MB were expected"]);
    holds(folder.path(), &[]);
}

#[test]
fn a_download_that_the_disk_cannot_hold_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::of(generator());
    let mut huge = weights("x", None);
    huge.megabytes = u64::MAX / 4_000_000;
    // The server says nothing of the length, so the table's figure counts.
    let silent = Server::start(|_| Reply::new(200, "x").chunked());
    says(bring(&huge, folder.path(), &silent).0, &["MB more are needed", "--models-dir"]);
    assert!(bring(&huge, folder.path(), &server).0.is_ok());
}

#[test]
fn nobody_there_is_told_with_the_way_around() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::of(Vec::new());
    let mut settings = quick(&server);
    settings.base_url = Some("http://127.0.0.1:9".into());
    let mut diary = Diary::default();
    let fetched = fetch::fetch(&weights("x", None), folder.path(), &settings, &mut diary);
    let place = folder.path().join("x.pt").display().to_string();
    says(fetched, &["connection refused", "http://127.0.0.1:9/a/b.pt", &place]);
    assert_eq!(diary.retries.len(), 4);
    settings.base_url = Some("http://nowhere.invalid".into());
    let began = Instant::now();
    let fetched =
        fetch::fetch(&weights("x", None), folder.path(), &settings, &mut Diary::default());
    says(fetched, &["the host was not found", "offline", &place]);
    assert!(began.elapsed() < Duration::from_secs(5));
    settings.base_url = Some("nowhere".into());
    let fetched =
        fetch::fetch(&weights("x", None), folder.path(), &settings, &mut Diary::default());
    assert_eq!(fetched.unwrap_err().exit_code(), 2);
}
