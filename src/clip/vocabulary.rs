//! The words that a small CLIP has really read, and the phrases that it was taught to draw.
//!
//! The tokenizer takes any phrase, but a CLIP trained on a few dozen styles has no idea of a word that it never met:
//! the direction to it is noise. So such a file says in its metadata what it knows, in two keys:
//!
//! * `nada.vocabulary`: the words of its captions, in lower case, separated by blanks: `a golden photo sketch statue`;
//! * `nada.phrases`: the styles that it learned, separated by `|`, other names of the same one behind `=`:
//!   `photo|sketch=pencil sketch|golden statue`. Their words count as read, too.
//!
//! A word is a run of letters, digits, `'` and `-` in the text as [`clean`] leaves it. OpenAI's files have no such
//! keys, and so no [`Vocabulary`].

use super::clean::clean;
use std::collections::{BTreeMap, BTreeSet};

/// The metadata key of the words.
pub const WORDS_KEY: &str = "nada.vocabulary";
/// The metadata key of the phrases.
pub const PHRASES_KEY: &str = "nada.phrases";

/// Longest value of a key. A few thousand bytes are usual; the rest keeps a foreign file from costing anything.
const MAX_BYTES: usize = 1 << 20;
const MAX_WORDS: usize = 20_000;
/// All names together.
const MAX_PHRASES: usize = 2_000;
/// In characters.
const LONGEST_WORD: usize = 48;
const LONGEST_PHRASE: usize = 120;
/// Near words that are named at most.
const NEAR: usize = 3;

/// Words that carry a phrase rather than say what it is about: nobody is told that they are unknown.
const STOP_WORDS: [&str; 18] = [
    "a", "an", "and", "as", "at", "by", "for", "from", "in", "is", "like", "of", "on", "or",
    "style", "the", "to", "with",
];

/// What a CLIP was trained on, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    words: BTreeSet<String>,
    groups: Vec<Vec<String>>,
    /// The words of every name in `groups`, one blank apart.
    plain: BTreeSet<String>,
}

impl Vocabulary {
    /// The vocabulary in a file's metadata, if there is one.
    ///
    /// ```
    /// # use nada::clip::Vocabulary;
    /// let metadata = [("nada.vocabulary", "a photo of"), ("nada.phrases", "photo|sketch=drawing")];
    /// let metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    /// let known = Vocabulary::read(&metadata).unwrap().unwrap();
    /// assert_eq!(known.phrases().collect::<Vec<_>>(), ["photo", "sketch"]);
    /// assert_eq!(known.unknown_words("a sketch of Zombies"), ["zombies"]);
    /// ```
    ///
    /// # Errors
    /// What is wrong with it, to be completed by the name of the file: characters that no word has, a key without its
    /// words, more than any small CLIP knows.
    pub fn read(metadata: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let value = |key: &str| match metadata.get(key) {
            Some(text) if text.len() > MAX_BYTES => {
                Err(format!("`{key}` has {} bytes, at most {MAX_BYTES} are read", text.len()))
            }
            found => Ok(found.map(String::as_str)),
        };
        let (listed, groups) = match (value(WORDS_KEY)?, value(PHRASES_KEY)?) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                return Err(format!("has `{PHRASES_KEY}`, but no `{WORDS_KEY}`"));
            }
            (Some(listed), groups) => (listed, groups),
        };
        let mut words = read_words(listed)?;
        let groups = groups.map(read_groups).transpose()?.unwrap_or_default();
        let mut plain = BTreeSet::new();
        for name in groups.iter().flatten() {
            words.extend(split(name).map(str::to_owned));
            plain.insert(split(name).collect::<Vec<_>>().join(" "));
        }
        Ok(Some(Self { words, groups, plain }))
    }

    /// All words, in alphabetical order.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// The phrases that it was taught to draw, in the file's order, each by its first name.
    pub fn phrases(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().filter_map(|group| group.first()).map(String::as_str)
    }

    /// The phrases with their other names: of each the first is the one that [`Vocabulary::phrases`] gives.
    pub fn groups(&self) -> &[Vec<String>] {
        &self.groups
    }

    /// Whether this very phrase was taught, under any of its names. Case, blanks and punctuation do not matter.
    pub fn knows_phrase(&self, phrase: &str) -> bool {
        self.plain.contains(&split(&clean(phrase)).collect::<Vec<_>>().join(" "))
    }

    /// The words of a phrase that were never read, each once; small words (`a`, `of`, `style` …) are passed over. A
    /// phrase with no word at all, such as a picture character, is one itself.
    pub fn unknown_words(&self, phrase: &str) -> Vec<String> {
        let cleaned = clean(phrase);
        let mut unknown: Vec<String> = Vec::new();
        for word in split(&cleaned) {
            let is_known = self.words.contains(word) || STOP_WORDS.contains(&word);
            if !is_known && !unknown.iter().any(|other| other == word) {
                unknown.push(word.to_owned());
            }
        }
        if split(&cleaned).next().is_none() && !cleaned.is_empty() {
            unknown.push(cleaned);
        }
        unknown
    }

    /// What is written nearly as `word`, best first: the same with other hyphens and blanks, its plural or singular,
    /// a slip of one or two letters.
    pub fn near(&self, word: &str) -> Vec<String> {
        let word = clean(word);
        if word.chars().count() > LONGEST_WORD {
            return Vec::new();
        }
        let phrases = self.plain.iter().filter(|phrase| phrase.contains(' '));
        let mut found: Vec<(usize, String)> = self
            .words
            .iter()
            .chain(phrases)
            .filter_map(|known| Some((distance(&word, known)?, known.clone())))
            .collect();
        let parts: Vec<&str> = word.split('-').collect();
        if parts.len() > 1 && parts.iter().all(|part| self.words.contains(*part)) {
            found.push((0, parts.join(" ")));
        }
        found.sort();
        found.dedup();
        let best = found.first().map_or(0, |(distance, _)| *distance);
        found.retain(|(distance, _)| *distance <= best + 1);
        found.into_iter().take(NEAR).map(|(_, known)| known).collect()
    }

    /// The known phrases (by first name) that share a word with `phrase` under any of their names, those that share
    /// most of them first.
    pub fn related(&self, phrase: &str) -> Vec<&str> {
        let cleaned = clean(phrase);
        let asked: BTreeSet<&str> =
            split(&cleaned).filter(|word| !STOP_WORDS.contains(word)).collect();
        let shared = |name: &String| split(name).filter(|word| asked.contains(word)).count();
        let mut found: Vec<(usize, &str)> = self
            .groups
            .iter()
            .filter_map(|group| Some((group.iter().map(shared).max()?, group.first()?.as_str())))
            .filter(|(shared, _)| *shared > 0)
            .collect();
        found.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
        found.into_iter().map(|(_, name)| name).collect()
    }
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '\'' || c == '-'
}

/// The words of a cleaned text; quotes and dashes around them are none of theirs.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_of_a_word(c))
        .map(|word| word.trim_matches(['\'', '-']))
        .filter(|word| !word.is_empty())
}

fn read_words(text: &str) -> Result<BTreeSet<String>, String> {
    if let Some(odd) = text.chars().find(|&c| !is_of_a_word(c) && c != ' ') {
        return Err(format!("`{WORDS_KEY}` holds {odd:?}, which no word has"));
    }
    let text = text.to_lowercase();
    let words: BTreeSet<String> = split(&text).map(str::to_owned).collect();
    match words.len() {
        0 => return Err(format!("`{WORDS_KEY}` holds no word")),
        n if n > MAX_WORDS => {
            return Err(format!("`{WORDS_KEY}` holds {n} words, at most {MAX_WORDS} are read"));
        }
        _ => {}
    }
    match words.iter().find(|word| word.chars().count() > LONGEST_WORD) {
        Some(long) => {
            Err(format!("`{WORDS_KEY}` holds a word of {} letters", long.chars().count()))
        }
        None => Ok(words),
    }
}

fn read_groups(text: &str) -> Result<Vec<Vec<String>>, String> {
    // What a terminal could take for a command, or a reader for something else than a phrase.
    let is_plain = |c: char| c.is_alphanumeric() || c == ' ' || c.is_ascii_punctuation();
    if let Some(odd) = text.chars().find(|&c| !is_plain(c)) {
        return Err(format!("`{PHRASES_KEY}` holds {odd:?}, which no phrase has"));
    }
    let names = text.split(['|', '=']).count();
    if names > MAX_PHRASES {
        return Err(format!(
            "`{PHRASES_KEY}` holds {names} phrases, at most {MAX_PHRASES} are read"
        ));
    }
    let name = |text: &str| {
        let name = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        match name.chars().count() {
            n if n > LONGEST_PHRASE => {
                Err(format!("`{PHRASES_KEY}` holds a phrase of {n} characters"))
            }
            _ if split(&name).next().is_none() => {
                Err(format!("`{PHRASES_KEY}` holds a phrase with no word: \"{name}\""))
            }
            _ => Ok(name),
        }
    };
    text.split('|').map(|group| group.split('=').map(name).collect()).collect()
}

/// How far a known word or phrase is from `word`; `None` when it is another one. Phrases must have the same letters.
fn distance(word: &str, known: &str) -> Option<usize> {
    let letters = |text: &str| text.replace(['-', '\'', ' '], "");
    let (asked, found) = (letters(word), letters(known));
    if asked == found {
        return Some(0);
    }
    if known.contains(' ') {
        return None;
    }
    let is_part = known.contains('-') && known.split('-').any(|part| part == word);
    if is_part || is_plural(&asked, &found) || is_plural(&found, &asked) {
        return Some(1);
    }
    let (one, other) = (asked.chars().count(), found.chars().count());
    let begins_alike = asked.chars().next() == found.chars().next();
    let allowed = match one.min(other) {
        0..=2 => 0,
        3..=4 => usize::from(begins_alike),
        5 => 1,
        _ => 1 + usize::from(begins_alike),
    };
    if one.abs_diff(other) > allowed {
        return None;
    }
    let slips = strsim::osa_distance(&asked, &found);
    (slips <= allowed).then_some(slips + 1)
}

fn is_plural(many: &str, one: &str) -> bool {
    let of_y = || Some(many.strip_suffix("ies")? == one.strip_suffix('y')?);
    let ending = many.strip_prefix(one);
    one.len() > 1 && (matches!(ending, Some("s" | "es")) || of_y() == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str, phrases: &str) -> Result<Option<Vocabulary>, String> {
        let pairs = [(WORDS_KEY, words), (PHRASES_KEY, phrases)];
        Vocabulary::read(&pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }

    fn known() -> Vocabulary {
        let words = "a photo of the golden watercolor cartoon zombie baby face red haired fox";
        let phrases = "photo|sketch=pencil sketch=hand-drawn sketch|oil painting=oil on canvas|\
                       Golden  statue|pop art|ukiyo-e|Van Gogh painting|golden oil lamp";
        read(words, phrases).unwrap().unwrap()
    }

    #[test]
    fn a_file_without_the_keys_has_no_vocabulary_and_its_own_words_count() {
        assert_eq!(Vocabulary::read(&BTreeMap::new()), Ok(None));
        let known = known();
        assert_eq!(
            known.unknown_words("a photo of the canvas, drawn by hand-drawn Gogh"),
            ["drawn"]
        );
        assert!(known.words().any(|word| word == "hand-drawn"));
        assert_eq!(known.phrases().nth(3), Some("golden statue"));
        assert_eq!(known.groups()[2], ["oil painting", "oil on canvas"]);
        let words_only = [(WORDS_KEY.to_owned(), "B a".to_owned())].into();
        let words_only = Vocabulary::read(&words_only).unwrap().unwrap();
        assert_eq!(words_only.words().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(words_only.phrases().count(), 0);
    }

    #[test]
    fn unknown_words_are_told_once_and_as_the_tokenizer_sees_them() {
        let unknown = |phrase: &str| known().unknown_words(phrase);
        assert_eq!(
            unknown("A golden WEREWOLF, &quot;werewolf&quot; in the style of Dal\u{ed}"),
            ["werewolf", "dal\u{ed}"]
        );
        assert_eq!(unknown("golden zombie"), [""; 0]);
        assert_eq!(unknown("'sketch' -- photo!"), [""; 0]);
        assert_eq!(unknown("sketch's"), ["sketch's"]);
        assert_eq!(unknown("\u{1f3a8}"), ["\u{1f3a8}"]);
        assert_eq!(unknown(" "), [""; 0]);
    }

    #[test]
    fn a_phrase_is_known_under_each_of_its_names() {
        let known = known();
        for phrase in ["sketch", " Hand-Drawn  sketch.", "oil on canvas", "GOLDEN statue"] {
            assert!(known.knows_phrase(phrase), "{phrase}");
        }
        for phrase in ["golden zombie", "statue", "a sketch", ""] {
            assert!(!known.knows_phrase(phrase), "{phrase}");
        }
    }

    #[test]
    fn near_words_are_those_of_like_spelling() {
        for (word, near) in [
            ("watercolour", &["watercolor"][..]),
            ("cartoons", &["cartoon"]),
            ("cartono", &["cartoon"]),
            ("sketches", &["sketch"]),
            ("babies", &["baby"]),
            ("gloden", &["golden"]),
            ("popart", &["pop art"]),
            ("oil-painting", &["oil painting"]),
            ("red-haired", &["red haired"]),
            ("ukiyo", &["ukiyo-e"]),
            ("ukiyoe", &["ukiyo-e"]),
            ("fix", &["fox"]),
            ("box", &[]),
            ("werewolf", &[]),
            ("e", &["ukiyo-e"]),
            ("x", &[]),
        ] {
            assert_eq!(known().near(word), near, "{word}");
        }
        let close = read("paint paints faint pains point painted", "p").unwrap().unwrap();
        assert_eq!(close.near("painty"), ["paint", "paints", "painted"].map(str::to_owned));
        assert_eq!(close.near(&"p".repeat(100_000)), [""; 0]);
    }

    #[test]
    fn related_phrases_share_a_word_under_any_name() {
        let known = known();
        assert_eq!(
            known.related("golden oil"),
            ["golden oil lamp", "oil painting", "golden statue"]
        );
        assert_eq!(known.related("canvas in the style of a pencil"), ["sketch", "oil painting"]);
        assert_eq!(known.related("a werewolf on it"), [""; 0]);
    }

    #[test]
    fn nonsense_is_refused_and_described() {
        let many: String = (0..=MAX_WORDS).map(|i| format!("w{i} ")).collect();
        let phrases = vec!["p"; MAX_PHRASES + 1].join("|");
        for (words, phrases, told) in [
            ("", "p", "holds no word"),
            (" - ' ", "p", "holds no word"),
            ("a\u{1b}[31m", "p", r"`nada.vocabulary` holds '\u{1b}', which no word has"),
            ("a,b", "p", "holds ','"),
            (&"x".repeat(LONGEST_WORD + 1), "p", "a word of 49 letters"),
            (&many, "p", "20001 words, at most 20000"),
            (&"x ".repeat(MAX_BYTES), "p", "has 2097152 bytes"),
            ("a", "", "a phrase with no word"),
            ("a", "p||q", "a phrase with no word"),
            ("a", "p=", "a phrase with no word"),
            ("a", "p\u{202e}", r"`nada.phrases` holds '\u{202e}'"),
            ("a", &"p ".repeat(LONGEST_PHRASE), "a phrase of 239 characters"),
            ("a", &phrases, "2001 phrases, at most 2000"),
        ] {
            let error = read(words, phrases).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let alone = [(PHRASES_KEY.to_owned(), "p".to_owned())].into();
        assert!(Vocabulary::read(&alone).unwrap_err().contains("no `nada.vocabulary`"));
    }
}
