//! What a person may get wrong: each refusal has the right exit code, says what and why, and leaves nothing behind.

use crate::command::{Ran, listing, nada};
use crate::common::{golden, golden_path};
use nada::checkpoint::save_safetensors;
use nada::torch::TensorMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// The program sees these as wrong requests…
const WRONG: i32 = 2;
/// …and these as work that failed.
const FAILED: i32 = 1;

fn shipped(name: &str) -> String {
    format!("{}/checkpoints/{name}.safetensors", env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a file of these bytes, called `x.pt`.
fn with_file(bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.pt"), bytes).unwrap();
    folder
}

/// Runs a command that must be refused, and makes sure that it wrote nothing.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) -> Ran {
    let before = listing(folder);
    let ran = nada(folder, args).refused(code, words);
    assert_eq!(listing(folder), before, "left behind by {args:?}");
    assert_eq!(ran.stdout, "", "{args:?}");
    ran
}

/// `x.pt` as a generator and as a CLIP, in every command that reads one.
#[track_caller]
fn refused_everywhere(folder: &Path, code: i32, words: &[&str]) {
    let mut words = words.to_vec();
    words.push("x.pt");
    for args in [
        &["adapt", "--target", "sketch", "--generator", "x.pt"][..],
        &["generate", "--generator", "x.pt"],
        &["adapt", "--target", "sketch", "--clip", "x.pt"],
        &["score", "x.png", "--text", "a", "--clip", "x.pt"],
    ] {
        refused(folder, args, code, &words);
    }
}

#[track_caller]
fn refused_adapt(args: &[&str], code: i32, words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &[&["adapt"], args].concat(), code, words)
}

/// Every option that names a file, with a pipe that nobody writes to, and with a device: both are refused at once.
#[cfg(unix)]
#[test]
fn a_pipe_or_a_device_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = crate::adapt_run::finished();
    let run = run.to_str().unwrap();
    std::fs::create_dir(folder.path().join("pictures")).unwrap();
    for name in ["pipe", "pictures/pipe.png", "pictures/pipe.png.jpg"] {
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status();
        assert!(made.unwrap().success());
    }
    let photo = golden_path("photos", "plain.jpg").display().to_string();
    for file in ["pipe", "/dev/zero"] {
        for args in [
            &["score", file, "--text", "a"][..],
            &["invert", file, "--out", "o"],
            &["invert", &photo, "--landmarks", file, "--out", "o"],
            &["invert", &photo, "--encoder", file, "--out", "o"],
            &["translate", file, "--domains", "faces128", "--out", "p"],
            &["adapt", "--target", "sketch", "--config", file],
            &["adapt", "--target", "sketch", "--generator", file],
            &["adapt", "--target", "sketch", "--clip", file],
            &["mapper", "--target", "sketch", "--config", file],
            &["evaluate", run, "--phrases", file],
            &["generate", "--latents", file],
            &["generate", "--mapper", file],
            &["edit", "apply", "--edit", &format!("{file}=1")],
            &["inspect", file],
            &["convert", file, "x.safetensors"],
        ] {
            let words = ["is a pipe or a device", "not a regular file"];
            let ran = hurried(folder.path(), args);
            assert!(matches!(ran.code, 1 | 2), "{args:?}: {}", ran.stderr);
            assert!(words.iter().any(|word| ran.stderr.contains(word)), "{args:?}: {}", ran.stderr);
        }
    }
    for args in [
        &["adapt", "--target-images", "pictures"][..],
        &["evaluate", run, "--reference", "pictures"],
        &["invert", "pictures", "--out", "o"],
    ] {
        let ran = hurried(folder.path(), args);
        assert!(ran.code == 1 || ran.code == 2, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("pipe.png"), "{args:?}: {}", ran.stderr);
    }
}

/// Runs a command that must end by itself soon.
#[cfg(unix)]
fn hurried(folder: &Path, args: &[&str]) -> Ran {
    let mut child = crate::command::command(folder, args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (id, ended) = (child.id().to_string(), std::sync::mpsc::channel());
    let watch = std::thread::spawn(move || {
        if ended.1.recv_timeout(std::time::Duration::from_secs(120)).is_err() {
            let _ = std::process::Command::new("kill").args(["-9", &id]).status();
        }
    });
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr).unwrap();
    let code = child.wait().unwrap().code();
    let _ = ended.0.send(());
    watch.join().unwrap();
    Ran {
        code: code.unwrap_or_else(|| panic!("{args:?} waited: {stderr}")),
        stdout: String::new(),
        stderr,
    }
}

#[test]
fn a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    refused_everywhere(folder.path(), WRONG, &["there is no such file", "hint: "]);
    refused(folder.path(), &["inspect", "x.pt"], WRONG, &["x.pt", "No such file", "hint: "]);
    refused(folder.path(), &["score", "x.png", "--text", "a"], WRONG, &["x.png", "No such file"]);
    refused(folder.path(), &["generate", "--latents", "z.npy"], WRONG, &["z.npy", "No such file"]);
    let words = ["mine.yaml", "No such file"];
    refused(folder.path(), &["adapt", "--config", "mine.yaml"], WRONG, &words);
    refused(folder.path(), &["adapt", "--resume", "runs/x"], WRONG, &["`runs/x` is no run"]);
}

#[test]
fn a_folder_in_the_place_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("x.pt")).unwrap();
    refused_everywhere(folder.path(), WRONG, &["is a folder", "hint: "]);
    refused(folder.path(), &["inspect", "x.pt"], WRONG, &["holds no `config.yaml`"]);
    refused(folder.path(), &["score", ".", "--text", "a"], FAILED, &["a folder, not an image"]);
    refused(folder.path(), &["generate", "--latents", "x.pt"], FAILED, &["is a folder"]);
}

#[test]
fn a_file_that_is_cut_off() {
    let whole = std::fs::read(shipped("faces128")).unwrap();
    let folder = with_file(&whole[..whole.len() / 2]);
    refused_everywhere(
        folder.path(),
        FAILED,
        &["fewer or more bytes than its header describes", "fetch it again"],
    );
    // It tells what is left, too.
    nada(folder.path(), &["inspect", "x.pt"]).refused(FAILED, &["fewer or more bytes"]);
    let zip = std::fs::read(golden_path("generator32", "generator.pt")).unwrap();
    let folder = with_file(&zip[..zip.len() / 2]);
    refused_everywhere(folder.path(), FAILED, &["hint: "]);
}

#[test]
fn a_file_of_zeros_an_empty_one_and_a_random_one() {
    refused_everywhere(with_file(&[0; 100_000]).path(), FAILED, &["nothing but zeros"]);
    refused_everywhere(with_file(&[]).path(), FAILED, &["is empty"]);
    let mut random = vec![0u8; 100_000];
    Tensor::randint(256, [100_000], (Kind::Uint8, Device::Cpu)).copy_data_u8(&mut random, 100_000);
    random[0] = 0xfe;
    random[8] = b'x';
    refused_everywhere(with_file(&random).path(), FAILED, &["no known format", "fe "]);
    let folder = with_file(&[0; 1000]);
    refused(folder.path(), &["inspect", "x.pt"], FAILED, &["nothing but zeros"]);
}

#[test]
fn a_safetensors_header_that_claims_2_to_the_60_bytes() {
    let mut bytes = (1u64 << 60).to_le_bytes().to_vec();
    bytes.extend(b"{\"a\":{}}");
    let folder = with_file(&bytes);
    refused_everywhere(folder.path(), FAILED, &["claims 1152921504606846976 bytes", "16 in all"]);
    refused(folder.path(), &["inspect", "x.pt"], FAILED, &["claims"]);
}

#[test]
fn a_pt_file_that_holds_another_network() {
    let clip = golden_path("clip_vit", "model.pt").display().to_string();
    let generator = golden_path("generator32", "generator.pt").display().to_string();
    let words = ["holds a CLIP network", "expected a StyleGAN2 generator", "hint: "];
    refused_adapt(&["--target", "a", "--generator", &clip], FAILED, &words);
    let words = ["holds a StyleGAN2 generator", "expected a CLIP network", "hint: "];
    refused_adapt(&["--target", "a", "--clip", &generator], FAILED, &words);
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["generate", "--generator", &clip], FAILED, &["holds a CLIP network"]);
}

#[test]
fn a_discriminator_in_the_place_of_a_generator() {
    let file = golden_path("discriminator32", "discriminator.pt").display().to_string();
    let words = ["holds a StyleGAN2 discriminator", "expected a StyleGAN2 generator"];
    refused_adapt(&["--target", "a", "--generator", &file], FAILED, &words);
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["generate", "--generator", &file], FAILED, &words);
    // To look at it is no mistake.
    let shown = nada(folder.path(), &["inspect", &file]).done().stdout;
    assert!(shown.contains("a StyleGAN2 discriminator"), "{shown}");
}

#[test]
fn a_clip_whose_towers_end_in_different_widths() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = golden("clip_vit", "model.safetensors");
    let projection = tensors["text_projection"].size();
    let wider = [projection[0], projection[1] + 8];
    tensors.insert("text_projection".into(), Tensor::zeros(wider, (Kind::Float, Device::Cpu)));
    save(&folder.path().join("x.pt"), &tensors);
    for args in [
        &["adapt", "--target", "a", "--clip", "x.pt"][..],
        &["score", "x.png", "--text", "a", "--clip", "x.pt"],
    ] {
        refused(folder.path(), args, FAILED, &["x.pt", "towers end in different widths"]);
    }
    let shown = nada(folder.path(), &["inspect", "x.pt"]).done().stdout;
    assert!(shown.contains("problems") && shown.contains("different widths"), "{shown}");
}

#[test]
fn shapes_that_disagree_are_all_listed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = golden("generator32", "generator.safetensors");
    let flat = |n: i64| Tensor::zeros([n], (Kind::Float, Device::Cpu));
    let names = ["convs.1.activate.bias", "to_rgbs.1.bias", "convs.2.conv.modulation.bias"];
    for (i, name) in names.into_iter().enumerate() {
        assert!(tensors.insert(name.into(), flat(99 + i as i64)).is_some());
    }
    assert!(tensors.remove("style.2.bias").is_some());
    save(&folder.path().join("x.pt"), &tensors);
    let words = [&names[..], &["style.2.bias", "[99]", "[100]", "[101]", "x.pt"]].concat();
    refused(folder.path(), &["adapt", "--target", "a", "--generator", "x.pt"], FAILED, &words);
    refused(folder.path(), &["generate", "--generator", "x.pt"], FAILED, &words);
    let shown = nada(folder.path(), &["inspect", "x.pt"]).done().stdout;
    for name in names {
        assert!(shown.contains(name), "{shown}");
    }
}

#[test]
fn phrases_that_are_empty_equal_or_too_long() {
    refused_adapt(&[], WRONG, &["`target` is empty", "--target"]);
    refused_adapt(
        &["--source", " ", "--target", ""],
        WRONG,
        &["`source` is empty", "`target` is empty"],
    );
    refused_adapt(&["--target", "Photo"], WRONG, &["no direction between equal phrases"]);
    let long = "very ".repeat(90) + "long";
    refused_adapt(&["--target", &long], WRONG, &["very very", "tokens", "hint: "]);
    let folder = tempfile::tempdir().unwrap();
    let image = golden_path("nada", "target0.png").display().to_string();
    refused(folder.path(), &["score", &image, "--text", &long], WRONG, &["very very", "tokens"]);
    refused(folder.path(), &["score", &image, "--text", " "], WRONG, &["a phrase is empty"]);
    refused(folder.path(), &["score", &image], WRONG, &["--text"]);
}

#[test]
fn a_preset_a_model_or_a_key_that_does_not_exist() {
    refused_adapt(
        &["--target", "a", "--preset", "defualt"],
        WRONG,
        &["no preset `defualt`", "did you mean `default`?"],
    );
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["presets", "in-domian"], WRONG, &["did you mean `in-domain`?"]);
    refused_adapt(
        &["--target", "a", "--generator", "face128"],
        WRONG,
        &["did you mean `faces128`?"],
    );
    refused_adapt(&["--target", "a", "--clip", "clip-rn-c"], WRONG, &["did you mean `clip-rn`"]);
    refused_adapt(
        &["--target", "a", "--clip", "ViT-B/32"],
        WRONG,
        &["no-models/ViT-B-32.pt", "--models-dir"],
    );
    refused_adapt(
        &["--target", "a", "--clip", "clip-rn=much"],
        WRONG,
        &["the weight `much` is no number"],
    );
    refused_adapt(
        &["--target", "a", "--set", "train.itertions=3"],
        WRONG,
        &["unknown field `itertions`", "did you mean `iterations`?"],
    );
    refused_adapt(&["--target", "a", "--set", "ema"], WRONG, &["has no `=`"]);
    refused_adapt(&["--target", "a", "--layers", "adaptiv"], WRONG, &["did you mean `adaptive`?"]);
    refused_adapt(&["--target", "a", "--layers", "convs.99"], WRONG, &["no layer `convs.99`"]);
    std::fs::write(folder.path().join("mine.yaml"), "target: a\ntrain:\n  itertions: 3\n").unwrap();
    refused(
        folder.path(),
        &["adapt", "--config", "mine.yaml"],
        WRONG,
        &[
            "mine.yaml",
            "unknown field `itertions`",
            "line 3 column 3",
            "did you mean `iterations`?",
        ],
    );
    std::fs::write(folder.path().join("mine.yaml"), "train: {lr: fast}\n").unwrap();
    refused(folder.path(), &["adapt", "--config", "mine.yaml"], WRONG, &["mine.yaml", "line 1"]);
    refused(folder.path(), &["generate", "--nose", "none"], WRONG, &["--noise"]);
}

#[test]
fn numbers_out_of_range_are_all_listed() {
    refused_adapt(
        &["--target", "a", "--lr", "-1", "--batch", "0", "--iterations", "0"],
        WRONG,
        &["`train.lr` is -1", "`train.batch` is 0", "`train.iterations`"],
    );
    refused_adapt(
        &["--target", "a", "--layers", "adaptive", "--k", "0"],
        WRONG,
        &["`layers.k` must be at least 1"],
    );
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["generate", "--count", "0"], WRONG, &["--count"]);
    refused(folder.path(), &["generate", "--truncation", "nan"], WRONG, &["--truncation"]);
    refused(
        folder.path(),
        &["generate", "--count", "100000"],
        WRONG,
        &["too many for one picture", "--out"],
    );
}

#[test]
fn an_output_that_is_occupied_or_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("full")).unwrap();
    for file in ["full/thesis.tex", "a.png", "a.safetensors"] {
        std::fs::write(at(file), "mine").unwrap();
    }
    let run = |args: &[&str], code: i32, words: &[&str]| {
        refused(folder.path(), args, code, words);
    };
    run(&["adapt", "--target", "a", "--out", "full"], WRONG, &["not empty", "thesis.tex"]);
    run(&["adapt", "--target", "a", "--out", "a.png/run"], WRONG, &["`a.png` is a file"]);
    run(
        &["adapt", "--target", "a", "--out", "/proc/nada"],
        FAILED,
        &["cannot create `/proc/nada`"],
    );
    run(&["generate", "--out", "a.png"], WRONG, &["`a.png` exists already", "--force"]);
    run(&["generate", "--out", "full"], WRONG, &["not empty", "thesis.tex", "--force"]);
    run(&["generate", "--raw", "a.safetensors"], WRONG, &["exists already"]);
    run(&["generate", "--out", "a.png/b.png"], WRONG, &["`a.png` is a file"]);
    run(&["generate", "--out", "a.jpg"], WRONG, &["written as PNG"]);
    run(
        &["generate", "--count", "1", "--out", "/proc/nada/a.png"],
        FAILED,
        &["cannot create `/proc/nada`"],
    );
    run(&["generate", "--count", "1", "--out", "/proc/a.png"], FAILED, &["/proc/a.png"]);
    for file in ["full/thesis.tex", "a.png", "a.safetensors"] {
        assert_eq!(std::fs::read_to_string(at(file)).unwrap(), "mine");
    }
}

#[test]
fn a_device_that_is_not_there() {
    if tch::Cuda::is_available() {
        return;
    }
    let words = ["device `cuda` is not available", "--device cpu"];
    refused_adapt(&["--target", "a", "--device", "cuda"], WRONG, &words);
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["generate", "--device", "cuda"], WRONG, &words);
    refused(folder.path(), &["score", "x.png", "--text", "a", "--device", "cuda"], WRONG, &words);
    refused(folder.path(), &["generate", "--device", "gpu"], WRONG, &["`gpu` is no device"]);
}

#[test]
fn latents_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.safetensors");
    let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
    let run = |tensors: &[(&str, Tensor)], more: &[&str], code: i32, words: &[&str]| {
        let tensors = tensors.iter().map(|(n, t)| ((*n).to_owned(), t.shallow_clone())).collect();
        save(&file, &tensors);
        let args = [&["generate", "--latents", "x.safetensors"], more].concat();
        refused(folder.path(), &args, code, words);
    };
    let forms = ["z [N, 128], w [N, 128] or w+ [N, 12, 128]", "nada inspect"];
    run(&[("z", ones(&[2, 100]))], &[], WRONG, &[&["has shape [2, 100]"], &forms[..]].concat());
    run(&[("x", ones(&[2, 10, 128]))], &[], WRONG, &forms);
    run(&[("x", ones(&[2, 128]))], &["--latent-kind", "w+"], WRONG, &forms);
    run(&[("x", ones(&[0, 128]))], &[], WRONG, &["empty"]);
    run(&[("x", ones(&[2, 128]).to_kind(Kind::Int64))], &[], FAILED, &["Int64", "floating point"]);
    run(&[("x", ones(&[2, 128])), ("y", ones(&[2, 128]))], &[], FAILED, &["2 tensors", "`x`, `y`"]);
    let broken = ones(&[2, 128]);
    let _ = broken.get(1).narrow(0, 5, 2).fill_(f64::NAN);
    run(&[("z", broken)], &[], FAILED, &["2 of the 256 numbers", "NaN"]);
    run(&[("z", ones(&[2, 128]))], &["--latent-kind", "q"], WRONG, &["possible values: z, w, w+"]);
    run(&[("z", ones(&[2, 128]))], &["--count", "3"], WRONG, &["--count"]);
}

#[test]
fn an_image_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(golden_path("nada", "target0.png")).unwrap();
    for (name, bytes, words) in [
        ("a.png", &b"hello"[..], "not an image"),
        ("b.png", &whole[..whole.len() / 2], "corrupt Png"),
        ("c.png", b"", "empty"),
    ] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        refused(folder.path(), &["score", name, "--text", "a"], FAILED, &[name, words]);
    }
    let args = ["adapt", "--target-images", "."];
    refused(folder.path(), &args, FAILED, &["a.png", "not an image"]);
    std::fs::create_dir(folder.path().join("none")).unwrap();
    refused(folder.path(), &["adapt", "--target-images", "none"], WRONG, &["holds no images"]);
}

#[test]
fn flags_that_a_resumed_run_cannot_take_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for flag in [&["--seed", "3"][..], &["--lr", "1"], &["--dry-run"], &["--set", "a=1"]] {
        let args = [&["adapt", "--resume", "x"], flag].concat();
        refused(folder.path(), &args, WRONG, &["cannot be used with", flag[0]]);
    }
}

#[test]
fn a_learning_rate_that_breaks_everything() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["adapt", "--target", "sketch", "--lr", "1e30", "--iterations", "4", "--batch", "2"];
    let more = ["--set", "augment.copies=1", "--out", "run", "--snapshot-every", "1"];
    let ran = nada(folder.path(), &[&args[..], &more].concat());
    let ran = ran.refused(FAILED, &["the training diverged at step", "hint: try a smaller `--lr`"]);
    assert_eq!(ran.stdout, "");
    let left = listing(&folder.path().join("run"));
    for file in &left {
        let name = file.display().to_string();
        assert!(!name.ends_with(".safetensors") && !name.ends_with(".part"), "{left:?}");
    }
}

fn save(path: &Path, tensors: &TensorMap) {
    save_safetensors(path, tensors, &Default::default(), None).unwrap();
}
