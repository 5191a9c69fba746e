//! What the benchmarks share: a clock, the rate of this machine, arithmetic by formula, peak memory.

// Each benchmark takes what it needs.
#![allow(dead_code)]

use nada::clip::config::{TextConfig, VitConfig};
use nada::clip::{self, Clip, VisionConfig};
use nada::stylegan2::{self, LayerId};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

pub(crate) const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Multiplications and additions of one image through the synthesis network, forward, in 10^9: convolutions, and
/// the depthwise low-pass filters. Elementwise work counts nothing.
pub(crate) fn generator_gflop(config: &stylegan2::Config) -> f64 {
    let flop = |layer: &LayerId| {
        let (i, o) = config.layer_channels(*layer)?;
        let side = |block: usize| config.block_resolution(block);
        let area = |side: i64| (side * side) as f64;
        let (i, o) = (i as f64, o as f64);
        Some(match *layer {
            LayerId::Conv1 => 18.0 * i * o * area(4),
            // A transposed convolution works on the small side, then 16 taps for each pixel of the large one.
            LayerId::Conv(n) if n % 2 == 0 => {
                18.0 * i * o * area(side(n / 2)) + 32.0 * o * area(side(n / 2 + 1))
            }
            LayerId::Conv(n) => 18.0 * i * o * area(side(n / 2 + 1)),
            LayerId::ToRgb1 => 2.0 * i * o * area(4),
            LayerId::ToRgb(b) => 2.0 * i * o * area(side(b + 1)) + 32.0 * o * area(side(b)),
            _ => 0.0,
        })
    };
    config.layers().iter().filter_map(flop).sum::<f64>() / 1e9
}

/// A convolution 3×3 of 256 channels at 64 px, forward and backward, as the step computes it; the best of all.
pub(crate) struct Probe {
    images: Tensor,
    weight: Tensor,
    pub(crate) best: f64,
}

impl Probe {
    pub(crate) fn new() -> Self {
        let images = Tensor::randn([2, 256, 64, 64], F32).set_requires_grad(true);
        let weight = Tensor::randn([256, 256, 3, 3], F32).set_requires_grad(true);
        Self { images, weight, best: 0.0 }
    }

    pub(crate) fn measure(&mut self, clock: Clock) {
        let gflop = 3.0 * 2.0 * 2.0 * 9.0 * (256.0 * 256.0) * (64.0 * 64.0) / 1e9;
        for _ in 0..12 {
            let start = clock.now();
            let y = self.images.conv2d::<Tensor>(&self.weight, None, [1, 1], [1, 1], [1, 1], 1);
            let grad = y.detach();
            let pull = (y * grad).sum(None);
            drop(Tensor::run_backward(&[pull], &[&self.images, &self.weight], false, false));
            self.best = self.best.max(gflop / (clock.now() - start));
        }
    }
}

/// Seconds of the wall, or of the CPU in all threads.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) cpu: bool,
}

impl Clock {
    pub(crate) fn now(self) -> f64 {
        static START: OnceLock<Instant> = OnceLock::new();
        if !self.cpu {
            return START.get_or_init(Instant::now).elapsed().as_secs_f64();
        }
        let used = |task: std::io::Result<std::fs::DirEntry>| -> Option<f64> {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        std::fs::read_dir("/proc/self/task").unwrap().filter_map(used).sum::<f64>() / 1e9
    }
}

pub(crate) fn own_peak_gib() -> f64 {
    peak_gib("/proc/self/status").unwrap_or(f64::NAN)
}

/// The largest resident memory so far; Linux only.
pub(crate) fn peak_gib(status: impl AsRef<Path>) -> Option<f64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / f64::from(1 << 20))
}

/// A CLIP in the shapes of ViT-B/32; its text tower, which no step needs, is tiny.
pub(crate) fn vit_b32() -> Clip {
    let config = clip::Config {
        embed_dim: 512,
        vision: VisionConfig::Vit(VitConfig {
            resolution: 224,
            patch: 32,
            width: 768,
            layers: 12,
            heads: 12,
        }),
        text: TextConfig { context: 77, vocab: 100, width: 64, layers: 1, heads: 1 },
        activation: Default::default(),
    };
    let random = |(name, shape): (String, Vec<i64>)| {
        let norm = name.contains("ln_") && name.ends_with("weight");
        let tensor = Tensor::randn(shape, F32) * 0.02;
        (name, if norm { tensor + 1.0 } else { tensor })
    };
    let tensors = config.shapes().into_iter().map(random).collect();
    Clip::new(config, tensors).unwrap()
}
