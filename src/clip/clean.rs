//! Text cleaning before CLIP's tokenizer: repair of wrongly decoded text, HTML, blanks, lower case.
//!
//! The reference chains `ftfy.fix_text`, `html.unescape` twice, `str.strip`, one blank for every run of blanks, and
//! `str.lower`. `plsfix` is ftfy in Rust, but an older one with a few faults; `repair_line` makes up for those that
//! matter. What is left differs only for text wrongly decoded twice, or as Windows-1257 or Mac Roman.

use super::html::{WINDOWS_1252_HIGH, unescape};
use plsfix::TextFixerConfig;
use regex::{Captures, Regex};
use std::borrow::Cow;
use std::sync::LazyLock;

/// What CLIP's tokenizer sees of `text`: `"  Fish &amp; CHIPS "` becomes `"fish & chips"`.
pub fn clean(text: &str) -> String {
    let text = repair(text);
    let text = unescape(&text);
    let text = unescape(&text);
    // Rust's blanks are Python's but for U+001C to U+001F, which the repair has removed.
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// ftfy's `fix_text`, line by line.
fn repair(text: &str) -> String {
    // Not a short cut only: what ftfy does to plain ASCII is little, and this is nearly every phrase.
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'&') {
        return text.to_owned();
    }
    let mut is_html = false;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        is_html |= line.contains('<');
        out.push_str(&repair_line(line, is_html));
    }
    out
}

fn repair_line(line: &str, is_html: bool) -> String {
    // plsfix looks for `NUL33[` where ftfy removes the terminal's colours.
    let line = COLOUR.replace_all(line, "");
    let mask = if is_html && line.contains('&') { free_sign(&line) } else { None };
    let line = match mask {
        Some(sign) => Cow::Owned(line.replace('&', sign)),
        None => line,
    };
    let line = if PAIR.is_match(&line) {
        // After the rest is repaired, for pairs are also the halves of what was wrongly decoded twice; before quotes are straightened, for a
        // quote may be half of a pair.
        let curly = TextFixerConfig { uncurl_quotes: false, ..whole_line() };
        Cow::Owned(decode_pairs(&plsfix::fix_text(&line, Some(&curly))).into_owned())
    } else {
        line
    };
    let fixed = plsfix::fix_text(&line, Some(&whole_line()));
    match mask {
        Some(sign) => fixed.replace(sign, "&"),
        None => fixed,
    }
}

/// ftfy's defaults, but for its cut after a million: plsfix makes it within a character, and panics.
fn whole_line() -> TextFixerConfig {
    TextFixerConfig { max_decode_length: i32::MAX, ..TextFixerConfig::default() }
}

/// Decodes those two characters that ftfy 6.3 takes for one in UTF-8 read as Windows-1252, but plsfix does not yet:
/// "Ä°stanbul", "Ãœber", a capital with accent and a punctuation mark inside a word.
fn decode_pairs(line: &str) -> Cow<'_, str> {
    PAIR.replace_all(line, |found: &Captures<'_>| {
        let pair = &found[0];
        let mut bytes = pair.chars().filter_map(windows_1252);
        let (Some(lead), Some(rest)) = (bytes.next(), bytes.next()) else {
            return pair.to_owned();
        };
        let code = u32::from(lead & 0x1f) << 6 | u32::from(rest & 0x3f);
        let tail: String = pair.chars().skip(2).collect();
        char::from_u32(code).map_or_else(|| pair.to_owned(), |c| format!("{c}{tail}"))
    })
}

/// The byte of a character in Windows-1252.
fn windows_1252(c: char) -> Option<u8> {
    match WINDOWS_1252_HIGH.iter().position(|high| *high == c) {
        Some(at) => u8::try_from(0x80 + at).ok(),
        None => u8::try_from(u32::from(c)).ok(),
    }
}

/// plsfix always resolves references, ftfy leaves them alone where a `<` looks like HTML: so `&` is hidden behind a
/// sign that the text does not use and that takes no part in any repair.
fn free_sign(line: &str) -> Option<&'static str> {
    ["^", "~", "|", "\\", "`", "{", "}", "*", "=", "@", "%"].into_iter().find(|s| !line.contains(s))
}

static COLOUR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("\u{1b}\\[[\\d;]*[a-zA-Z]").expect("the pattern is constant and tested")
});

static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    let capital = "\u{c2}-\u{d1}\u{d8}\u{dc}\u{dd}";
    let mark = "¡«¿©‘‚“„•‹®»”›™";
    Regex::new(&format!("[{capital}]°|[ÂÃÎÐ]œ|[{capital}][{mark}]\\w"))
        .expect("the pattern is constant and tested")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_what_plsfix_leaves() {
        for (text, want) in [
            ("\u{1b}[31mRed\u{1b}[0m fox", "red fox"),
            ("ÃœberÃœ", "überü"),
            ("Ä°stanbul", "i̇stanbul"),
            ("the Ä“e", "the ēe"),
            ("CAFÉ\u{201d} 20°", "café\" 20°"),
            ("<b> &amp;amp;amp; &Atilde;&copy;", "<b> &amp; ã©"),
            ("&amp;amp;amp; &Atilde;&copy;", "& é"),
            ("a^~ &lt;", "a^~ <"),
        ] {
            assert_eq!(clean(text), want, "{text}");
        }
    }

    #[test]
    fn a_very_long_line_does_not_panic() {
        for unit in ["aÄ", "Ã©", "Ä°", "猫", "é&"] {
            let text = unit.repeat(400_000) + "猫";
            assert!(clean(&text).ends_with('猫'));
        }
    }
}
