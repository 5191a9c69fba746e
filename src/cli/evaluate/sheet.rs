//! `sheet.png`: the figures to look at. The first samples, the best and the worst, what was mistaken, and how the
//! figures are spread.

use super::document::Document;
use crate::error::Result;
use crate::evaluate::{Pairs, Report, Samples};
use crate::imaging::bars::{Bar, bars, beside, histogram, stack};
use crate::imaging::{grid::Grid, grid::Labels, to_rgb8};
use image::RgbImage;
use std::collections::BTreeMap;

/// Images in a row.
const COLUMNS: usize = 8;
/// Height of the charts.
const CHART: u32 = 320;

/// Draws it; images are made again, which costs less than keeping all of them.
pub(super) fn draw(
    report: &Report,
    samples: &Samples,
    pairs: &Pairs,
    document: &Document<'_>,
    batch: i64,
) -> Result<RgbImage> {
    let count = samples.directional.len();
    let first: Vec<usize> = (0..count.min(COLUMNS)).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| samples.directional[*b].total_cmp(&samples.directional[*a]));
    let half = (COLUMNS / 2).min(count / 2);
    let extremes: Vec<usize> =
        order[..half].iter().chain(&order[count - half..]).copied().collect();
    let strays = strays(report, samples);
    let lost: Vec<usize> =
        (0..count).filter(|&i| samples.nearest[i] != i as i64).take(COLUMNS).collect();
    let found: Vec<usize> = lost.iter().map(|&i| samples.nearest[i] as usize).collect();

    let wanted = [&first, &extremes, &strays, &lost, &found];
    let made = make(pairs, wanted.into_iter().flatten().copied().collect(), batch)?;
    let before = |of: &[usize]| of.iter().map(|i| made[i].0.clone()).collect::<Vec<_>>();
    let after = |of: &[usize]| of.iter().map(|i| made[i].1.clone()).collect::<Vec<_>>();

    let cosines = |of: &[usize]| {
        let cosines = of.iter().map(|i| format!("{:.2}", samples.directional[*i]));
        cosines.collect::<Vec<_>>().join(" ")
    };
    let (best, worst) = extremes.split_at(half);
    let mut grid = Grid::new()
        .labels(Labels::Above)
        .title(format!("{} → {}", report.source, report.target))
        .row(format!("first samples: {}", report.source), before(&first))
        .row(format!("adapted: {}", report.target), after(&first))
        .row(
            format!("best {} · worst {} by direction", cosines(best), cosines(worst)),
            before(&extremes),
        )
        .row("adapted", after(&extremes));
    if !strays.is_empty() {
        let names: Vec<&str> = strays.iter().map(|&i| samples.taken_for[i].as_str()).collect();
        grid = grid.row(format!("taken for {}", names.join(", ")), after(&strays));
    }
    if !lost.is_empty() {
        grid = grid
            .row("identity lost: source", before(&lost))
            .row("adapted", after(&lost))
            .row("source that it is most like", before(&found));
    }
    let guided = report.heard_judges().any(|judge| judge.guided_the_training);
    let grid = grid
        .footer(format!(
            "{} · {count} pairs · seed {} · truncation {} · judged by {}{}",
            document.run.display(),
            document.seed,
            document.truncation,
            report.heard.join(", "),
            if guided { " (guided the training: flatters)" } else { "" }
        ))
        .render()?;
    let charts = charts(report, samples, grid.width());
    Ok(stack(&[grid, charts]))
}

/// Adapted images that are taken for something else, the most frequent mistakes first, each mistake in turn.
fn strays(report: &Report, samples: &Samples) -> Vec<usize> {
    let is_target = |phrase: &String| report.synonyms.phrases.contains(phrase);
    let mistakes: Vec<Vec<usize>> = report
        .zero_shot
        .taken_for
        .iter()
        .filter(|chosen| !is_target(&chosen.phrase))
        .map(|chosen| {
            let taken = samples.taken_for.iter().enumerate();
            taken.filter(|(_, phrase)| **phrase == chosen.phrase).map(|(i, _)| i).collect()
        })
        .collect();
    let longest = mistakes.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|n| mistakes.iter().filter_map(move |m| m.get(n)));
    in_turn.copied().take(COLUMNS).collect()
}

/// Source and adapted image of each number.
fn make(
    pairs: &Pairs,
    mut wanted: Vec<usize>,
    batch: i64,
) -> Result<BTreeMap<usize, (RgbImage, RgbImage)>> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut made = BTreeMap::new();
    for numbers in wanted.chunks(batch.max(1) as usize) {
        let indices: Vec<i64> = numbers.iter().map(|&i| i as i64).collect();
        let (source, adapted) = pairs.images(&indices)?;
        let both = to_rgb8(&source)?.into_iter().zip(to_rgb8(&adapted)?);
        made.extend(numbers.iter().copied().zip(both));
    }
    Ok(made)
}

fn charts(report: &Report, samples: &Samples, width: u32) -> RgbImage {
    let spread = report.directional.spread;
    let low = samples.directional.iter().copied().fold(0.0, f64::min);
    let half = (width / 2, CHART);
    let mean = format!("mean {:.3}, deviation {:.3}", spread.mean, spread.std);
    let left = histogram(
        "directional similarity",
        &samples.directional,
        (low, 1.0),
        (spread.mean, &mean),
        half,
    );
    let taken = report.zero_shot.taken_for.iter().map(|chosen| Bar {
        name: chosen.phrase.clone(),
        share: chosen.share,
        counts: report.synonyms.phrases.contains(&chosen.phrase),
    });
    let identity = &report.identity;
    let rates = [
        ("all together", identity.combined.top1),
        ("edges", identity.edges.top1),
        ("light and dark", identity.low_frequencies.top1),
        ("maps inside CLIP", identity.clip_maps.top1),
        ("guessing", identity.guessing.top1),
    ];
    let rates = rates.map(|(name, share)| Bar { name: name.into(), share, counts: true });
    let right = stack(&[
        bars("taken for", &taken.take(4).collect::<Vec<_>>(), (half.0, CHART / 2)),
        bars("own source found by", &rates, (half.0, CHART * 3 / 5)),
    ]);
    beside(&[left, right])
}
