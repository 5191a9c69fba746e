//! Many numbers in a few.

use serde::Serialize;

/// How numbers are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of the numbers themselves (divided by N, not N − 1).
    pub std: f64,
    /// A tenth of them is below this.
    pub p10: f64,
    /// Half of them is below this.
    pub median: f64,
    /// A tenth of them is above this.
    pub p90: f64,
}

impl Spread {
    /// Of at least one number; of none, everything is NaN. Percentiles are interpolated between neighbours.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| percentile(&sorted, share);
        Self { mean, std, p10: at(0.1), median: at(0.5), p90: at(0.9) }
    }
}

/// Of ascending numbers.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_from_0_to_10() {
        let values: Vec<f64> = (0..=10).rev().map(f64::from).collect();
        let spread = Spread::of(&values);
        assert_eq!((spread.mean, spread.p10, spread.median, spread.p90), (5.0, 1.0, 5.0, 9.0));
        assert!((spread.std - 10f64.sqrt()).abs() < 1e-12);
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
        assert!(Spread::of(&[]).p10.is_nan());
    }
}
