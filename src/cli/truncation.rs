//! ψ as it is typed: how far codes are pulled towards the average.

/// ψ of images drawn from a seed when none is given. Codes of a photo stay as they are: 1.
pub(super) const USUAL: f64 = 0.7;

/// Reads a value of `--truncation`.
pub(super) fn parse(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(psi) if psi.is_finite() => Ok(psi),
        _ => Err("not a number; use one such as 0.7; 1 leaves the images alone".into()),
    }
}

/// The ψ of a command that takes codes from a file or from a seed.
pub(super) fn or_usual(asked: Option<f64>, from_file: bool) -> f64 {
    asked.unwrap_or(if from_file { 1.0 } else { USUAL })
}
