//! `nada fetch` as it is typed.

use crate::command::{command, nada};
use crate::common::golden_path;
use crate::fetch::{bring, generator, holds, sha256, weights};
use crate::http_server::{Reply, Server, whole_or_rest};
use nada::builtin;
use nada::fetch::{self, Kind, Weights};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

#[test]
fn nothing_is_fetched_before_the_licence_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let ran = nada(folder.path(), &["fetch", "ffhq"])
        .refused(2, &["`ffhq` comes under the NVIDIA Source Code License"]);
    for word in ["https://nvlabs.github.io/stylegan2-ada-pytorch/license.html", "--accept-licence"]
    {
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    nada(folder.path(), &["fetch", "fhq"]).refused(2, &["did you mean `ffhq`", "--list"]);
    nada(folder.path(), &["fetch"]).refused(2, &["<NAME>"]);
    holds(folder.path(), &[]);
}

#[test]
fn the_table_is_printed_with_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("no-models");
    std::fs::create_dir(&models).unwrap();
    std::fs::write(models.join("ViT-B-32.pt"), "x").unwrap();
    let out = nada(folder.path(), &["fetch", "--list"]).done().stdout;
    let row = |name: &str| -> Vec<String> {
        let line = out.lines().find(|l| l.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().take(4).map(str::to_owned).collect()
    };
    assert_eq!(row("ViT-B/32"), ["ViT-B/32", "CLIP", "354", "yes"]);
    assert_eq!(row("ffhq"), ["ffhq", "generator", "382", "-"]);
    assert_eq!(out.lines().count(), fetch::table().unwrap().len() + 1);
}

#[test]
fn fetched_weights_are_used_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("no-models");
    let server = Server::of(generator());
    let args = ["fetch", "ffhq-rosinality", "--accept-licence", "--base-url", &server.url()];
    let ran = nada(folder.path(), &args).done();
    assert_eq!(ran.stdout.trim(), models.join("ffhq-rosinality.pt").display().to_string());
    assert!(ran.stderr.contains("Nvidia Source Code License-NC"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--generator ffhq-rosinality"), "{}", ran.stderr);
    let path = "/akhaliq/jojogan-stylegan2-ffhq-config-f/resolve/main/stylegan2-ffhq-config-f.pt";
    assert_eq!(server.seen()[0].path, path);
    let made = ["generate", "--generator", "ffhq-rosinality", "--count", "1", "--out", "a.png"];
    nada(folder.path(), &made).done();
    assert!(folder.path().join("a.png").is_file());

    // One of OpenAI's, by a checksum that fits the file.
    let clip = std::fs::read(golden_path("clip_vit", "model_jit_fp16.pt")).unwrap();
    let server = Server::of(clip.clone());
    let row = Weights { kind: Kind::Clip, ..weights("ViT-B/32", Some(sha256(&clip))) };
    bring(&row, &models, &server).0.unwrap();
    let score = ["score", "a.png", "--text", "a", "--clip", "ViT-B/32"];
    let ran = nada(folder.path(), &score).done();
    assert!(ran.stdout.contains("ViT-B/32"), "{}", ran.stdout);
    assert_eq!(
        builtin::resolve_clip("vit-b-32", Some(&models)).unwrap(),
        models.join("ViT-B-32.pt")
    );
    // The real one's checksum does not.
    nada(folder.path(), &["fetch", "ViT-B/32", "--accept-licence", "--base-url", &server.url()])
        .refused(
            1,
            &[
                "is not what it should be",
                "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            ],
        );
}

#[test]
fn a_proxy_is_asked_for_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Server::start(|_| Reply::new(403, ""));
    let args = ["fetch", "ffhq", "--accept-licence"];
    let output = command(folder.path(), &args).env("HTTPS_PROXY", proxy.url()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the proxy refuses"), "{output:?}");
    let seen = &proxy.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("CONNECT", "nvlabs-fi-cdn.nvidia.com:443")
    );
    let output = command(folder.path(), &args).env("HTTPS_PROXY", "gopher://x").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("`HTTPS_PROXY` names no proxy"));
}

/// Starts a download that comes slowly after so many bytes, and hands its process over when they are there.
#[cfg(unix)]
fn started(folder: &Path, server: &Server, bytes: u64) -> Child {
    let args = ["fetch", "ffhq-rosinality", "--accept-licence", "--base-url", &server.url()];
    let child = command(folder, &args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let began = Instant::now();
    let part = folder.join("no-models/ffhq-rosinality.pt.part");
    while std::fs::metadata(&part).map_or(0, |m| m.len()) < bytes {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    child.unwrap()
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_how_to_go_on_and_the_same_command_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = generator();
    let server = Server::start(move |request| {
        let reply = whole_or_rest(&file, "\"v1\"", request);
        if request.before == 0 { reply.drip(60_000) } else { reply }
    });
    let child = started(folder.path(), &server, 60_000);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("the same command goes on from there"), "{text}");
    let part = folder.path().join("no-models/ffhq-rosinality.pt.part");
    let kept = std::fs::metadata(part).unwrap().len();
    assert!(
        text.contains(&format!("stopped at {}", indicatif::HumanBytes(kept))),
        "{kept}: {text}"
    );
    let args = ["fetch", "ffhq-rosinality", "--accept-licence", "--base-url", &server.url()];
    let ran = nada(folder.path(), &args).done();
    assert!(ran.stderr.contains("going on after "), "{}", ran.stderr);
    assert_eq!(server.seen()[1].from(), Some(kept as usize));
}

#[cfg(unix)]
#[test]
fn ctrl_c_twice_ends_at_once_and_keeps_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = generator();
    let server =
        Server::start(move |request| whole_or_rest(&file, "\"v1\"", request).stall(60_000));
    let child = started(folder.path(), &server, 60_000);
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(300));
    interrupt(&child);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    let part = folder.path().join("no-models/ffhq-rosinality.pt.part");
    assert_eq!(std::fs::metadata(&part).unwrap().len(), 60_000);
}
