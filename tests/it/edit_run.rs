//! `nada mapper` and `nada edit` on the models that ship: what they leave, that edits do what they say, and no more.

use crate::command::{Ran, nada};
use nada::adapt::direction::features;
use nada::builtin;
use nada::checkpoint;
use nada::clip::{Clip, Preprocess, Resize, normalise};
use nada::config::Config;
use nada::edit::channels::{GlobalDirection, text_step};
use nada::evaluate::structure::low_frequencies;
use nada::models;
use nada::stylegan2::{Generator, Latent, Noise};
use nada::torch::TensorMap;
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

fn faces() -> Generator {
    let files = builtin::resolve_generator(&Config::default().generator).unwrap();
    models::open_generator(files, Kind::Float, Device::Cpu).unwrap().0
}

fn clip(name: &str) -> Clip {
    let file = builtin::resolve_clip(name, None).unwrap();
    models::open_clip(&file, Kind::Float, Device::Cpu).unwrap().0
}

fn tensors(path: &Path) -> TensorMap {
    let file = checkpoint::open(path).unwrap();
    file.entries.iter().map(|(name, e)| (name.clone(), e.tensor().unwrap())).collect()
}

fn images(path: &Path) -> Tensor {
    tensors(path)["images"].shallow_clone()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Mean cosine of images with a phrase, as a CLIP that guides nothing sees it.
fn agreement(images: &Tensor, phrase: &str) -> f64 {
    let clip = clip("clip-first-b");
    let text = features(&clip, &[phrase.to_owned()]).unwrap();
    let eye = Preprocess::new(clip.resolution(), Resize::Antialias);
    let seen = tch::no_grad(|| normalise(&clip.encode_image(&eye.apply(images))));
    seen.matmul(&text.tr()).mean(Kind::Double).double_value(&[])
}

/// Mean correlation of light and dark at 16 × 16 places: 1 where pose and shape stay.
fn same_picture(a: &Tensor, b: &Tensor) -> f64 {
    let product = low_frequencies(a) * low_frequencies(b);
    product
        .sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
        .mean(Kind::Double)
        .double_value(&[])
}

/// A mapper towards a golden statue, with the norm loss and without, trained alike.
const MAPPER: [&str; 13] = [
    "mapper",
    "--target",
    "golden statue",
    "--iterations",
    "60",
    "--batch",
    "2",
    "--samples",
    "24",
    "--set",
    "augment.copies=0",
    "--snapshot-every",
    "30",
];

fn mappers() -> &'static TempDir {
    static RUNS: OnceLock<TempDir> = OnceLock::new();
    RUNS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let run = |more: &[&str]| nada(folder.path(), &[&MAPPER, more].concat()).done();
        run(&["--out", "plain", "--set", "losses.norm=0"]);
        run(&["--out", "held", "--set", "losses.norm=0.002", "--against", "plain"]);
        folder
    })
}

fn figure(report: &Value, variant: usize, name: &str) -> f64 {
    report["variants"][variant]["figures"][name].as_f64().unwrap()
}

#[test]
fn a_mapper_leads_to_the_phrase_and_leaves_all_its_files() {
    let run = mappers().path().join("plain");
    for file in [
        "config.yaml",
        "metrics.jsonl",
        "loss.png",
        "before_after.png",
        "mapper.safetensors",
        "report.json",
        "sheet.png",
        "samples/000060.png",
        "snapshots/000060.safetensors",
    ] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let report = json(&run.join("report.json"));
    assert_eq!(report["judges"][0], "clip-first-b");
    let (before, after) =
        (figure(&report, 0, "target_cosine"), figure(&report, 1, "target_cosine"));
    assert!(after > before + 0.02, "{before} → {after}");
    assert!(figure(&report, 1, "leak_rate") <= figure(&report, 0, "leak_rate"));
    // Moved far, but not all to one image.
    let diversity = |variant| figure(&report, variant, "pixel_diversity");
    assert!(diversity(1) > 0.25 * diversity(0), "{} of {}", diversity(1), diversity(0));
    assert_eq!(figure(&report, 0, "norm_drift_abs"), 0.0);
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 60);
    assert!(!metrics.contains("norm"), "what weighs nothing is not computed");
}

#[test]
fn the_norm_loss_holds_the_norms() {
    let report = json(&mappers().path().join("held/report.json"));
    let (held, plain) =
        (figure(&report, 1, "norm_drift_abs"), figure(&report, 2, "norm_drift_abs"));
    assert_eq!(report["variants"][2]["name"], "plain");
    assert!(held < plain, "norms drift by {held} with the loss, {plain} without");
    assert!(figure(&report, 1, "target_cosine") > figure(&report, 0, "target_cosine"));
}

#[test]
fn a_mapper_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let start = |out: &str, iterations: &str| {
        let args = ["--iterations", iterations, "--out", out, "--snapshot-every", "4"];
        nada(folder.path(), &[&MAPPER[..3], &MAPPER[5..11], &args].concat()).done()
    };
    start("straight", "12");
    start("paused", "7");
    nada(folder.path(), &["mapper", "--resume", "paused", "--iterations", "12", "--samples", "2"])
        .done();
    let result = |run: &str| tensors(&folder.path().join(run).join("mapper.safetensors"));
    let (straight, paused) = (result("straight"), result("paused"));
    assert_eq!(straight.len(), 24);
    assert!(straight.iter().all(|(name, t)| *t == paused[name]), "resumed to other weights");
}

#[test]
fn a_mapper_travels_with_its_generator() {
    let folder = tempfile::tempdir().unwrap();
    let mapper = mappers().path().join("plain");
    let make = |name: &str, more: &[&str]| {
        let raw = format!("{name}.safetensors");
        let args = ["generate", "--count", "4", "--seed", "9", "--raw", &raw];
        nada(folder.path(), &[&args, more].concat()).done();
        images(&folder.path().join(raw))
    };
    let run = mapper.to_str().unwrap();
    let plain = make("plain", &[]);
    let none = make("none", &["--mapper", run, "--mapper-strength", "0"]);
    assert_eq!(plain, none);
    let once = make("once", &["--mapper", run]);
    let file = mapper.join("mapper.safetensors");
    assert_eq!(once, make("file", &["--mapper", file.to_str().unwrap()]));
    let half = make("half", &["--mapper", run, "--mapper-strength", "0.5"]);
    let [a, b, c] = [&plain, &half, &once].map(|x| agreement(x, "golden statue"));
    assert!(a < b && b < c, "{a} {b} {c}");
}

#[test]
fn a_latent_search_finds_the_phrase_and_stays_near() {
    let folder = tempfile::tempdir().unwrap();
    let search = |out: &str, more: &[&str]| {
        let args = [
            "edit",
            "optimize",
            "--text",
            "golden statue",
            "--steps",
            "40",
            "--count",
            "2",
            "--out",
            out,
            "--json",
        ];
        let ran = nada(folder.path(), &[&args, more].concat()).done();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    let codes = |out: &str| tensors(&folder.path().join(out).join("codes.safetensors"));
    let report = search("w", &[]);
    let ends = |report: &Value| [0, 1].map(|i| report["clip"][i].as_f64().unwrap());
    let [first, last] = ends(&report);
    assert!(last < first - 0.02, "{first} → {last}");
    assert!(folder.path().join("w/before_after.png").is_file());
    // The same seed as `nada generate`'s: what the search began with.
    let raw = ["generate", "--count", "2", "--raw", "start.safetensors"];
    nada(folder.path(), &raw).done();
    let start = images(&folder.path().join("start.safetensors"));
    let found = codes("w");
    let (after, _) =
        faces().generate(&Latent::WPlus(found["w_plus"].copy()), 1.0, Noise::Stored).unwrap();
    assert!(agreement(&after, "golden statue") > agreement(&start, "golden statue"));
    // Gold changes light and dark, but the picture stays nearer to its own start than to another one's.
    let kept = same_picture(&start, &after);
    let strangers = same_picture(&start.roll([1], [0]), &after);
    assert!(kept > 0.25 && kept > strangers, "{kept} like its start, {strangers} like another");
    // Held more tightly, it moves less and keeps more.
    search("tight", &["--l2", "1"]);
    let far = |codes: &TensorMap| (&codes["w_plus"] - &found["w_plus"]).norm().double_value(&[]);
    let tight = codes("tight");
    assert!(far(&tight) > 0.0);
    let (near, _) =
        faces().generate(&Latent::WPlus(tight["w_plus"].copy()), 1.0, Noise::Stored).unwrap();
    assert!(same_picture(&start, &near) > kept);

    let report = search("s", &["--space", "s"]);
    let [first, last] = ends(&report);
    assert!(last < first, "{first} → {last}");
    let styles = codes("s");
    assert!(styles.contains_key("s/conv1") && !styles.contains_key("w_plus"));
}

/// Channels measured with one CLIP on two images.
fn channels() -> &'static (TempDir, Ran) {
    static FOLDER: OnceLock<(TempDir, Ran)> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let args =
            ["edit", "prepare", "--images", "2", "--samples", "2000", "--clip", "clip-first-a"];
        let ran = nada(folder.path(), &args).done();
        (folder, ran)
    })
}

#[test]
fn a_direction_of_two_phrases_leads_there_the_further_the_larger_alpha_is() {
    let (folder, ran) = channels();
    let file = folder.path().join(ran.stdout.trim());
    let (measured, generator) = (models::open_channels(&file).unwrap(), faces());
    assert!(measured.statistics.check(generator.config()).is_ok());
    let (witness, table) = &measured.responses[0];
    let step = text_step(&clip(&witness.name), "photo", "golden statue").unwrap();
    let relevance = table.matmul(&step.tr()).squeeze_dim(1);
    let direction =
        GlobalDirection::new(&relevance, &measured.statistics, generator.config(), 0.1).unwrap();
    let w = generator
        .w_plus(
            &Latent::Z(nada::rng::stream(3, 0, "z").normal(
                &[8, generator.config().z_dim],
                Kind::Float,
                Device::Cpu,
            )),
            0.7,
        )
        .unwrap();
    let image = |alpha: f64| {
        tch::no_grad(|| {
            let styles = direction.apply(&generator.synthesis().styles(&w), alpha).unwrap();
            generator.synthesis().forward_styles(&styles, Noise::Stored, None)
        })
    };
    let seen: Vec<f64> =
        [0.0, 1.0, 2.0].map(|alpha| agreement(&image(alpha), "golden statue")).into();
    assert!(seen[0] < seen[1] && seen[1] < seen[2], "{seen:?}");
    let kept = same_picture(&image(0.0), &image(2.0));
    assert!(kept > 0.5, "the picture is another one: {kept}");
    // Fewer channels, less of everything else.
    let beta = direction.note().largest * 0.8;
    let few =
        GlobalDirection::new(&relevance, &measured.statistics, generator.config(), beta).unwrap();
    assert!(few.note().kept < direction.note().kept);
}

#[test]
fn the_sheets_of_directions_and_edits_are_drawn_in_every_domain() {
    let (folder, _) = channels();
    let domain = crate::adapt_run::finished();
    let domain = domain.to_str().unwrap();
    let direction = [
        "edit",
        "direction",
        "--neutral",
        "photo",
        "--target",
        "sketch",
        "--alpha",
        "-2,0,2",
        "--keep",
        "20,200",
        "--count",
        "1",
        "--domain",
        domain,
        "--out",
        "sheet.png",
    ];
    nada(folder.path(), &direction).done();
    let size = |name: &str| image::image_dimensions(folder.path().join(name)).unwrap();
    let (width, height) = size("sheet.png");
    assert!(width > 3 * 128 && height > 4 * 128, "{width} × {height}");
    let apply = [
        "edit",
        "apply",
        "--edit",
        "sefa#0=3",
        "--edit",
        "sefa#2@0-3=-2",
        "--domain",
        domain,
        "--count",
        "2",
        "--out",
        "edits.png",
        "--save-codes",
        "codes.safetensors",
    ];
    nada(folder.path(), &apply).done();
    let (width, height) = size("edits.png");
    // No edit, each alone, both; two domains for each of two codes.
    assert!(width > 4 * 128 && height > 4 * 128, "{width} × {height}");
    let codes = &tensors(&folder.path().join("codes.safetensors"))["w_plus"];
    let config = faces().config().clone();
    assert_eq!(codes.size(), [2, config.num_styles(), config.style_dim]);
    let raw = ["generate", "--latents", "codes.safetensors", "--raw", "edited.safetensors"];
    nada(folder.path(), &raw).done();
    let sweep = ["edit", "apply", "--edit", "sefa#1=-2..2", "--steps", "3", "--out", "sweep.png"];
    nada(folder.path(), &sweep).done();
}

/// Whether a band of `a`'s pixels, over its whole width, stands in `b` at any height.
fn shares_a_band(a: &image::RgbImage, b: &image::RgbImage) -> bool {
    let band = |picture: &image::RgbImage, y: u32| -> Vec<u8> {
        image::imageops::crop_imm(picture, 0, y, picture.width(), 32).to_image().into_raw()
    };
    let wanted = band(a, a.height() / 2);
    a.width() == b.width() && (0..=b.height() - 32).any(|y| band(b, y) == wanted)
}

#[test]
fn an_edit_by_text_composes_with_others_and_is_that_of_edit_direction() {
    let (measured, _) = channels();
    let folder = measured.path();
    let sheet = |args: &[&str], out: &str| {
        nada(folder, &[args, &["--count", "1", "--out", out]].concat()).done();
        image::open(folder.join(out)).unwrap().into_rgb8()
    };
    let phrases = ["--neutral", "photo", "--target", "sketch", "--keep", "60"];
    let direct =
        sheet(&[&["edit", "direction", "--alpha", "0,4"], &phrases[..]].concat(), "direct.png");
    let apply = |edits: &[&str], out: &str| {
        let flags: Vec<&str> = edits.iter().flat_map(|edit| ["--edit", *edit]).collect();
        sheet(&[&["edit", "apply"], &flags[..]].concat(), out)
    };
    let alone = apply(&["text:photo:sketch#60=4"], "alone.png");
    assert!(shares_a_band(&direct, &alone));
    // Not because everything looks the same.
    assert!(!shares_a_band(&direct, &apply(&["text:photo:sketch#60=2"], "weaker.png")));
    let three = apply(&["text:photo:sketch#60=4", "sefa#0=3"], "three.png");
    assert!(three.width() > 4 * 128, "{}", three.width());
    for (edit, words) in [
        ("text:photo=1", "two phrases"),
        ("text:photo:photo=1", "are the same"),
        ("text:photo:sketch#0=1", "from 1"),
    ] {
        nada(folder, &["edit", "apply", "--edit", edit]).refused(2, &[words]);
    }
    let saves = ["--edit", "text:photo:sketch=1", "--save-codes", "x.safetensors"];
    nada(folder, &[&["edit", "apply"], &saves[..]].concat()).refused(2, &["no code in W+"]);
    let elsewhere = tempfile::tempdir().unwrap();
    nada(elsewhere.path(), &["edit", "apply", "--edit", "text:photo:sketch=1"])
        .refused(2, &["were not measured", "nada edit prepare"]);
}

#[test]
fn a_measurement_of_channels_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (measured, ran) = channels();
    let whole = models::open_channels(&measured.path().join(ran.stdout.trim())).unwrap();
    let args = ["edit", "prepare", "--images", "2", "--samples", "2000", "--clip", "clip-first-a"];
    let mut child = crate::command::command(folder.path(), &args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let code = child.wait().unwrap().code();
    assert!(code == Some(130) || code == Some(0), "{code:?}");
    let file = folder.path().join(ran.stdout.trim());
    if code == Some(130) {
        assert!(!file.exists() && file.with_extension("safetensors.partial").exists());
        // Other settings do not go on with it.
        let other = [&args[..], &["--reach", "3"]].concat();
        nada(folder.path(), &other).refused(1, &["another reach", "--force"]);
        let again = nada(folder.path(), &args).done();
        assert!(again.stderr.contains("going on after"), "{}", again.stderr);
    }
    let resumed = models::open_channels(&file).unwrap();
    assert_eq!(resumed.responses[0].1, whole.responses[0].1);
    assert!(!file.with_extension("safetensors.partial").exists());
}

#[test]
fn what_does_not_fit_is_refused_and_says_what_does() {
    let (measured, ran) = channels();
    let folder = measured.path();
    let file = ran.stdout.trim();
    let phrases = ["--neutral", "photo", "--target", "sketch", "--out", "x.png"];
    let direction =
        |more: &[&str]| nada(folder, &[&["edit", "direction"], &phrases[..], more].concat());
    direction(&["--alpha", "nan"]).refused(2, &["α is NaN"]);
    direction(&["--alpha", "1e39", "--count", "1"]).refused(2, &["1000000000", "no numbers"]);
    direction(&["--beta", "1"]).refused(2, &["no channel reaches β = 1", "largest relevance"]);
    // Of the same shape, but another generator: its hash tells.
    let run = crate::adapt_run::finished();
    let own = run.join("generator.safetensors");
    let mut other = tensors(&own);
    let bias = other.get_mut("conv1.activate.bias").unwrap();
    *bias = &*bias + 0.5;
    checkpoint::save_safetensors(
        folder.join("other.safetensors"),
        &other,
        &Default::default(),
        None,
    )
    .unwrap();
    direction(&["--generator", "other.safetensors", "--channels", file])
        .refused(1, &["was measured on another generator", "nada edit prepare --generator"]);
    direction(&["--generator", "other.safetensors"]).refused(2, &["were not measured"]);
    // An adapted generator may use what its base was measured for.
    direction(&["--generator", run.to_str().unwrap(), "--channels", file, "--count", "1"]).done();
    let golden = crate::common::golden_path("directions", "interfacegan.npy");
    let edit = format!("{}=3", golden.display());
    nada(folder, &["edit", "apply", "--edit", &edit]).refused(2, &["[1, 16]", "w has 128 numbers"]);
    nada(folder, &["edit", "apply", "--edit", "sefa#4000=1"]).refused(2, &["no eigenvector 4000"]);
    nada(folder, &["edit", "apply", "--edit", "sefa#0=1e39"]).refused(2, &["no numbers"]);
    let tables = crate::common::golden_path("styleclip", "fs3.npy");
    let edit = format!("{}=3", tables.display());
    nada(folder, &["edit", "apply", "--edit", &edit]).refused(2, &["StyleCLIP's tables"]);

    let mapper = mappers().path().join("plain");
    let mapper = mapper.to_str().unwrap();
    let generate = |more: &[&str]| {
        nada(folder, &[&["generate", "--count", "1", "--out", "y.png"], more].concat())
    };
    generate(&["--mapper", mapper, "--mapper-strength", "3"]).refused(2, &["0 to 2"]);
    let another = crate::common::golden_path("generator64", "generator.pt");
    generate(&["--generator", another.to_str().unwrap(), "--mapper", mapper])
        .refused(2, &["style inputs, this one has", "nada mapper"]);
    let golden = crate::common::golden_path("mapper", "mapper.pt");
    generate(&["--mapper", golden.to_str().unwrap()])
        .refused(1, &["[16, 16]", "codes of width 128"]);
    generate(&["--mapper", own.to_str().unwrap()]).refused(1, &["holds no latent mapper"]);
    generate(&["--mapper", run.to_str().unwrap()]).refused(2, &["holds no `mapper.safetensors`"]);
    nada(folder, &["adapt", "--resume", mapper]).refused(2, &["is the run of a mapper"]);
    nada(folder, &["mapper", "--resume", run.to_str().unwrap()])
        .refused(2, &["is the run of an adaptation"]);
    nada(folder, &["mapper", "--target", "sketch", "--levels", "fine", "--set", "train.batch=0"])
        .refused(2, &["`train.batch` is 0"]);
    nada(folder, &["mapper", "--target", "sketch", "--preset", "defalt"])
        .refused(2, &["did you mean `default`"]);
}
