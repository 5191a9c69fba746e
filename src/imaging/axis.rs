//! Axes that read well: ticks at round numbers, labels without noise.

/// Round numbers (1, 2 or 5 times a power of ten apart) within `lo..=hi`, about `wanted` of them, and their distance.
/// Empty when the range is.
pub(super) fn ticks(lo: f64, hi: f64, wanted: usize) -> (Vec<f64>, f64) {
    let span = hi - lo;
    if !span.is_finite() || span <= 0.0 || wanted == 0 {
        return (Vec::new(), 1.0);
    }
    let rough = span / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = match rough / power {
        r if r <= 1.0 + 1e-9 => power,
        r if r <= 2.0 + 1e-9 => 2.0 * power,
        r if r <= 5.0 + 1e-9 => 5.0 * power,
        _ => 10.0 * power,
    };
    let (first, last) = ((lo / step - 1e-6).ceil(), (hi / step + 1e-6).floor());
    // At most `wanted + 1` by construction; the bound is for ranges at the end of float precision.
    let values = (0..=wanted)
        .map(|i| first + i as f64)
        .take_while(|n| *n <= last)
        .map(|n| n * step)
        .collect();
    (values, step)
}

/// `value` with the decimals that ticks `step` apart need.
pub(super) fn label(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    if value != 0.0 && (value.abs() >= 1e7 || step < 1e-5) {
        return format!("{value:.1e}");
    }
    let decimals = (-step.log10() - 1e-9).ceil().clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// A number on its own, with three digits that matter.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        a if !(1e-4..1e5).contains(&a) => format!("{value:.1e}"),
        a if a >= 100.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        a if a >= 1.0 => format!("{value:.2}"),
        a if a >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_round_numbers() {
        assert_eq!(ticks(0.0, 100.0, 5).0, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(1.0, 299.0, 6).0, [50.0, 100.0, 150.0, 200.0, 250.0]);
        let (values, step) = ticks(0.07, 0.31, 5);
        let labels: Vec<String> = values.iter().map(|v| label(*v, step)).collect();
        assert_eq!(labels, ["0.10", "0.15", "0.20", "0.25", "0.30"]);
        assert_eq!(label(-1e-12, 0.1), "0.0");
    }

    #[test]
    fn an_empty_or_endless_range_has_no_ticks() {
        for (lo, hi) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (-1e308, 1.7e308)] {
            assert!(ticks(lo, hi, 5).0.is_empty());
        }
        assert!(ticks(1e16, 1e16 + 2.0, 5).0.len() <= 6);
    }

    #[test]
    fn lone_numbers_keep_three_digits() {
        let shown = [0.0, 0.12345, -3.456, 42.04, 12345.6, 3e-9, f64::NAN].map(short);
        assert_eq!(shown, ["0", "0.123", "-3.46", "42.0", "12346", "3.0e-9", "NaN"]);
    }
}
