//! The rules that a configuration must meet, all of them checked before a person waits for anything.

use super::{Config, SCHEMA};
use crate::error::{Error, Result};

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Config`] that lists all faults with the key path of each.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut rule = |holds: bool, message: String| {
            if !holds {
                problems.push(message);
            }
        };
        rule(
            self.schema == SCHEMA,
            format!("`schema` is {}, this version reads {SCHEMA}", self.schema),
        );
        self.check_phrases(&mut rule);
        rule(!self.clip.is_empty(), "`clip` is empty: at least one CLIP model must judge".into());
        for c in &self.clip {
            rule(
                c.weight.is_finite() && c.weight > 0.0,
                format!("`clip`: the weight of `{}` must be above 0", c.model),
            );
        }
        self.check_training(&mut rule);
        self.check_losses(&mut rule);
        let o = &self.output;
        rule(
            (1..=64).contains(&o.samples),
            format!("`output.samples` is {}, expected 1 to 64", o.samples),
        );
        rule(o.keep_snapshots >= 1, "`output.keep_snapshots` must be at least 1".into());
        rule(
            (0.0..=2.0).contains(&o.sample_truncation),
            format!("`output.sample_truncation` is {}, expected 0 to 2", o.sample_truncation),
        );
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Config { origin: "this run cannot start".into(), problems })
    }

    fn check_phrases(&self, rule: &mut impl FnMut(bool, String)) {
        let (source, target) = (self.source.trim(), self.target.trim());
        if self.target_images.is_some() {
            return;
        }
        rule(
            !source.is_empty(),
            "`source` is empty: say what the generator makes now, such as \"photo\"".into(),
        );
        rule(
            !target.is_empty(),
            "`target` is empty: say what it shall make, such as `--target sketch`".into(),
        );
        rule(
            source.is_empty() || source.to_lowercase() != target.to_lowercase(),
            format!(
                "`source` and `target` are both \"{source}\": there is no direction between equal phrases"
            ),
        );
    }

    fn check_training(&self, rule: &mut impl FnMut(bool, String)) {
        let t = &self.train;
        rule(t.iterations >= 1, "`train.iterations` must be at least 1".into());
        rule(
            (1..=1024).contains(&t.batch),
            format!("`train.batch` is {}, expected 1 to 1024", t.batch),
        );
        rule(
            t.lr.is_finite() && t.lr > 0.0,
            format!("`train.lr` is {}, expected a number above 0", t.lr),
        );
        rule(
            t.lr_ratio > 0.0 && t.lr_ratio <= 1.0,
            format!("`train.lr_ratio` is {}, expected above 0 up to 1", t.lr_ratio),
        );
        rule(
            (0.0..=1.0).contains(&t.mixing),
            format!("`train.mixing` is {}, expected 0 to 1", t.mixing),
        );
        rule(
            (0.0..1.0).contains(&t.ema),
            format!("`train.ema` is {}, expected 0 to below 1", t.ema),
        );
        rule(
            (0.0..=2.0).contains(&t.truncation),
            format!("`train.truncation` is {}, expected 0 to 2", t.truncation),
        );
        let l = &self.layers;
        rule(l.k >= 1, "`layers.k` must be at least 1".into());
        rule(
            l.iterations >= 1,
            "`layers.iterations` must be at least 1; for no choice use `choose: all`".into(),
        );
        rule(
            (1..=1024).contains(&l.batch),
            format!("`layers.batch` is {}, expected 1 to 1024", l.batch),
        );
        rule(l.every >= 1, "`layers.every` must be at least 1".into());
        rule(
            l.lr.is_finite() && l.lr > 0.0,
            format!("`layers.lr` is {}, expected a number above 0", l.lr),
        );
    }

    fn check_losses(&self, rule: &mut impl FnMut(bool, String)) {
        let l = &self.losses;
        let weights = [
            ("directional", l.directional),
            ("global", l.global),
            ("manifold", l.manifold),
            ("patch", l.patch),
            ("in_domain", l.in_domain),
            ("edges", l.edges),
            ("total_variation", l.total_variation),
            ("out_of_range", l.out_of_range),
            ("magnitude", l.magnitude),
            ("chroma", l.chroma),
            ("softening", l.softening),
        ];
        for (name, weight) in weights {
            rule(
                weight.is_finite() && weight >= 0.0,
                format!("`losses.{name}` is {weight}, expected 0 or more"),
            );
        }
        rule(
            weights[..10].iter().any(|(_, w)| *w > 0.0),
            "`losses`: every weight is 0, nothing would be learnt".into(),
        );
        rule(
            l.patch_size > 0.0 && l.patch_size <= 1.0,
            format!("`losses.patch_size` is {}, expected above 0 up to 1", l.patch_size),
        );
        rule(
            l.in_domain == 0.0 || self.train.batch >= 2,
            "`losses.in_domain` compares the images of a batch: `train.batch` must be at least 2"
                .into(),
        );
        let a = &self.augment;
        rule(
            (0..=64).contains(&a.copies),
            format!("`augment.copies` is {}, expected 0 to 64", a.copies),
        );
        rule(
            a.scale[0] > 0.0 && a.scale[0] <= a.scale[1] && a.scale[1] <= 4.0,
            format!(
                "`augment.scale` is {:?}, expected two numbers above 0 in order, up to 4",
                a.scale
            ),
        );
        let shares = [
            ("translation", a.translation, 1.0),
            ("rotation", a.rotation, 180.0),
            ("brightness", a.brightness, 1.0),
            ("saturation", a.saturation, 1.0),
            ("contrast", a.contrast, 1.0),
            ("channel_gain", a.channel_gain, 1.0),
            ("noise", a.noise, 1.0),
            ("cutout", a.cutout, 1.0),
        ];
        for (name, value, most) in shares {
            rule(
                (0.0..=most).contains(&value),
                format!("`augment.{name}` is {value}, expected 0 to {most}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(target: &str) -> Config {
        Config { target: target.into(), ..Config::default() }
    }

    #[test]
    fn the_defaults_only_lack_a_target() {
        assert!(run("sketch").validate().is_ok());
        assert!(run(" ").validate().unwrap_err().to_string().contains("`target` is empty"));
    }

    #[test]
    fn equal_phrases_are_refused_whatever_their_case() {
        assert!(
            run("Photo")
                .validate()
                .unwrap_err()
                .to_string()
                .contains("no direction between equal phrases")
        );
    }

    #[test]
    fn every_fault_is_listed() {
        let mut c = run("sketch");
        c.train.lr = f64::NAN;
        c.layers.k = 0;
        c.losses.in_domain = 1.0;
        c.train.batch = 1;
        let Err(Error::Config { problems, .. }) = c.validate() else { panic!("should be refused") };
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
