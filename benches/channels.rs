//! `scripts/bench channels`: images a second of `nada edit prepare`, against one whole image at a time.
//!
//! StyleCLIP makes every image of its table from the first layer to the last, alone. `nada` makes them in batches, and
//! only from the layer on whose channel changes. Both ways are timed in turns on the same channels, spread evenly over
//! the generator, with the same CLIPs: once with the models that ship, once with 256 px, ViT-B/32 and random weights.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::exit, clippy::unwrap_used)]

mod measure;

use measure::{Clock, vit_b32};
use nada::clip::{Clip, Preprocess, Resize, normalise};
use nada::edit::channels::{
    ChannelView, Measurement, ResponseSettings, Statistics, channel_count, sampled_styles,
};
use nada::stylegan2::{self, Generator, Noise, StyleCodes};
use nada::torch::TensorMap;
use nada::{builtin, models};
use tch::{Device, Kind, Tensor};

/// Channels that are timed.
const CHANNELS: i64 = 12;
/// Images that each is tried on.
const IMAGES: i64 = 16;

fn main() {
    tch::set_num_threads(2);
    nada::torch::keep_freed_memory();
    println!("{CHANNELS} channels, {IMAGES} images to either side; images a second\n");
    println!(
        "{:<44} {:>9} {:>9} {:>7} {:>12}",
        "models", "one whole", "nada", "factor", "all, 100"
    );
    let files = builtin::resolve_generator(nada::config::GENERATOR).unwrap();
    let generator = models::open_generator(files, Kind::Float, Device::Cpu).unwrap().0;
    row("the models that ship, three CLIPs", &generator, || {
        let open = |name| {
            let path = builtin::resolve_clip(name, None).unwrap();
            models::open_clip(&path, Kind::Float, Device::Cpu).unwrap().0
        };
        ["clip-first-a", "clip-rn", "clip-vit"].map(open).into()
    });
    let shape = stylegan2::Config::standard(256, 2);
    let generator = Generator::random(shape, 0, Kind::Float, Device::Cpu).unwrap();
    row("256 px config-f, ViT-B/32", &generator, || vec![vit_b32()]);
}

/// One line of the table. Each way has CLIPs of its own.
fn row(name: &str, generator: &Generator, clips: impl Fn() -> Vec<Clip>) {
    let clock = Clock { cpu: false };
    let settings = ResponseSettings { images: IMAGES, ..ResponseSettings::default() };
    let statistics =
        Statistics::measure(generator, 2000, settings.truncation, settings.seed).unwrap();
    let views: Vec<ChannelView> = clips().into_iter().map(ChannelView::new).collect();
    let mut measurement = Measurement::new(generator, &statistics, &views, settings).unwrap();
    let alone = Alone::new(generator, clips());
    let channels = channel_count(generator.config());
    // From 128 px on a piece is one channel.
    let mut at = |channel: i64| {
        let mut state: TensorMap = measurement.state();
        state.insert("next".into(), Tensor::from_slice(&[channel]));
        measurement.restore(&state).unwrap();
        // The way to the layer is shared by all its channels: the clock starts after the first piece.
        let (mut pieces, mut begun, mut took) = (0, 0.0, 0.0);
        measurement
            .advance(|_| {
                let now = clock.now();
                match pieces {
                    0 => begun = now,
                    _ => took = now - begun,
                }
                pieces += 1;
                pieces < 2
            })
            .unwrap();
        took
    };
    let (mut nada, mut whole, mut timed) = (0.0, 0.0, 0);
    at(0);
    alone.image();
    for i in 0..CHANNELS {
        let took = at((2 * i + 1) * channels / (2 * CHANNELS));
        // The last channel of a layer has no second piece.
        if took > 0.0 {
            nada += took;
            timed += 2 * IMAGES;
        }
        let start = clock.now();
        (0..4).for_each(|_| alone.image());
        whole += clock.now() - start;
    }
    let (nada, whole) = (timed as f64 / nada, (4 * CHANNELS) as f64 / whole);
    let minutes = (2 * 100 * channels) as f64 / nada / 60.0;
    println!("{name:<44} {whole:>9.1} {nada:>9.1} {:>7.1} {minutes:>8.0} min", nada / whole);
}

/// One image from its first layer, and what the CLIPs see in it.
struct Alone {
    synthesis: stylegan2::Synthesis,
    codes: StyleCodes,
    clips: Vec<(Clip, Preprocess)>,
}

impl Alone {
    fn new(generator: &Generator, clips: Vec<Clip>) -> Self {
        let view = |clip: Clip| {
            let preprocess = Preprocess::new(clip.resolution(), Resize::Antialias);
            (clip.without_text(), preprocess)
        };
        Self {
            synthesis: generator.synthesis().fixed(),
            codes: sampled_styles(generator, 0, 1, 0.7, 0).unwrap(),
            clips: clips.into_iter().map(view).collect(),
        }
    }

    fn image(&self) {
        tch::no_grad(|| {
            let image = self.synthesis.forward_styles(&self.codes, Noise::Stored, None);
            for (clip, preprocess) in &self.clips {
                let features = normalise(&clip.encode_image(&preprocess.apply(&image)));
                assert!(features.isfinite().all().int64_value(&[]) != 0);
            }
        });
    }
}
