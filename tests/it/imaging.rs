//! Pictures: exact pixels where they carry numbers, properties where they carry looks.
#![allow(clippy::unwrap_used)] // a test may fail by panicking

use crate::common::{assert_close, golden_path};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use nada::imaging::grid::{Grid, Labels};
use nada::imaging::heatmap::{LayerStep, layer_map};
use nada::imaging::load::{flatten, image_files, open_image};
use nada::imaging::plot::{Series, Smoothing, line_plot};
use nada::imaging::{from_rgb8, save, to_rgb8};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

const RED: Rgb<u8> = Rgb([220, 20, 30]);
const BLUE: Rgb<u8> = Rgb([20, 30, 220]);
const WHITE: Rgb<u8> = Rgb([255, 255, 255]);

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture.clone()).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// What is read.
const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Gif,
    ImageFormat::Tiff,
    ImageFormat::Bmp,
];

/// 48 × 32, left half red, right half blue.
fn halves() -> RgbImage {
    RgbImage::from_fn(48, 32, |x, _| if x < 24 { RED } else { BLUE })
}

fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn refusal(path: impl AsRef<Path>) -> String {
    let message = open_image(path.as_ref()).unwrap_err().to_string();
    let name = path.as_ref().file_name().unwrap().to_string_lossy().into_owned();
    assert!(message.contains(&name), "{message} does not name the file");
    message
}

/// Pixels of `area` (x, y, width, height) that are not paper.
fn ink(picture: &RgbImage, (x, y, w, h): (u32, u32, u32, u32)) -> usize {
    image::imageops::crop_imm(picture, x, y, w, h)
        .to_image()
        .pixels()
        .filter(|p| **p != WHITE)
        .count()
}

fn has(picture: &RgbImage, colour: Rgb<u8>) -> usize {
    picture.pixels().filter(|p| **p == colour).count()
}

#[test]
fn values_are_clamped_and_rounded_half_up() {
    // -1 → 0, 1 → 255, 0 → 127.5, beyond → clamped, not a number → black
    let values = [-1.0f32, 1.0, 0.0, -7.0, 7.0, f32::NAN, f32::INFINITY, -1.0 + 2.0 * 0.4 / 255.0];
    let image = Tensor::from_slice(&values).view([1, 1, 2, 4]).expand([2, 3, 2, 4], true);
    for kind in [Kind::Float, Kind::Double] {
        let pictures = to_rgb8(&image.to_kind(kind)).unwrap();
        assert_eq!(pictures.len(), 2);
        let row: Vec<u8> = pictures[1].pixels().map(|p| p.0[2]).collect();
        assert_eq!(row, [0, 255, 128, 0, 255, 0, 255, 0]);
        assert_eq!(pictures[0].dimensions(), (4, 2));
    }
}

#[test]
fn channels_rows_and_columns_keep_their_places() {
    let tensor = from_rgb8(&halves());
    assert_eq!(tensor.size(), [1, 3, 32, 48]);
    assert_eq!(tensor.kind(), Kind::Float);
    let red = Tensor::from_slice(&[220f32, 20.0, 30.0]) / 127.5 - 1.0;
    let corner = tensor.slice(2, 31, 32, 1).slice(3, 0, 1, 1).view([3]);
    assert_close("the lower left pixel", &corner, &red, 0.0, 1e-6);
}

#[test]
fn every_byte_survives_the_round_trip() {
    let all = RgbImage::from_fn(16, 16, |x, y| {
        let v = (y * 16 + x) as u8;
        Rgb([v, 255 - v, v.rotate_left(4)])
    });
    assert_eq!(to_rgb8(&from_rgb8(&all)).unwrap(), [all]);
}

#[test]
fn a_wrong_shape_is_an_error_with_the_shape() {
    let e = to_rgb8(&Tensor::zeros([2, 5, 8, 8], (Kind::Float, Device::Cpu))).unwrap_err();
    assert!(e.to_string().contains("[2, 5, 8, 8]"), "{e}");
}

#[test]
fn formats_are_known_by_content_not_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let path = file(&dir, "photo.png", &encoded(&halves(), format));
        let picture = flatten(&open_image(&path).unwrap());
        assert_eq!(picture.dimensions(), (48, 32));
        let p = picture.get_pixel(4, 16).0.map(i32::from);
        let off = (0..3).map(|i| (p[i] - i32::from(RED.0[i])).abs()).max().unwrap();
        assert!(off <= 8, "{format:?}: {p:?}");
    }
}

#[test]
fn a_photo_is_turned_upright() {
    let plain = encoded(&halves(), ImageFormat::Jpeg);
    // An Exif segment with one entry: orientation (0x0112) = 6, "turn right by 90°".
    let mut exif =
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let mut turned = vec![0xff, 0xd8, 0xff, 0xe1, 0, exif.len() as u8 + 2];
    turned.append(&mut exif);
    turned.extend_from_slice(&plain[2..]);
    let dir = tempfile::tempdir().unwrap();
    let picture = flatten(&open_image(file(&dir, "turned.jpg", &turned)).unwrap());
    assert_eq!(picture.dimensions(), (32, 48));
    // What was left is now at the top.
    assert!(picture.get_pixel(16, 4).0[0] > 180 && picture.get_pixel(16, 44).0[2] > 180);
}

#[test]
fn what_is_transparent_shows_white() {
    let rgba = image::RgbaImage::from_fn(2, 1, |x, _| {
        image::Rgba([0, 0, 0, if x == 0 { 0 } else { 255 }])
    });
    let flat = flatten(&DynamicImage::ImageRgba8(rgba));
    assert_eq!((flat.get_pixel(0, 0).0, flat.get_pixel(1, 0).0), (WHITE.0, [0, 0, 0]));
}

#[test]
fn tiff_and_bmp_are_read_as_other_programs_write_them() {
    let of = |name: &str| open_image(golden_path("photos/formats", name));
    let want = flatten(&of("plain.png").unwrap());
    let far = |picture: &RgbImage, want: &RgbImage| {
        assert_eq!(picture.dimensions(), want.dimensions());
        picture.as_raw().iter().zip(want.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    for name in [
        "raw.tif",
        "tiff_lzw.tif",
        "tiff_adobe_deflate.tif",
        "packbits.tif",
        "turned.tif",
        "plain.bmp",
    ] {
        assert_eq!(far(&flatten(&of(name).unwrap()), &want), 0, "{name}");
    }
    assert!(far(&flatten(&of("jpeg.tif").unwrap()), &want) < 60);
    assert!(far(&flatten(&of("palette.bmp").unwrap()), &want) < 80);
    // Pillow's grey, after Rec. 601.
    let grey: Vec<u8> = want
        .pixels()
        .map(|p| {
            ((299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2])) / 1000) as u8
        })
        .collect();
    for name in ["grey.tif", "sixteen.tif"] {
        let found = of(name).unwrap().to_luma8();
        let far = found.as_raw().iter().zip(&grey).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far <= Some(2), "{name}: {far:?}");
    }
    // What is a TIFF, but not of a kind that is read, is not called damaged.
    let error = of("palette.tif").unwrap_err();
    assert!(error.to_string().contains("this kind of Tiff is not read"), "{error}");
    assert!(error.hint().unwrap().contains("as PNG"), "{error}");
}

#[test]
fn pictures_of_other_formats_are_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let told = |path: &Path| {
        let error = open_image(path).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        format!("{error} / {}", error.hint().unwrap())
    };
    let avif = told(&golden_path("photos/formats", "photo.avif"));
    assert!(avif.contains("AVIF images are not read") && avif.contains("avifdec"), "{avif}");
    let brands = |all: &str| {
        let length = (8 + all.len()) as u32;
        [&length.to_be_bytes()[..], b"ftyp", all.as_bytes(), &[0; 64]].concat()
    };
    let dng = b"II*\0\x08\0\0\0\x01\0\x12\xc6\x01\0\x04\0\0\0\x01\x04\0\0\0\0\0\0";
    let preview = b"MM\0*\0\0\0\x08\0\x01\0\xfe\0\x04\0\0\0\x01\0\0\0\x01\0\0\0\0";
    for (bytes, name, remedy) in [
        (brands("heic\0\0\0\0mif1heic"), "HEIC", "heif-convert"),
        // What an iPhone's and a Galaxy's photos begin with, and a HEIC that names the general brand first.
        (brands("heic\0\0\0\0mif1MiHBMiHEMiPrmiafheictmap"), "HEIC", "Most Compatible"),
        (brands("mif1\0\0\0\0mif1heicmiaf"), "HEIC", "sips"),
        (brands("mif1\0\0\0\0mif1avifmiaf"), "AVIF", "avifdec"),
        (brands("crx \0\0\0\x01crx isom"), "raw camera", "develop it"),
        (b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a".to_vec(), "JPEG XL", "djxl"),
        (b"\xff\x0a\0\0".to_vec(), "JPEG XL", "djxl"),
        (b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a".to_vec(), "JPEG 2000", "save it"),
        (b"8BPS\0\x01".to_vec(), "Photoshop", "export it"),
        (dng.to_vec(), "raw camera", "develop it"),
        (preview.to_vec(), "raw camera", "develop it"),
        (b"II*\0\x10\0\0\0CR\x02\0".to_vec(), "raw camera", "develop it"),
    ] {
        let said = told(&file(&dir, "photo.jpg", &bytes));
        assert!(said.contains(&format!("{name} images are not read")), "{said}");
        assert!(said.contains(remedy), "{said}");
    }
    // A film, and boxes that end too early, are no pictures.
    for bytes in
        [brands("isom\0\0\0\0mp42"), b"\0\0\0\x18ftyp".to_vec(), b"\xff\xff\xff\xffftyphe".to_vec()]
    {
        assert!(refusal(file(&dir, "film.jpg", &bytes)).contains("not an image"));
    }
    // In a folder they are pictures, and opening them tells what to do.
    file(&dir, "IMG_1.HEIC", &brands("heic\0\0\0\0mif1heic"));
    let listed = image_files(dir.path()).unwrap();
    assert!(listed.iter().any(|path| path.ends_with("IMG_1.HEIC")), "{listed:?}");
}

#[test]
fn files_that_are_no_sound_images_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let png = encoded(&halves(), ImageFormat::Png);
    assert!(refusal(file(&dir, "empty.png", b"")).contains("empty"));
    assert!(
        refusal(file(&dir, "text.png", b"hello, world, here is text")).contains("not an image")
    );
    assert!(refusal(file(&dir, "zeros.png", &[0; 4096])).contains("not an image"));
    assert!(refusal(file(&dir, "scan.png", b"II*\0\x08\0\0\0\0\0\0\0")).contains("Tiff"));
    assert!(
        refusal(file(&dir, "garbage.png", &[&png[..8], &[7; 500]].concat()))
            .contains("corrupt Png")
    );
    assert!(refusal(dir.path()).contains("a folder"));
    let missing = open_image(dir.path().join("missing.png")).unwrap_err();
    assert_eq!(missing.exit_code(), 2);
}

#[test]
fn cut_off_images_are_refused_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let noise = RgbImage::from_fn(64, 64, |x, y| {
        Rgb([(x * 37 + y * 91) as u8, (x * x + y) as u8, (y * y * 3 + x) as u8])
    });
    for format in FORMATS {
        let bytes = encoded(&noise, format);
        for share in [20, 50, 90] {
            let cut = &bytes[..bytes.len() * share / 100];
            let message = refusal(file(&dir, "cut", cut));
            assert!(message.contains("corrupt"), "{format:?} at {share} %: {message}");
        }
    }
}

#[test]
fn an_image_that_claims_to_be_huge_is_refused_before_it_takes_memory() {
    let dir = tempfile::tempdir().unwrap();
    for side in [30_000u32, 100_000] {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, side, side);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]).unwrap();
        drop(writer);
        let message = refusal(file(&dir, "bomb.png", &bytes));
        assert!(message.contains("too large"), "{message}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for format in FORMATS {
        let sound = encoded(&halves(), format);
        for _ in 0..150 {
            let mut bytes = sound.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            let _ = open_image(file(&dir, "damaged", &bytes));
        }
    }
}

#[test]
fn a_folder_is_listed_in_order_without_hidden_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.PNG", "a.jpeg", "c.webp", ".DS_Store", "Thumbs.db"] {
        file(&dir, name, b"x");
    }
    let found = image_files(dir.path()).unwrap();
    let names: Vec<_> = found.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.jpeg", "b.PNG", "c.webp"]);
}

#[test]
fn a_folder_with_other_things_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let empty = image_files(dir.path()).unwrap_err();
    assert_eq!(empty.exit_code(), 2, "{empty}");
    file(&dir, "a.png", b"x");
    let notes = file(&dir, "notes.txt", b"x");
    let e = image_files(dir.path()).unwrap_err();
    assert_eq!(e.to_string(), format!("`{}`: not an image", notes.display()));
    assert_eq!(e.hint().unwrap(), "remove it from the folder");
    std::fs::create_dir(dir.path().join("more.png")).unwrap();
    let e = image_files(dir.path()).unwrap_err().to_string();
    assert!(e.contains("`more.png`, `notes.txt`"), "{e}");
    assert_eq!(image_files(dir.path().join("nowhere")).unwrap_err().exit_code(), 2);
}

#[test]
fn a_saved_png_is_exact_and_says_where_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let text = [("Description", "photo → sketch"), ("Seed", "7")];
    save::png(&path, &halves(), &text).unwrap();
    save::png(&path, &halves(), &text).unwrap();
    assert_eq!(open_image(&path).unwrap().to_rgb8(), halves());
    let bytes = std::fs::read(&path).unwrap();
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
    let info = reader.info();
    let latin: Vec<_> = info
        .uncompressed_latin1_text
        .iter()
        .map(|c| (c.keyword.as_str(), c.text.as_str()))
        .collect();
    assert_eq!(latin, [("Software", "nada 0.1.0"), ("Seed", "7")]);
    assert_eq!(info.utf8_text[0].get_text().unwrap(), "photo → sketch");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_picture_that_cannot_be_written_is_an_error() {
    let nowhere = save::png("/nonexistent/folder/a.png", &halves(), &[]).unwrap_err();
    assert!(nowhere.to_string().contains("cannot write `/nonexistent/folder/a.png`"), "{nowhere}");
    assert!(save::png_bytes(&RgbImage::new(0, 3), &[]).is_err());
    assert!(save::png_bytes(&halves(), &[("", "no name")]).is_err());
    assert!(save::gif_bytes(&[], 100).is_err());
    assert!(save::gif_bytes(&[halves(), RgbImage::new(2, 2)], 100).is_err());
}

#[test]
fn an_animation_has_its_frames_and_its_pace() {
    use image::AnimationDecoder;
    let red = RgbImage::from_pixel(8, 8, RED);
    let bytes = save::gif_bytes(&[red, RgbImage::from_pixel(8, 8, BLUE)], 200).unwrap();
    let decoder = image::codecs::gif::GifDecoder::new(Cursor::new(bytes)).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1].delay().numer_denom_ms(), (200, 1));
    assert_eq!(frames[1].buffer().get_pixel(3, 3).0[..3], BLUE.0);
}

#[test]
fn a_grid_enlarges_small_images_and_keeps_their_colours() {
    let (red, blue) = (RgbImage::from_pixel(64, 64, RED), RgbImage::from_pixel(64, 64, BLUE));
    let picture = Grid::new()
        .title("photo → sketch")
        .row("photo", vec![red.clone(); 4])
        .row("sketch", vec![blue; 4])
        .footer("step 100 · seed 0")
        .render()
        .unwrap();
    // Four columns leave room for three times the size.
    assert_eq!(has(&picture, RED), 4 * 192 * 192);
    assert_eq!(has(&picture, BLUE), 4 * 192 * 192);
    let first = picture.enumerate_pixels().find(|(_, _, p)| **p == RED).unwrap();
    let (left, top) = (first.0, first.1);
    assert!(ink(&picture, (0, 0, picture.width(), top - 2)) > 200, "a title over the images");
    assert!(ink(&picture, (0, top, left - 2, 192)) > 50, "a label beside them");
    assert!(
        ink(&picture, (0, top + 2 * 192 + 8, picture.width(), 30)) > 100,
        "a footer under them"
    );
    // Eight columns are shown smaller, but never below 128.
    let eight = Grid::tiles(&vec![red; 8], 8).render().unwrap();
    assert_eq!(has(&eight, RED), 8 * 128 * 128);
}

#[test]
fn a_grid_without_text_has_no_text() {
    let red = RgbImage::from_pixel(256, 256, RED);
    let picture = Grid::tiles(&vec![red; 5], 3).render().unwrap();
    assert_eq!(picture.dimensions(), (3 * 256 + 2 * 4 + 40, 2 * 256 + 4 + 40));
    assert_eq!(ink(&picture, (0, 0, picture.width(), 19)), 0);
    assert_eq!(*picture.get_pixel(picture.width() - 60, picture.height() - 60), WHITE);
}

#[test]
fn labels_stand_beside_or_above_and_long_ones_move_above() {
    let red = || vec![RgbImage::from_pixel(128, 128, RED); 3];
    let left_edge =
        |g: Grid| g.render().unwrap().enumerate_pixels().find(|(_, _, p)| **p == RED).unwrap().0;
    assert!(left_edge(Grid::new().row("photo", red())) > 60);
    assert_eq!(left_edge(Grid::new().row("photo", red()).labels(Labels::Above)), 20);
    let long = "a photograph of a person in the natural light of a late summer day";
    assert_eq!(left_edge(Grid::new().row(long, red())), 20);
    assert!(left_edge(Grid::new().row(long, red()).labels(Labels::Left)) < 200);
}

#[test]
fn large_images_are_reduced_unless_their_own_size_is_asked_for() {
    let large = RgbImage::from_pixel(1024, 512, RED);
    let reduced = Grid::new().row("", vec![large.clone()]).render().unwrap();
    assert_eq!(has(&reduced, RED), 512 * 256);
    let native = Grid::new().row("", vec![large]).native_size().render().unwrap();
    assert_eq!(has(&native, RED), 1024 * 512);
    assert_eq!(Grid::new().title("nothing").render().unwrap_err().exit_code(), 2);
    assert_eq!(Grid::tiles(&[RgbImage::new(0, 0)], 1).render().unwrap_err().exit_code(), 2);
}

#[test]
fn curves_of_any_length_and_with_gaps_are_drawn() {
    let blue = Rgb([0, 114, 178]);
    let plot = |ys: &[f64]| {
        let points = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
        line_plot("loss", "step", &[Series { name: "total".into(), points }], Smoothing::Auto)
    };
    let swatch = has(&plot(&[]), blue);
    assert!(
        has(&plot(&[f64::NAN, f64::INFINITY, 1e300]), blue) == swatch,
        "nothing but the legend"
    );
    assert!(has(&plot(&[0.5]), blue) > swatch, "a dot");
    assert!(has(&plot(&[0.5; 3]), blue) > swatch + 500, "a level line");
    let long: Vec<f64> = (0..20_000)
        .map(|i| if i % 50 == 0 { f64::NAN } else { (f64::from(i) * 0.01).sin() })
        .collect();
    assert!(has(&plot(&long), blue) > swatch + 500);
    assert_eq!(plot(&[1.0, 2.0]), plot(&[1.0, 2.0]), "the same twice");
}

#[test]
fn a_rising_curve_rises_and_one_wild_value_does_not_flatten_it() {
    let blue = Rgb([0, 114, 178]);
    let mut points: Vec<(f64, f64)> = (0..200).map(|i| (f64::from(i), f64::from(i))).collect();
    points[100].1 = 1e6;
    let series = [Series { name: String::new(), points }];
    let picture = line_plot("", "step", &series, Smoothing::Auto);
    let height_at = |from: u32| {
        let ys: Vec<u32> = picture
            .enumerate_pixels()
            .filter(|(x, y, p)| (from..from + 20).contains(x) && *y > 80 && **p == blue)
            .map(|(_, y, _)| y)
            .collect();
        ys.iter().sum::<u32>() as f64 / ys.len() as f64
    };
    assert!(height_at(150) > height_at(800) + 100.0, "{} {}", height_at(150), height_at(800));
}

#[test]
fn many_curves_are_told_apart() {
    let series: Vec<Series> = (0..11)
        .map(|i| Series {
            name: format!("a loss with a long name {i}"),
            points: (0..50).map(|x| (f64::from(x), f64::from(i))).collect(),
        })
        .collect();
    let one = line_plot("t", "step", &series[..1], Smoothing::None);
    let all = line_plot("t", "step", &series, Smoothing::None);
    assert_eq!(one.width(), all.width());
    assert!(all.height() > one.height(), "the legend takes the lines it needs");
}

#[test]
fn the_map_shows_what_was_chosen_for_1_to_5000_steps() {
    let layers: Vec<String> = (0..4).map(|i| format!("convs.{i}")).collect();
    let always = Rgb([8, 64, 129]);
    for count in [1u64, 2, 7, 100, 641, 5000] {
        let steps: Vec<LayerStep> = (1..=count)
            .map(|step| LayerStep { step, chosen: vec![1, 99], scores: vec![] })
            .collect();
        let picture = layer_map("layers", &layers, &steps);
        assert!((480..1000).contains(&picture.width()), "{count}: {}", picture.width());
        let rows: Vec<u32> = picture
            .enumerate_pixels()
            .filter(|p| *p.2 == always && p.1 < 180)
            .map(|p| p.1)
            .collect();
        let (top, bottom) = (rows.iter().min().unwrap(), rows.iter().max().unwrap());
        assert_eq!(bottom - top, 20, "{count}: exactly one row is dark");
    }
}

#[test]
fn the_map_copes_with_nothing_and_with_odd_scores() {
    let layers = vec!["conv1".to_owned(), "convs.0".to_owned()];
    assert!(layer_map("t", &layers, &[]).width() >= 480);
    assert!(layer_map("t", &[], &[LayerStep::default()]).width() >= 480);
    let odd = LayerStep { step: 3, chosen: vec![0], scores: vec![f32::NAN, f32::INFINITY, -1.0] };
    let fair = LayerStep { step: 4, chosen: vec![1], scores: vec![0.1, 0.9] };
    let with = layer_map("t", &layers, &[odd.clone(), fair]);
    assert!(
        with.height() > layer_map("t", &layers, &[odd]).height(),
        "scores have a key of two lines"
    );
}
