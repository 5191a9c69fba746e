//! OpenAI CLIP's tokenizer: byte-level BPE over cleaned, lower-case text.
//!
//! A word is first its UTF-8 bytes, each a token, the last one marked as the end of a word; then the pair that was
//! learned earliest is joined, again and again. Tokens are numbered: 256 bytes, 256 bytes that end a word, the 48,894
//! joined pairs in the order in which they were learned, start (SOT), end (EOT).

use super::clean::clean;
use crate::error::{Error, Result};
use flate2::read::GzDecoder;
use regex::Regex;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::OnceLock;

/// The start of every text.
pub const SOT: u32 = 49406;
/// The end of every text; its place is where CLIP reads the text's feature.
pub const EOT: u32 = 49407;
/// How many tokens there are: the rows that a CLIP's `token_embedding.weight` must have.
pub const VOCABULARY: usize = 49408;
/// How many tokens every released CLIP reads at once, SOT and EOT included.
pub const CONTEXT_LENGTH: usize = 77;

/// Longest text that is looked at; no text of this size can fit into a CLIP's context by far.
const MAX_BYTES: usize = 1 << 16;
/// The vocabulary unpacks to 3.2 MB.
const MAX_UNPACKED: u64 = 1 << 23;
const END_OF_WORD: &str = "</w>";
/// OpenAI's `bpe_simple_vocab_16e6.txt.gz` (MIT): one joined pair per line after a header.
const MERGES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/checkpoints/bpe_simple_vocab_16e6.txt.gz"
));

/// Text to token numbers and back.
#[derive(Debug)]
pub struct Tokenizer {
    /// Token number of each byte.
    bytes: [u32; 256],
    /// What each token stands for, with `</w>` where it ends a word.
    pieces: Vec<Vec<u8>>,
    /// Two neighbours and the token that joins them; a smaller number was learned earlier.
    joins: HashMap<(u32, u32), u32>,
    words: Regex,
}

impl Tokenizer {
    /// The one tokenizer of all of OpenAI's CLIPs (and of most of their descendants), built at its first use.
    pub fn openai() -> &'static Self {
        static ONE: OnceLock<Tokenizer> = OnceLock::new();
        ONE.get_or_init(|| {
            Self::read(MERGES)
                .expect("the embedded vocabulary is whole: every test of this module reads it")
        })
    }

    /// Reads a gzipped list of merges.
    fn read(gz: &[u8]) -> std::io::Result<Self> {
        let broken =
            |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        let alphabet = alphabet();
        let mut bytes = [0; 256];
        let mut letter_to_byte = HashMap::new();
        let mut pieces: Vec<Vec<u8>> = Vec::with_capacity(VOCABULARY);
        for (id, (byte, letter)) in (0u32..).zip(&alphabet) {
            bytes[usize::from(*byte)] = id;
            letter_to_byte.insert(*letter, *byte);
            pieces.push(vec![*byte]);
        }
        for (byte, _) in &alphabet {
            pieces.push([&[*byte], END_OF_WORD.as_bytes()].concat());
        }

        let merges = VOCABULARY - pieces.len() - 2;
        // The file speaks of tokens in the alphabet's letters; here they are known by their bytes.
        let spelled = |word: &str| -> Option<Vec<u8>> {
            let (body, end) = match word.strip_suffix(END_OF_WORD) {
                Some(body) => (body, END_OF_WORD),
                None => (word, ""),
            };
            let mut piece: Vec<u8> =
                body.chars().map(|c| letter_to_byte.get(&c).copied()).collect::<Option<_>>()?;
            piece.extend(end.bytes());
            Some(piece)
        };
        let mut ids: HashMap<Vec<u8>, u32> =
            (0u32..).zip(&pieces).map(|(id, p)| (p.clone(), id)).collect();
        let mut joins = HashMap::with_capacity(merges);
        let lines = BufReader::new(GzDecoder::new(gz).take(MAX_UNPACKED)).lines();
        for line in lines.skip(1).take(merges) {
            let line = line?;
            let (left, right) =
                line.split_once(' ').ok_or_else(|| broken("a merge needs two tokens"))?;
            let id_of = |word: &str| spelled(word).and_then(|piece| ids.get(&piece).copied());
            let (Some(left), Some(right)) = (id_of(left), id_of(right.trim_end())) else {
                return Err(broken("a merge joins tokens that are not there yet"));
            };
            let joined =
                [pieces[left as usize].as_slice(), pieces[right as usize].as_slice()].concat();
            let id = pieces.len() as u32;
            if ids.insert(joined.clone(), id).is_some() || joins.insert((left, right), id).is_some()
            {
                return Err(broken("a token appears twice"));
            }
            pieces.push(joined);
        }
        if joins.len() != merges {
            return Err(broken("there are too few merges"));
        }
        pieces.push(b"<|startoftext|>".to_vec());
        pieces.push(b"<|endoftext|>".to_vec());
        let words = Regex::new(
            r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
        )
        .map_err(std::io::Error::other)?;
        Ok(Self { bytes, pieces, joins, words })
    }

    /// SOT, the tokens of the cleaned text, EOT.
    ///
    /// # Parity
    /// `clip.tokenize` without its padding; golden `tokenizer`, exact.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = vec![SOT];
        for word in self.words.find_iter(&clean(text)) {
            match word.as_str() {
                "<|startoftext|>" => tokens.push(SOT),
                "<|endoftext|>" => tokens.push(EOT),
                word => self.encode_word(word, &mut tokens),
            }
        }
        tokens.push(EOT);
        tokens
    }

    /// [`Tokenizer::encode`], filled up with 0 to `context_length` numbers.
    ///
    /// # Errors
    /// [`Error::Request`] when the text has more tokens than that; it names the text, its length and the limit.
    pub fn tokenize(&self, text: &str, context_length: usize) -> Result<Vec<i64>> {
        let too_long = |count: String| {
            Error::request(
                format!(
                    "the text `{}` has {count}, but CLIP reads at most {context_length}",
                    excerpt(text)
                ),
                "use fewer words",
            )
        };
        if text.len() > MAX_BYTES {
            return Err(too_long(format!("{} bytes and far too many tokens", text.len())));
        }
        let tokens = self.encode(text);
        if tokens.len() > context_length {
            return Err(too_long(format!("{} tokens (start and end included)", tokens.len())));
        }
        let mut padded: Vec<i64> = tokens.into_iter().map(i64::from).collect();
        padded.resize(context_length, 0);
        Ok(padded)
    }

    /// The text of `tokens`, a blank after every word, SOT and EOT spelled out; an unknown number gives U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let unknown = "\u{fffd}".as_bytes();
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|id| self.pieces.get(*id as usize).map_or(unknown, Vec::as_slice))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).replace(END_OF_WORD, " ")
    }

    /// Joins the bytes of one word until no learned pair is left.
    fn encode_word(&self, word: &str, tokens: &mut Vec<u32>) {
        const NONE: u32 = u32::MAX;
        let mut parts: Vec<u32> = word.bytes().map(|b| self.bytes[usize::from(b)]).collect();
        if let Some(last) = parts.last_mut() {
            *last += 256;
        }
        let join = |left: u32, right: u32| self.joins.get(&(left, right)).copied().unwrap_or(NONE);
        let mut joined: Vec<u32> = parts.windows(2).map(|pair| join(pair[0], pair[1])).collect();
        // One pass joins every place of the pair learned first, from left to right, as the reference does.
        while let Some(&best) = joined.iter().min().filter(|id| **id != NONE) {
            let mut shorter = Vec::with_capacity(parts.len());
            let mut at = 0;
            while at < parts.len() {
                let joins_here = joined.get(at) == Some(&best);
                shorter.push(if joins_here { best } else { parts[at] });
                at += if joins_here { 2 } else { 1 };
            }
            parts = shorter;
            joined.clear();
            joined.extend(parts.windows(2).map(|pair| join(pair[0], pair[1])));
        }
        tokens.extend(parts);
    }
}

/// The bytes in the order of their tokens, each with the letter that stands for it in the file: printable Latin-1 as
/// it is, the others as U+0100 onwards.
fn alphabet() -> Vec<(u8, char)> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let shown = (0..=255u8).filter(printable).map(|b| (b, char::from(b)));
    let hidden = (0..=255u8).filter(|b| !printable(b)).zip('\u{100}'..);
    shown.chain(hidden).collect()
}

/// The head of a text, for a message.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
