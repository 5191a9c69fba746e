//! The learning rate of a search for codes: StyleGAN2's projector's, which StyleCLIP took over.

use std::f64::consts::PI;

/// A rate that rises from 0, stays at its peak, and falls along a cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// The highest rate.
    pub peak: f64,
    /// Share of the steps in which it rises; 0 for none.
    pub up: f64,
    /// Share of the steps in which it falls; 0 for none.
    pub down: f64,
}

impl Ramp {
    /// As both papers have it: up in a twentieth of the steps, down in the last quarter.
    pub fn usual(peak: f64) -> Self {
        Self { peak, up: 0.05, down: 0.25 }
    }

    /// The rate of step `step` of `steps`, counted from 0.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        let t = step as f64 / steps.max(1) as f64;
        let share = |of: f64, t: f64| if of > 0.0 { (t / of).min(1.0) } else { 1.0 };
        self.peak * (0.5 - 0.5 * (share(self.down, 1.0 - t) * PI).cos()) * share(self.up, t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let ramp = Ramp::usual(0.1);
        assert_eq!(ramp.rate(0, 100), 0.0);
        assert!((ramp.rate(2, 100) - 0.1 * 0.4).abs() < 1e-12);
        assert_eq!(ramp.rate(50, 100), 0.1);
        // Half way down a cosine.
        let falling = 0.5 - 0.5 * (0.5 * PI).cos();
        assert!((Ramp { down: 0.5, ..ramp }.rate(75, 100) - 0.1 * falling).abs() < 1e-12);
        assert_eq!(Ramp { peak: 0.1, up: 0.0, down: 0.0 }.rate(0, 100), 0.1);
    }
}
