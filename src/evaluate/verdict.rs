//! What is good enough. One table, so that the numbers can be argued about.

use super::diversity::NEARLY_SAME;
use super::report::Report;
use serde::Serialize;

/// How a figure is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Look at the pictures.
    Weak,
    /// Something went wrong.
    Alarm,
}

impl Verdict {
    /// As tables show it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Weak => "weak",
            Self::Alarm => "ALARM",
        }
    }

    /// For figures that should be high.
    fn at_least(value: f64, ok: f64, weak: f64) -> Self {
        // Written so that NaN is an alarm.
        if value >= ok {
            Self::Ok
        } else if value >= weak {
            Self::Weak
        } else {
            Self::Alarm
        }
    }

    /// For figures that should be low.
    fn at_most(value: f64, ok: f64, weak: f64) -> Self {
        Self::at_least(-value, -ok, -weak)
    }
}

/// Share of pairs that may be nearly the same.
const MAY_BE_SAME: f64 = 0.05;

/// The verdict on one figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The figure's key in the report.
    pub figure: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What to know or do about it; empty when all is well.
    pub remark: String,
}

/// A verdict on every figure, in the order of tables.
pub fn findings(report: &Report) -> Vec<Finding> {
    let finding = |figure, verdict, remark: &str| Finding {
        figure,
        verdict,
        remark: if verdict == Verdict::Ok { String::new() } else { remark.to_owned() },
    };
    let identity = report.identity.combined.top1;
    let mut all = vec![
        finding(
            "directional",
            Verdict::at_least(report.directional.spread.mean, 0.3, 0.15),
            "edits hardly go the way of the phrases: train longer, or the CLIP does not know them",
        ),
        finding(
            "target_rate",
            Verdict::at_least(report.zero_shot.target_rate, 0.5, 0.2),
            "many images are nearer to another phrase: see what they are taken for",
        ),
        finding(
            "leak_rate",
            Verdict::at_most(report.zero_shot.leak_rate, 0.1, 0.3),
            "these images are still nearer to the source than to the target: train longer",
        ),
        finding(
            "identity",
            Verdict::at_least(identity, 0.8, 0.5),
            "images are no longer what they came from: train shorter, or `--set losses.edges=0.2`",
        ),
        diversity(report),
        finding(
            "high_frequency",
            Verdict::at_most(report.high_frequency.median, 2.0, 3.0),
            "speckle: raise `losses.total_variation` or `augment.noise`, or train shorter",
        ),
    ];
    if report.judges.iter().any(|judge| judge.frechet.is_some()) {
        let verdict = match report.frechet_ratio() {
            Some(ratio) => Verdict::at_most(ratio, 0.8, 1.0),
            None => Verdict::Weak,
        };
        all.push(finding("frechet", verdict, "hardly nearer to the reference images than before"));
    }
    all
}

/// The collapse alarm.
fn diversity(report: &Report) -> Finding {
    let figures = report.diversity;
    let same = figures.clip_nearly_same.max(figures.pixels.nearly_same);
    let ratio = figures.clip_ratio.unwrap_or(f64::NAN);
    let (verdict, remark) = if same > MAY_BE_SAME {
        let (share, of) = (100.0 * same, 100.0 * NEARLY_SAME);
        let words = format!(
            "collapse: {share:.0} % of all pairs of images are nearly the same (nearer than {of:.0} % of the usual \
             distance before); raise `losses.in_domain`, or train shorter"
        );
        (Verdict::Alarm, words)
    } else if figures.clip_ratio.is_none() {
        (Verdict::Weak, "the source's images are all the same already".to_owned())
    } else {
        let words = "images have become alike: raise `losses.in_domain`, or train shorter";
        (Verdict::at_least(ratio, 0.7, 0.5), words.to_owned())
    };
    let remark = if verdict == Verdict::Ok { String::new() } else { remark };
    Finding { figure: "diversity", verdict, remark }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Clip;
    use crate::evaluate::{Evaluation, Judge, as_saved};
    use crate::rng;
    use tch::{Device, Kind, Tensor};

    /// A shipped CLIP; the images are noise to it, but it tells them apart.
    fn judge(phrases: &[String]) -> Judge {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/checkpoints/clip_rn.safetensors");
        let (clip, _): (Clip, _) =
            crate::models::open_clip(path.as_ref(), Kind::Float, Device::Cpu).unwrap();
        Judge::new("judge", false, clip, phrases).unwrap()
    }

    fn verdicts(source: &Tensor, adapted: &Tensor) -> Vec<(&'static str, Verdict)> {
        let phrases = ["photo", "sketch", "clown"].map(str::to_owned);
        let mut evaluation = Evaluation::new(vec![judge(&phrases)], phrases.into()).unwrap();
        for i in 0..2 {
            evaluation.look(&source.narrow(0, 4 * i, 4), &adapted.narrow(0, 4 * i, 4)).unwrap();
        }
        let (report, samples) = evaluation.finish().unwrap();
        assert_eq!((report.samples, samples.directional.len()), (8, 8));
        findings(&report).into_iter().map(|f| (f.figure, f.verdict)).collect()
    }

    fn images() -> Tensor {
        let mut stream = rng::stream(0, 0, "verdict");
        let coarse = stream.uniform(-1.0, 1.0, &[8, 3, 8, 8], Kind::Float, Device::Cpu);
        as_saved(&coarse.upsample_bilinear2d([64, 64], false, None, None))
    }

    #[test]
    fn nothing_done_keeps_identity_and_diversity_but_goes_nowhere() {
        let x = images();
        let found = verdicts(&x, &x);
        for figure in ["identity", "diversity", "high_frequency"] {
            assert!(found.contains(&(figure, Verdict::Ok)), "{found:?}");
        }
        assert!(found.contains(&("directional", Verdict::Alarm)), "{found:?}");
    }

    #[test]
    fn one_image_for_all_is_an_alarm_and_so_is_speckle() {
        let x = images();
        let one = x.narrow(0, 0, 1).repeat([8, 1, 1, 1]);
        let found = verdicts(&x, &one);
        for figure in ["identity", "diversity"] {
            assert!(found.contains(&(figure, Verdict::Alarm)), "{found:?}");
        }
        let noise = rng::stream(0, 1, "verdict").normal(&[8, 3, 64, 64], Kind::Float, Device::Cpu);
        let found = verdicts(&x, &as_saved(&(&x + noise * 0.5)));
        assert!(found.contains(&("high_frequency", Verdict::Alarm)), "{found:?}");
    }

    #[test]
    fn what_is_no_number_is_an_alarm() {
        assert_eq!(Verdict::at_least(f64::NAN, 0.5, 0.2), Verdict::Alarm);
        assert_eq!(Verdict::at_most(f64::NAN, 0.5, 1.0), Verdict::Alarm);
        assert_eq!(Verdict::at_most(0.7, 0.5, 1.0), Verdict::Weak);
        assert_eq!(Verdict::at_least(0.5, 0.5, 0.2), Verdict::Ok);
    }
}
