//! `nada invert`, `nada translate` and `nada animate` with the real binary: small encoders of the goldens, real photos.
#![allow(clippy::unwrap_used)]

use crate::command::{Ran, command, listing, nada};
use crate::common::{assert_close, golden, golden_path};
use image::{Rgb, RgbImage};
use nada::checkpoint::{self, save_safetensors};
use nada::imaging::load::{flatten, open_image};
use nada::torch::TensorMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};
use tempfile::TempDir;

const PLACE: [&str; 4] = ["--threads", "1", "--device", "cpu"];

fn run(folder: &Path, args: &[&str]) -> Ran {
    nada(folder, &[args, &PLACE].concat())
}

fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

fn photo(name: &str) -> String {
    text(golden_path("photos", name))
}

/// ReStyle's encoder of the goldens: 256 px in, a 32 px generator in its file, three rounds.
fn restyle() -> String {
    text(golden_path("restyle_psp", "checkpoint.pt"))
}

fn tensors(path: &Path) -> TensorMap {
    let file = checkpoint::open(path).unwrap();
    file.entries.iter().map(|(name, entry)| (name.clone(), entry.tensor().unwrap())).collect()
}

fn picture(path: &Path) -> RgbImage {
    flatten(&open_image(path).unwrap())
}

/// The same up to the rounding of another batch.
#[track_caller]
fn assert_alike(a: &RgbImage, b: &RgbImage) {
    assert_eq!(a.dimensions(), b.dimensions());
    let far = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(far <= Some(1), "{far:?} levels");
}

#[test]
fn a_photo_becomes_the_codes_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("out").join(name);
    let photo = text(golden_path("preprocess", "photo256.png"));
    let args = ["invert", &photo, "--encoder", &restyle(), "--no-align", "--out", "out"];
    let ran = run(folder.path(), &args).done();
    assert!(ran.stdout.contains("round 3") && ran.stdout.contains("photo256"), "{}", ran.stdout);
    let want = golden("restyle_psp", "io.safetensors");
    let found = tensors(&at("photo256/latents.safetensors"));
    for (round, name) in ["codes.iter0", "codes.iter1", "codes.iter2"].iter().enumerate() {
        let got = found["rounds"].get(round as i64);
        assert_close(name, &got, &want[*name].get(0), 2e-4, 2e-4);
    }
    assert!(found["latents"].get(0) == found["rounds"].get(2));
    let all = tensors(&at("latents.npy"));
    assert!(all["array"] == found["latents"], "the .npy holds the same numbers");
    for name in ["photo", "round_1", "round_2", "round_3", "reconstruction", "strip"] {
        picture(&at(&format!("photo256/{name}.png")));
    }
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(at("inversion.json")).unwrap()).unwrap();
    assert_eq!(record["settings"]["rounds"], "3");
    assert_eq!(record["weights"].as_array().unwrap().len(), 3);
    let stages = record["photos"][&photo]["faces"][0]["stages"].as_array().unwrap();
    assert!(stages.iter().all(|s| s["pixel"].as_f64().unwrap() > 0.0 && s["perceptual"].is_f64()));

    // The codes make the reconstruction in `nada generate`.
    let generate = ["generate", "--generator", &restyle(), "--latents", "out/latents.safetensors"];
    run(folder.path(), &[&generate[..], &["--out", "again"]].concat()).done();
    let again = picture(&folder.path().join("again/000000.png"));
    assert_alike(&again, &picture(&at("photo256/reconstruction.png")));

    // The same command has nothing left to do; other settings are not mixed with these.
    let before = std::fs::metadata(at("photo256/strip.png")).unwrap().modified().unwrap();
    let ran = run(folder.path(), &args).done();
    assert!(ran.stderr.contains("going on in `out`"), "{}", ran.stderr);
    assert_eq!(std::fs::metadata(at("photo256/strip.png")).unwrap().modified().unwrap(), before);
    let other = [&args[..], &["--rounds", "2"]].concat();
    run(folder.path(), &other).refused(2, &["`rounds` was `3`, now it is `2`", "--force"]);
    run(folder.path(), &[&other[..], &["--force"]].concat()).done();
    assert_eq!(tensors(&at("photo256/latents.safetensors"))["rounds"].size()[0], 2);
}

#[test]
fn optimisation_brings_codes_closer_and_repeats_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (photo, encoder) = (photo("plain.jpg"), restyle());
    let invert = |out: &str, more: &[&str]| {
        let args = ["invert", &photo, "--encoder", &encoder, "--json", "--out", out];
        let ran = run(folder.path(), &[&args[..], more].concat()).done();
        let faces: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let stages = faces[0]["stages"].as_array().unwrap().clone();
        stages.iter().map(|s| s["pixel"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let errors = invert("a", &["--optimize", "30"]);
    assert!(errors.len() == 4 && errors[3] < 0.8 * errors[2], "{errors:?}");
    assert_eq!(invert("b", &["--optimize", "30"]), errors);
    let codes = |out: &str| {
        tensors(&folder.path().join(out).join("plain/latents.safetensors"))["latents"].copy()
    };
    assert!(codes("a") == codes("b"));
    picture(&folder.path().join("a/plain/loss.png"));

    // From the mean, without an encoder; in W all layers share a code; noise maps of its own.
    let more = ["--encoder", "none", "--generator", &encoder, "--optimize", "12"];
    let args = ["invert", &photo, "--perceptual", "none", "--out"];
    for (out, extra) in [("w", &["--space", "w"][..]), ("n", &["--fit-noise"])] {
        run(folder.path(), &[&args[..], &[out], &more, extra].concat()).done();
    }
    let w = codes("w");
    assert!(w.narrow(1, 0, 1).expand_as(&w) == w, "one code for all layers");
    let noise = tensors(&folder.path().join("n/plain/latents.safetensors"));
    assert_eq!(noise["noise.0"].size(), [1, 1, 4, 4]);
    let start = ["--start", "a/latents.npy"];
    run(folder.path(), &[&args[..], &["s"], &more, &start].concat()).done();
    // It began nearer than the mean.
    let moved = |out: &str| (codes(out) - codes("a")).square().mean(Kind::Double).double_value(&[]);
    assert!(moved("s") < 0.2 * moved("w"), "{} {}", moved("s"), moved("w"));
}

#[test]
fn photos_of_every_kind_show_the_same_face() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "plain.jpg",
        "cmyk.jpg",
        "turned.jpg",
        "photo.webp",
        "grey.png",
        "sixteen.png",
        "alpha.png",
    ];
    let photos: Vec<String> = names.iter().map(|name| photo(name)).collect();
    let photos: Vec<&str> = photos.iter().map(String::as_str).collect();
    let encoder = restyle();
    let rest = ["--encoder", &encoder, "--rounds", "1", "--perceptual", "none", "--out", "out"];
    run(folder.path(), &[&["invert"], &photos[..], &rest].concat()).done();
    let grey = |name: &str| {
        let stem = Path::new(name).file_stem().unwrap();
        let picture = picture(&folder.path().join("out").join(stem).join("photo.png"));
        image::imageops::grayscale(&picture)
    };
    let far = |a: &image::GrayImage, b: &image::GrayImage| {
        let pairs = a.as_raw().iter().zip(b.as_raw());
        pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.as_raw().len() as f64
    };
    let plain = grey("plain.jpg");
    // Landmarks move by a pixel where the compression differs; a face turned over is much farther away.
    let turned = far(&plain, &image::imageops::flip_vertical(&plain));
    for name in &names[1..] {
        let distance = far(&plain, &grey(name));
        assert!(distance < 0.3 * turned, "{name} is {distance} grey levels away ({turned})");
    }
}

#[test]
fn a_photo_that_lies_on_its_side_is_turned_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let upright = picture(Path::new(&photo("alpha.png")));
    // As a messenger leaves a phone's photo whose turn it has thrown away.
    upright.save(folder.path().join("upright.png")).unwrap();
    image::imageops::rotate90(&upright).save(folder.path().join("lying.png")).unwrap();
    let args = ["invert", "upright.png", "lying.png", "--encoder", &restyle(), "--rounds", "1"];
    let ran = run(folder.path(), &[&args[..], &["--perceptual", "none", "--out", "out"]].concat());
    let ran = ran.done();
    let seen = |name: &str| picture(&folder.path().join("out").join(name).join("photo.png"));
    assert!(ran.stderr.contains("`lying.png` was turned by 270° to the right"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("`upright.png` was turned"), "{}", ran.stderr);
    assert_alike(&seen("lying"), &seen("upright"));
}

#[test]
fn what_is_no_photo_is_passed_over_and_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("in").join(name);
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::copy(golden_path("photos", "plain.jpg"), at("good.jpg")).unwrap();
    let whole = std::fs::read(golden_path("photos", "plain.jpg")).unwrap();
    std::fs::write(at("broken.jpg"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(at("empty.png"), "").unwrap();
    std::fs::write(at("text.png"), "no picture").unwrap();
    std::fs::write(at("notes.txt"), "no picture").unwrap();
    RgbImage::from_pixel(90, 70, Rgb([90, 120, 30])).save(at("meadow.png")).unwrap();
    RgbImage::from_pixel(3, 2, Rgb([90, 120, 30])).save(at("tiny.png")).unwrap();
    let encoder = restyle();
    let rest = ["--encoder", &encoder, "--rounds", "1", "--perceptual", "none", "--out", "out"];
    let ran = run(folder.path(), &[&["invert", "in"], &rest[..]].concat());
    let told = [
        "5 of 6 photos could not be done",
        "broken.jpg`: corrupt Jpeg",
        "empty.png`: the file is empty",
        "text.png`: not an image",
        "meadow.png`: no face was found",
        "tiny.png`: no face was found",
        "no image, passed over: `in/notes.txt`",
        "--landmarks FILE",
        "--no-align",
    ];
    ran.refused(1, &told);
    assert!(folder.path().join("out/good/latents.safetensors").is_file());
    assert!(folder.path().join("out/sheet.png").is_file());

    // One alone says it plainly.
    let invert = |args: &[&str]| {
        run(folder.path(), &[&["invert"], args, &rest[..6], &["--out", "x"]].concat())
    };
    invert(&["in/meadow.png"]).refused(1, &["in/meadow.png`: no face was found in it"]);
    invert(&["in/good.jpg", "--face", "2"]).refused(1, &["face 2 was asked for, it shows 1"]);
    invert(&["in/gone.jpg"]).refused(2, &["there is no photo `in/gone.jpg`"]);
    invert(&["in/tiny.png", "--crop", "40"])
        .refused(1, &["3 × 2 pixels, too few for a crop of 40"]);
    invert(&["in/tiny.png", "--no-align"]).done();
    std::fs::write(folder.path().join("five.txt"), "20 20\n60 20\n40 35\n25 50\n55 50\n").unwrap();
    let given = ["--landmarks", "five.txt", "--force"];
    invert(&[&["in/meadow.png"][..], &given].concat()).done();
    invert(&[&["in"][..], &given].concat())
        .refused(2, &["the points of one face, but there are 6 photos"]);
    std::fs::write(folder.path().join("five.txt"), "1 1\n").unwrap();
    invert(&[&["in/meadow.png"][..], &given].concat())
        .refused(1, &["has 1 points", "five are expected"]);
}

#[test]
fn a_photo_of_a_hundred_million_pixels_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut large = image::GrayImage::from_pixel(10_000, 10_000, image::Luma([128]));
    image::imageops::replace(
        &mut large,
        &image::GrayImage::from_pixel(900, 900, image::Luma([20])),
        4_550,
        4_550,
    );
    large.save(folder.path().join("large.png")).unwrap();
    drop(large);
    let encoder = restyle();
    let args = ["invert", "large.png", "--no-align", "--encoder", &encoder, "--rounds", "1"];
    run(folder.path(), &[&args[..], &["--perceptual", "none", "--out", "out"]].concat()).done();
    let seen = picture(&folder.path().join("out/large/photo.png"));
    assert!(seen.get_pixel(0, 0).0[0] == 128 && seen.get_pixel(16, 16).0[0] < 40);
}

#[test]
fn models_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (photo, encoder) = (photo("plain.jpg"), restyle());
    let invert =
        |args: &[&str]| run(folder.path(), &[&["invert", &photo, "--out", "x"], args].concat());
    invert(&["--encoder", &encoder, "--generator", "faces128"])
        .refused(2, &["the encoder makes 8 codes of width 8", "takes 12 of width 128"]);
    invert(&["--encoder", "restile"]).refused(2, &["`restile` is no shipped encoder"]);
    invert(&["--encoder", "faces128.safetensors"]).refused(2, &["no such file"]);
    let clip = text(Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/clip_rn.safetensors"));
    invert(&["--encoder", &clip, "--generator", "faces128"]).refused(1, &["an image encoder"]);
    invert(&["--encoder", "none", "--optimize", "0"]).refused(2, &["nothing would make codes"]);
    invert(&["--encoder", &encoder, "--lr", "0.1"])
        .refused(2, &["`--lr` belongs to an optimisation"]);
    invert(&["--encoder", &encoder, "--optimize", "5", "--lr", "nan"])
        .refused(2, &["`--lr` is not a number"]);
    invert(&["--encoder", &encoder, "--perceptual", "clip-rm"])
        .refused(2, &["did you mean `clip-rn`"]);
    invert(&[
        "--encoder",
        "none",
        "--first-encoder",
        &encoder,
        "--generator",
        &encoder,
        "--optimize",
        "2",
    ])
    .refused(2, &["`--first-encoder` comes before an encoder"]);
    let one_shot = text(golden_path("psp_gradual", "checkpoint.pt"));
    invert(&["--encoder", &one_shot, "--first-encoder", &encoder])
        .refused(2, &["cannot follow each other"]);
    invert(&["--encoder", &encoder, "--first-encoder", &encoder, "--rounds", "1"]).done();
    let rounds = tensors(&folder.path().join("x/plain/latents.safetensors"))["rounds"].size()[0];
    assert_eq!(rounds, 2, "one round of each");
}

/// A folder with two domains: generators that differ from the encoder's own in their weights.
fn domains() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    run_plain(folder.path(), &["convert", &restyle(), "base.safetensors"]).done();
    let base = tensors(&folder.path().join("base.safetensors"));
    for (name, factor) in [("bright", 1.5), ("dark", 0.6)] {
        let moved: TensorMap = base
            .iter()
            .map(|(n, t)| {
                (n.clone(), if n.ends_with("conv.weight") { t * factor } else { t.copy() })
            })
            .collect();
        let file = folder.path().join(format!("{name}.safetensors"));
        save_safetensors(file, &moved, &Default::default(), None).unwrap();
    }
    folder
}

fn run_plain(folder: &Path, args: &[&str]) -> Ran {
    nada(folder, args)
}

#[test]
fn photos_are_made_again_in_every_domain_and_only_what_is_missing() {
    let folder = domains();
    let at = |name: &str| folder.path().join("out").join(name);
    let (photos, encoder) = ([photo("plain.jpg"), photo("grey.png")], restyle());
    let translate = |domains: &[&str], more: &[&str]| {
        let models = ["--encoder", &encoder, "--generator", &encoder, "--perceptual", "none"];
        let args = [
            &["translate", &photos[0], &photos[1], "--out", "out", "--domains"],
            domains,
            &models,
            more,
        ];
        run(folder.path(), &args.concat())
    };
    let ran = translate(&["bright.safetensors"], &[]).done();
    assert!(ran.stdout.contains("sheet.png"), "{}", ran.stdout);
    let made = at("plain/bright.png");
    // As `nada generate` makes it of the codes.
    let generate = ["generate", "--generator", "bright.safetensors", "--latents"];
    run(
        folder.path(),
        &[&generate[..], &["out/plain/latents.safetensors", "--out", "again"]].concat(),
    )
    .done();
    assert_alike(&picture(&made), &picture(&folder.path().join("again/000000.png")));
    assert!(picture(&made) != picture(&at("plain/reconstruction.png")));

    let stamp = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let (codes, first) = (stamp(&at("plain/latents.safetensors")), stamp(&made));
    translate(&["bright.safetensors", "dark.safetensors"], &[]).done();
    assert_eq!((stamp(&at("plain/latents.safetensors")), stamp(&made)), (codes, first));
    assert!(at("plain/dark.png").is_file() && at("grey/dark.png").is_file());
    let sheet = picture(&at("sheet.png"));
    assert!(sheet.width() > sheet.height(), "four columns, two rows");

    // Another generator of the same name is another domain.
    std::fs::copy(folder.path().join("dark.safetensors"), folder.path().join("bright.safetensors"))
        .unwrap();
    translate(&["bright.safetensors"], &[]).done();
    assert_alike(&picture(&made), &picture(&at("plain/dark.png")));

    translate(&["faces128"], &[])
        .refused(2, &["`faces128` takes 12 codes", "adapted from one generator"]);
    translate(&["dark.safetensors"], &["--label", "a", "--label", "b"])
        .refused(2, &["2 labels for 1 domains"]);
    let none = ["translate", &photos[0], "--encoder", &encoder];
    run(folder.path(), &none).refused(2, &["`runs/` holds no finished run", "nada adapt"]);
    let names = listing(&folder.path().join("out"));
    assert!(!names.iter().any(|n| n.to_string_lossy().contains(".part")), "{names:?}");
}

#[test]
fn masks_and_sketches_are_translated_with_an_encoder_for_them() {
    let folder = domains();
    // pSp's encoder of the goldens, with another first layer.
    let from = checkpoint::open(golden_path("psp_gradual", "checkpoint.pt")).unwrap();
    let (named, _) = checkpoint::encoder(&from).unwrap();
    let all: TensorMap =
        named.entries.iter().map(|(n, e)| (n.clone(), e.tensor().unwrap())).collect();
    for (name, channels) in [("seg", 4), ("lines", 1)] {
        let mut all: TensorMap = all.iter().map(|(n, t)| (n.clone(), t.copy())).collect();
        let first = &all["input_layer.0.weight"];
        let first = first.narrow(1, 0, 1).repeat([1, channels, 1, 1])
            * Tensor::arange(channels, (Kind::Float, tch::Device::Cpu))
                .g_add_scalar(1.0)
                .view([1, -1, 1, 1]);
        all.insert("input_layer.0.weight".into(), first);
        let about = [("encoder_type", "GradualStyleEncoder"), ("start_from_latent_avg", "true")];
        let about = about.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        save_safetensors(folder.path().join(format!("{name}.safetensors")), &all, &about, None)
            .unwrap();
    }
    let mask = |name: &str, highest: u32| {
        let mask = image::GrayImage::from_fn(64, 64, |x, y| {
            image::Luma([((x / 8 + y / 8) % (highest + 1)) as u8])
        });
        mask.save(folder.path().join(name)).unwrap();
    };
    mask("mask.png", 3);
    mask("strange.png", 9);
    let translate = |photo: &str, encoder: &str, more: &[&str]| {
        let models = [
            "--encoder",
            encoder,
            "--generator",
            "base.safetensors",
            "--domains",
            "dark.safetensors",
        ];
        run(
            folder.path(),
            &[&["translate", photo, "--out", "out", "--force"], &models[..], more].concat(),
        )
    };
    let kind = |kind| ["--input-kind", kind];
    translate("mask.png", "seg.safetensors", &kind("mask")).done();
    assert!(folder.path().join("out/mask/dark.png").is_file());
    translate("strange.png", "seg.safetensors", &kind("mask"))
        .refused(1, &["the label 9, the encoder knows 0 to 3"]);
    translate("mask.png", "seg.safetensors", &[])
        .refused(2, &["4 input channels: it takes masks, not photos", "--input-kind mask"]);
    let drawing = photo("grey.png");
    translate(&drawing, "lines.safetensors", &kind("sketch")).done();
    assert!(folder.path().join("out/grey/dark.png").is_file());
    translate(&drawing, "seg.safetensors", &kind("sketch"))
        .refused(2, &["takes masks, not sketches"]);
    translate(&drawing, "lines.safetensors", &["--input-kind", "sketch", "--optimize", "3"])
        .refused(2, &["leave out `--optimize`"]);
}

#[cfg(unix)]
#[test]
fn a_stopped_translation_is_told_and_can_be_made_again() {
    let folder = domains();
    let encoder = restyle();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    for i in 0..3 {
        std::fs::copy(
            golden_path("photos", "plain.jpg"),
            folder.path().join(format!("in/{i}.jpg")),
        )
        .unwrap();
    }
    let args = [
        "translate",
        "in",
        "--encoder",
        &encoder,
        "--generator",
        &encoder,
        "--domains",
        "dark.safetensors",
        "--optimize",
        "4000",
        "--perceptual",
        "none",
        "--out",
        "out",
        "--threads",
        "1",
        "--device",
        "cpu",
    ];
    let mut child =
        command(folder.path(), &args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let ledger = folder.path().join("out/translation.json");
    while !ledger.is_file() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let few: Vec<&str> = args.iter().map(|a| if *a == "4000" { "3" } else { a }).collect();
    // Nothing was done under the old settings: there is nothing to mix.
    nada(folder.path(), &few).done();
    assert!(folder.path().join("out/2/dark.png").is_file());
}

#[test]
fn faces_and_domains_turn_into_each_other() {
    let folder = domains();
    let codes = TensorMap::from([(
        "latents".to_owned(),
        tensors(&folder.path().join("base.safetensors"))["latent_avg"].view([1, 1, -1])
            + golden("restyle_psp", "io.safetensors")["codes.iter2"].narrow(0, 0, 2) * 0.5,
    )]);
    save_safetensors(folder.path().join("codes.safetensors"), &codes, &Default::default(), None)
        .unwrap();
    let animate = |out: &str, more: &[&str]| {
        let args = [
            "animate",
            "--out",
            out,
            "--frames",
            "4",
            "--hold",
            "1",
            "--latents",
            "codes.safetensors",
            "--domains",
            "base.safetensors",
        ];
        run(folder.path(), &[&args[..], more].concat())
    };
    let frames = |name: &str| -> Vec<RgbImage> {
        use image::AnimationDecoder;
        let file = std::io::BufReader::new(std::fs::File::open(folder.path().join(name)).unwrap());
        let frames = match name.ends_with("gif") {
            true => {
                image::codecs::gif::GifDecoder::new(file).unwrap().into_frames().collect_frames()
            }
            false => image::codecs::png::PngDecoder::new(file)
                .unwrap()
                .apng()
                .unwrap()
                .into_frames()
                .collect_frames(),
        };
        frames
            .unwrap()
            .into_iter()
            .map(|f| image::DynamicImage::ImageRgba8(f.into_buffer()).to_rgb8())
            .collect()
    };
    // Two codes, there and back: hold, then four steps, twice.
    animate("a.gif", &[]).done();
    assert_eq!(frames("a.gif").len(), 10);
    animate("a.png", &["--size", "32"]).done();
    let path = frames("a.png");
    assert_eq!((path.len(), path[0].dimensions()), (10, (32, 32)));
    assert!(path[0] == path[1] && path[0] != path[5] && path[5] == path[6]);
    // The stops are what `nada generate` makes.
    run(
        folder.path(),
        &[
            "generate",
            "--generator",
            "base.safetensors",
            "--latents",
            "codes.safetensors",
            "--out",
            "stills",
        ],
    )
    .done();
    let still = |i: usize| picture(&folder.path().join(format!("stills/00000{i}.png")));
    assert_alike(&path[0], &still(0));
    assert_alike(&path[5], &still(1));
    // Domains, with both codes beside each other; half way is neither.
    animate("m.png", &["dark.safetensors", "--side-by-side", "--size", "32"]).done();
    let morph = frames("m.png");
    assert_eq!((morph.len(), morph[0].dimensions()), (10, (68, 32)));
    run(
        folder.path(),
        &[
            "generate",
            "--generator",
            "dark.safetensors",
            "--latents",
            "codes.safetensors",
            "--out",
            "darks",
        ],
    )
    .done();
    let right = image::imageops::crop_imm(&morph[5], 36, 0, 32, 32).to_image();
    assert_alike(&right, &picture(&folder.path().join("darks/000001.png")));
    assert!(morph[3] != morph[0] && morph[3] != morph[5]);
    animate("a.gif", &[]).refused(2, &["`a.gif` exists already", "--force"]);
    animate("a.webm", &[]).refused(2, &["names no animation", ".mp4"]);
    animate("b.gif", &["faces128"]).refused(2, &["generator 2 has another shape"]);
    let many = ["animate", "--frames", "10000", "--size", "4096", "--out", "b.gif"];
    run(folder.path(), &many).refused(2, &["are too much", "fewer frames"]);
    let film =
        command(folder.path(), &["animate", "--out", "a.mp4"]).env("PATH", "").output().unwrap();
    assert_eq!(film.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&film.stderr).contains("ffmpeg, which is not on the path"));
}

#[test]
fn the_shipped_encoder_comes_closer_round_by_round() {
    let folder = tempfile::tempdir().unwrap();
    let portrait = text(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/portrait.jpg"));
    let ran = run(folder.path(), &["invert", &portrait, "--json", "--out", "out"]).done();
    let faces: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let stages = faces[0]["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 6);
    let of = |i: usize, what: &str| stages[i][what].as_f64().unwrap();
    assert!(of(4, "pixel") < of(0, "pixel"), "{stages:?}");
    assert!(of(5, "pixel") < 0.5 * of(4, "pixel"), "its file advises an optimisation: {stages:?}");
    let said = run_plain(folder.path(), &["inspect", "encoder-faces128"]).done().stdout;
    assert!(said.contains("a photo and its own last result"), "{said}");

    // A domain of one step, and nothing else said: the encoder is that of the run's start.
    let few = ["--iterations", "1", "--batch", "2", "--set", "output.samples=1", "--quiet"];
    run(folder.path(), &[&["adapt", "--target", "zombie", "--out", "runs/z"], &few[..]].concat())
        .done();
    let ran = run(folder.path(), &["translate", &portrait]).done();
    assert_eq!(ran.stdout, "translated/sheet.png\n");
    for name in ["photo", "reconstruction", "zombie"] {
        let side = picture(&folder.path().join(format!("translated/portrait/{name}.png"))).width();
        assert_eq!(side, 128, "{name}");
    }
    let same = |name: &str| picture(&folder.path().join(name));
    let (a, b) = ("out/portrait/reconstruction.png", "translated/portrait/reconstruction.png");
    assert_alike(&same(a), &same(b));
}
