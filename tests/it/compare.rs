//! `nada compare` on short adaptations of the shipped models: what the sheet shows, and what is refused.

use crate::command::{Ran, listing, nada};
use image::{Rgb, RgbImage};
use nada::imaging::grid::{Grid, Labels};
use nada::imaging::load::{flatten, open_image};
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

/// Two runs of one start, and one that began with the first of them. No test changes them.
fn folder() -> &'static TempDir {
    static RUNS: OnceLock<TempDir> = OnceLock::new();
    RUNS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let adapt = |out: &str, target: &str, more: &[&str]| {
            let few = ["--batch", "2", "--set", "augment.copies=1", "--set", "output.samples=1"];
            let place = ["--threads", "1", "--device", "cpu", "--quiet", "--out", out];
            let args = [&["adapt", "--target", target], more, &few[..], &place].concat();
            nada(folder.path(), &args).done();
        };
        adapt("one", "sketch", &["--iterations", "2"]);
        adapt("two", "zombie", &["--iterations", "1"]);
        adapt("other", "clown", &["--iterations", "1", "--generator", "one"]);
        folder
    })
}

fn compare(args: &[&str]) -> Ran {
    let place = ["--threads", "1", "--device", "cpu"];
    nada(folder().path(), &[&["compare"], args, &place].concat())
}

fn sheet(name: &str) -> RgbImage {
    flatten(&open_image(folder().path().join(name)).unwrap())
}

/// Cells of `side` pixels, found by their hairlines: the rows' first lines, and how many cells the first row has.
fn cells(picture: &RgbImage, side: u32) -> (Vec<u32>, u32) {
    let hairline = Rgb([228, 231, 235]);
    let (w, h) = picture.dimensions();
    let x = w - 20 - side / 2;
    let line = |y: u32| (x..x + side / 4).all(|x| *picture.get_pixel(x, y) == hairline);
    let rows: Vec<u32> =
        (1..h).filter(|&y| y + side + 1 < h && line(y - 1) && line(y + side)).collect();
    let y = rows[0] + side / 2;
    let upright = |x: u32| (y..y + side / 4).all(|y| *picture.get_pixel(x, y) == hairline);
    let columns = (1..w).filter(|&x| x + side < w && upright(x - 1) && upright(x + side));
    (rows, columns.count() as u32)
}

/// Cell `column` of the row that begins at `y`, counted from the right.
fn cell(picture: &RgbImage, y: u32, from_right: u32, side: u32) -> Vec<u8> {
    let x = picture.width() - 20 - (from_right + 1) * side - from_right * 4;
    image::imageops::crop_imm(picture, x, y, side, side).to_image().into_raw()
}

#[test]
fn a_sheet_has_the_source_above_and_a_row_per_run() {
    let ran = compare(&["one", "two", "--count", "6", "--out", "new/a.png"]).done();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("new/a.png\n", ""));
    let picture = sheet("new/a.png");
    // Six columns of 128 px images are shown as they are.
    let (rows, columns) = cells(&picture, 128);
    assert_eq!((rows.len(), columns), (3, 6));
    assert_eq!(picture.width(), 6 * 128 + 5 * 4 + 2 * 20 + caption(&picture, rows[0]));
    let [source, one, two] = [0, 1, 2].map(|i| cell(&picture, rows[i], 0, 128));
    assert!(source != one && one != two && source != two);
    // The same faces: of all sources, the one above is nearest, in every column.
    let distance = |a: &[u8], b: &[u8]| -> u64 {
        a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    let [sources, adapted] =
        [0, 1].map(|row| [0, 1, 2, 3, 4, 5].map(|i| cell(&picture, rows[row], i, 128)));
    for (column, face) in adapted.iter().enumerate() {
        let nearest = (0..6).min_by_key(|&i| distance(&sources[i], face));
        assert_eq!(nearest, Some(column));
    }
    assert_eq!(listing(&folder().path().join("new")).len(), 1);
}

/// The width of the captions: what stands left of the first cell, without margins.
fn caption(picture: &RgbImage, y: u32) -> u32 {
    let hairline = Rgb([228, 231, 235]);
    let left = (0..picture.width()).find(|&x| *picture.get_pixel(x, y + 40) == hairline);
    left.unwrap() + 1 - 20
}

#[test]
fn the_images_are_those_of_generate_and_follow_the_seed() {
    // Three columns leave room for twice the size.
    let side = 256;
    compare(&["one", "--count", "3", "--seed", "5", "--truncation", "0.7", "--out", "s.png"])
        .done();
    compare(&["one", "--count", "3", "--seed", "6", "--truncation", "0.7", "--out", "t.png"])
        .done();
    let args = ["generate", "--generator", "one", "--beside", "--count", "3", "--seed", "5"];
    let place = ["--out", "g.png", "--threads", "1", "--device", "cpu"];
    nada(folder().path(), &[&args[..], &place].concat()).done();
    let (ours, other, theirs) = (sheet("s.png"), sheet("t.png"), sheet("g.png"));
    let rows = cells(&ours, side).0;
    let same = cells(&theirs, side).0;
    for i in 0..2 {
        assert!(cell(&ours, rows[i], 0, side) == cell(&theirs, same[i], 0, side), "row {i}");
        assert!(cell(&ours, rows[i], 0, side) != cell(&other, rows[i], 0, side));
    }
}

#[test]
fn columns_break_a_sheet_into_blocks_and_captions_make_room() {
    compare(&["one", "two", "--count", "4", "--columns", "2", "--out", "blocks.png"]).done();
    assert_eq!(cells(&sheet("blocks.png"), 384).0.len(), 6);
    let plain = ["one", "two", "--count", "6"];
    compare(&[&plain[..], &["--out", "plain.png"]].concat()).done();
    let labels = ["--label", "3d render in the style of an animation studio", "--label", "b"];
    let titled = ["--title", "photo → all", "--out", "labelled.png"];
    compare(&[&plain[..], &labels, &titled].concat()).done();
    let (plain, labelled) = (sheet("plain.png"), sheet("labelled.png"));
    assert_eq!(cells(&labelled, 128).0.len(), 3);
    assert!(labelled.width() > plain.width() && labelled.height() > plain.height());
    let bytes = std::fs::read(folder().path().join("labelled.png")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for words in ["photo → all", "one\ntwo", "Truncation"] {
        assert!(text.contains(words), "{words}");
    }
}

#[test]
fn figures_are_written_where_there_is_an_evaluation() {
    let copy = |from: &str, to: &str| {
        let (from, to) = (folder().path().join(from), folder().path().join(to));
        std::fs::create_dir(&to).unwrap();
        for file in ["config.yaml", "generator.safetensors"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
        to
    };
    let run = copy("one", "judged");
    let few = ["--samples", "4", "--phrases", "photo,sketch,clown", "--threads", "1", "-q"];
    nada(folder().path(), &[&["evaluate", "judged"], &few[..]].concat()).done();
    let args = ["judged", "two", "--count", "5", "--figures", "--out", "figures.png"];
    let ran = compare(&args).done();
    assert!(ran.stderr.contains("`nada evaluate two`"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("judged"), "{}", ran.stderr);
    compare(&["judged", "two", "--count", "5", "--out", "bare.png"]).done();
    let (figures, bare) = (sheet("figures.png"), sheet("bare.png"));
    let rows = cells(&figures, 128).0;
    let ink = |picture: &RgbImage, row: usize| {
        let y = cells(picture, 128).0[row];
        let part = image::imageops::crop_imm(picture, 20, y, 60, 128).to_image();
        part.pixels().filter(|p| p.0[0] < 160).count()
    };
    assert_eq!(rows.len(), 3);
    assert!(ink(&figures, 1) > 2 * ink(&bare, 1));
    assert_eq!(ink(&figures, 2), ink(&bare, 2));

    // Another result than the one that was looked at.
    let generator = "generator.safetensors";
    std::fs::copy(folder().path().join("two").join(generator), run.join(generator)).unwrap();
    let ran = compare(&[&args[..], &["--force"]].concat()).done();
    assert!(ran.stderr.contains("those of an earlier result"), "{}", ran.stderr);
    let json = run.join("evaluation/evaluation.json");
    for broken in ["{", "{}"] {
        std::fs::write(&json, broken).unwrap();
        let ran = compare(&[&args[..], &["--force"]].concat());
        ran.refused(1, &["evaluation.json`", "hint: make it again with `nada evaluate judged`"]);
    }
}

#[test]
fn other_starts_are_refused_unless_they_may_be_mixed() {
    let args = ["one", "two", "other", "--count", "6", "--out", "mixed.png"];
    let words = ["not begin with the same generator", "`one`", "`other`", "hint: ", "`--mixed`"];
    compare(&args).refused(2, &words);
    assert!(!folder().path().join("mixed.png").exists());
    compare(&[&args[..], &["--mixed"]].concat()).done();
    let picture = sheet("mixed.png");
    let rows = cells(&picture, 128).0;
    assert_eq!(rows.len(), 6);
    let last = |row: usize| cell(&picture, rows[row], 0, 128);
    // Two of the sources are one generator; the third is the first run's result.
    assert!(last(0) == last(2));
    assert!(last(4) == last(1));
}

#[test]
fn wrong_requests_are_refused_before_any_work() {
    let folder = folder();
    let at = |args: &[&str]| compare(&[args, &["--out", "never.png"]].concat());
    compare(&[]).refused(2, &["<RUN>..."]);
    at(&["nowhere"]).refused(2, &["`nowhere` is no run", "hint: "]);
    at(&["one/config.yaml"]).refused(2, &["is a file"]);
    let unfinished = folder.path().join("unfinished");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::copy(folder.path().join("one/config.yaml"), unfinished.join("config.yaml")).unwrap();
    at(&["one", "unfinished"]).refused(2, &["has not finished", "--resume unfinished"]);
    at(&["one", "two", "--label", "a"]).refused(2, &["1 label for 2 runs", "once for each run"]);
    at(&["one", "--truncation", "nan"]).refused(2, &["not a number"]);
    for wrong in ["--count=0", "--count=257", "--columns=0"] {
        at(&["one", wrong]).refused(2, &["is not in"]);
    }
    let many = vec!["one"; 70];
    at(&[&many[..], &["--count", "256"]].concat()).refused(2, &["too many for one picture"]);
    assert!(!folder.path().join("never.png").exists());
    compare(&["one", "--out", "sheet.jpg"]).refused(2, &["is written as PNG", "end it in `.png`"]);
    compare(&["one", "--out", "one"]).refused(2, &["is written as PNG"]);
    std::fs::write(folder.path().join("mine.png"), "mine").unwrap();
    compare(&["one", "--out", "mine.png"]).refused(2, &["exists already", "`--force`"]);
    compare(&["one", "--out", "mine.png/a.png"]).refused(2, &["is a file"]);
    compare(&["one", "--count", "1", "--out", "mine.png", "--force"]).done();
    assert!(sheet("mine.png").width() > 192);
}

#[test]
fn a_start_that_is_gone_is_named() {
    let folder = folder();
    let lost = folder.path().join("lost");
    std::fs::create_dir(&lost).unwrap();
    std::fs::copy(
        folder.path().join("one/generator.safetensors"),
        lost.join("generator.safetensors"),
    )
    .unwrap();
    let text = std::fs::read_to_string(folder.path().join("other/config.yaml")).unwrap();
    let gone = text.replace(&start(folder.path()), "/gone");
    assert!(gone.contains("/gone/generator.safetensors"));
    std::fs::write(lost.join("config.yaml"), gone).unwrap();
    let words = ["`lost` began with `/gone/generator.safetensors`", "not there any more"];
    compare(&["lost", "--out", "lost.png"]).refused(2, &words);
}

/// The folder that the third run began with, as its record has it.
fn start(folder: &Path) -> String {
    folder.canonicalize().unwrap().join("one").display().to_string()
}

#[test]
fn a_column_of_captions_holds_long_phrases_and_notes() {
    let red = || vec![RgbImage::from_pixel(128, 128, Rgb([255, 0, 0])); 4];
    let has_red = |p: &RgbImage| p.pixels().filter(|p| p.0 == [255, 0, 0]).count();
    let draw = |label: &str, notes: usize| {
        let notes = vec!["direction 0.42".to_owned(); notes];
        let grid = Grid::new().labels(Labels::Column).row("photo", red());
        grid.noted_row(label, notes, red()).render().unwrap()
    };
    let short = draw("sketch", 0);
    assert_eq!(short.height(), 2 * 128 + 4 + 40);
    let noted = draw("sketch", 4);
    assert_eq!(noted.height(), short.height());
    assert!(noted.width() > short.width());
    // Wider before it is higher.
    let phrase = draw("3d render in the style of an animation studio", 4);
    assert_eq!(phrase.height(), short.height());
    assert!(phrase.width() > noted.width());
    let long = "a photograph of a person in the natural light of a late summer day, seen from afar";
    let high = draw(long, 6);
    assert!(high.height() > short.height());
    assert_eq!(has_red(&high), 2 * 4 * 128 * 128);
    // A block has more room above.
    let block = Grid::new().row("", red()).row("", red()).apart().render().unwrap();
    assert_eq!(block.height(), 2 * 128 + 28 + 40);
}
