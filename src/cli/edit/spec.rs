//! `FILE#K@4-8=-3..3`, `FILE#NAME=3`, `text:face:old face=4`: an edit as it is typed.

use super::super::printer::Printer;
use super::phrases::{Phrases, USUAL_KEEP, beta_of};
use crate::edit::channels::GlobalDirection;
use crate::edit::linear::LinearEdit;
use crate::error::{Error, Result};
use crate::models::open_direction;
use crate::stylegan2::Generator;
use std::ops::RangeInclusive;
use std::path::Path;

/// How an edit is written, for messages.
const FORM: &str = "an edit is FILE[#NUMBER|#NAME][@FROM-TO]=STRENGTH, sefa#K[@FROM-TO]=STRENGTH or text:NEUTRAL:TARGET[#CHANNELS]=STRENGTH, with a strength such as 3 or -3..3";

/// What two phrases begin with.
const TEXT: &str = "text:";

/// How far an edit goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Strength {
    /// Once.
    At(f64),
    /// From one to the other, in steps.
    Sweep(f64, f64),
}

/// What an edit goes along.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// An eigenvector of the weights.
    Sefa,
    /// A direction that somebody found; a name behind `#` is part of it until the file is looked for.
    File(String),
    /// From one phrase to another.
    Text { neutral: String, target: String },
}

/// An edit, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) what: What,
    /// Which of several; of phrases, how many channels change.
    pub(super) component: Option<i64>,
    pub(super) inputs: Option<RangeInclusive<i64>>,
    pub(super) strength: Strength,
}

impl Spec {
    /// Reads an edit. A file's name may hold any of the signs, except that the last `=` begins the strength.
    ///
    /// # Errors
    /// [`Error::Request`] that says which part cannot be read.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::request(format!("`--edit {text}`: {what}"), FORM);
        let (rest, strength) =
            text.rsplit_once('=').ok_or_else(|| wrong("it has no `=STRENGTH`".into()))?;
        let number = |part: &str| {
            let value = part.trim().parse::<f64>().ok().filter(|v| v.is_finite());
            value.ok_or_else(|| wrong(format!("the strength `{part}` is no number")))
        };
        let strength = match strength.split_once("..") {
            Some((from, to)) => Strength::Sweep(number(from)?, number(to)?),
            None => Strength::At(number(strength)?),
        };
        let (rest, inputs) = match rest.rsplit_once('@') {
            Some((before, range)) if range.starts_with(|c: char| c.is_ascii_digit()) => {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                match (from.parse::<i64>(), to.parse::<i64>()) {
                    (Ok(from), Ok(to)) if from <= to => (before, Some(from..=to)),
                    _ => return Err(wrong(format!("`@{range}` is no range of style inputs"))),
                }
            }
            _ => (rest, None),
        };
        let (what, component) = match rest.rsplit_once('#') {
            Some((before, number))
                if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
            {
                let number = number.parse::<i64>();
                (before, Some(number.map_err(|_| wrong("the component is too large".into()))?))
            }
            _ => (rest, None),
        };
        let what = match what {
            "" => return Err(wrong("it names no file".into())),
            "sefa" => What::Sefa,
            text if text.starts_with(TEXT) => {
                let phrases: Vec<&str> = text[TEXT.len()..].split(':').map(str::trim).collect();
                let [neutral, target] = phrases[..] else {
                    return Err(wrong("two phrases with a `:` between them are expected".into()));
                };
                if neutral.is_empty() || target.is_empty() {
                    return Err(wrong("a phrase is empty".into()));
                }
                if inputs.is_some() || component == Some(0) {
                    return Err(wrong("phrases take a number of channels from 1, no range".into()));
                }
                What::Text { neutral: neutral.into(), target: target.into() }
            }
            file => What::File(file.into()),
        };
        Ok(Self { what, component, inputs, strength })
    }

    /// Whether it is by two phrases.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.what, What::Text { .. })
    }

    /// Opens what it names, for a generator. `phrases` are needed by edits by text.
    ///
    /// # Errors
    /// As [`open_direction`], [`LinearEdit::new`] and [`Phrases::direction`].
    pub(super) fn open(
        &self,
        generator: &Generator,
        phrases: Option<&Phrases>,
        printer: &Printer,
    ) -> Result<Edit> {
        match &self.what {
            What::Sefa => {
                let component = self.component.unwrap_or(0);
                LinearEdit::sefa(component, self.inputs.clone(), generator).map(Edit::Linear)
            }
            What::File(file) => self.open_file(file, generator, printer).map(Edit::Linear),
            What::Text { neutral, target } => {
                let phrases = phrases.expect("they are opened when an edit is by text");
                let relevance = phrases.relevance(neutral, target, printer)?;
                let beta = beta_of(&relevance, self.component.unwrap_or(USUAL_KEEP));
                let direction = phrases.direction(&relevance, beta, generator.config())?;
                Ok(Edit::Text { name: target.clone(), direction })
            }
        }
    }

    fn open_file(
        &self,
        file: &str,
        generator: &Generator,
        printer: &Printer,
    ) -> Result<LinearEdit> {
        let key = self.component.map(|number| number.to_string());
        let found = open_direction(Path::new(file), key.as_deref(), generator.config())?;
        found.notes.iter().for_each(|note| printer.info(&format!("{file}: {note}")));
        let edit = LinearEdit::new(found.name, found.direction, self.inputs.clone(), generator)?;
        if edit.moves_nothing() {
            printer.warn(&format!("`{}` is a direction of zeros: it moves nothing", edit.name));
        }
        Ok(edit)
    }
}

/// An edit of one generator.
pub(super) enum Edit {
    /// In W+.
    Linear(LinearEdit),
    /// In StyleSpace.
    Text { name: String, direction: GlobalDirection },
}

impl Edit {
    /// How people call it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Linear(edit) => &edit.name,
            Self::Text { name, .. } => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_read_and_paths_may_hold_the_signs() {
        let of = |text| Spec::parse(text).unwrap();
        let all = of("a/ffhq_pca.pt#10@4-8=-3..3");
        let file = |name: &str| What::File(name.into());
        assert_eq!((all.what, all.component), (file("a/ffhq_pca.pt"), Some(10)));
        assert_eq!((all.inputs, all.strength), (Some(4..=8), Strength::Sweep(-3.0, 3.0)));
        let plain = of("smile=2.5.npy=-1");
        assert_eq!((plain.what, plain.strength), (file("smile=2.5.npy"), Strength::At(-1.0)));
        assert_eq!(of("sefa#3@2=4").inputs, Some(2..=2));
        assert_eq!(of("a#b@home.pt=1").what, file("a#b@home.pt"));
        let text = of("text:face: old face#40=0..6");
        let phrases = What::Text { neutral: "face".into(), target: "old face".into() };
        assert_eq!((text.what, text.component), (phrases, Some(40)));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, words) in [
            ("smile.pt", "no `=STRENGTH`"),
            ("smile.pt=much", "`much` is no number"),
            ("smile.pt=nan", "no number"),
            ("smile.pt@8-4=1", "no range"),
            ("=1", "names no file"),
            ("text:face=1", "two phrases"),
            ("text:face:=1", "a phrase is empty"),
            ("text:a:b@2=1", "no range"),
        ] {
            let message = Spec::parse(text).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
