//! The tokenizer against OpenAI's.

use crate::common::golden_path;
use nada::Error;
use nada::clip::clean::clean;
use nada::clip::templates::{TEMPLATES, fill};
use nada::clip::tokenizer::{CONTEXT_LENGTH, EOT, SOT, Tokenizer, VOCABULARY};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    too_long: Vec<TooLong>,
    context_length: Vec<Shorter>,
    decode: Vec<Decode>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    cleaned: Option<String>,
}

#[derive(Deserialize)]
struct TooLong {
    text: String,
    error_without_truncate: bool,
    ids_truncated: Vec<u32>,
}

#[derive(Deserialize)]
struct Shorter {
    text: String,
    context_length: usize,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Decode {
    ids: Vec<u32>,
    decoded: String,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(golden_path("tokenizer", "tokenizer.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// As the reference cuts a text that is too long: the end takes the last place; the rest is 0.
fn truncated(text: &str, context_length: usize) -> Vec<u32> {
    let mut ids = Tokenizer::openai().encode(text);
    if ids.len() > context_length {
        ids.truncate(context_length);
        ids[context_length - 1] = EOT;
    }
    ids.resize(context_length, 0);
    ids
}

#[test]
fn texts_are_cleaned_and_cut_into_the_tokens_of_openai() {
    let mut wrong = Vec::new();
    let cases = golden().cases;
    assert_eq!(cases.len(), 318);
    for Case { text, ids, cleaned } in cases {
        let (got, want) = (clean(&text), cleaned.unwrap_or_else(|| text.clone()));
        if got != want {
            wrong.push(format!("{text:?} is cleaned to {got:?}, not {want:?}"));
        }
        let got = Tokenizer::openai().encode(&text);
        if got != ids {
            wrong.push(format!("{text:?} gives {got:?}, not {ids:?}"));
        }
        let padded = Tokenizer::openai().tokenize(&text, CONTEXT_LENGTH).unwrap();
        assert_eq!(padded.len(), CONTEXT_LENGTH);
        assert!(padded[got.len()..].iter().all(|id| *id == 0));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_text_that_is_too_long_is_refused_with_its_length() {
    let golden = golden();
    for case in &golden.too_long {
        let outcome = Tokenizer::openai().tokenize(&case.text, CONTEXT_LENGTH);
        assert_eq!(outcome.is_err(), case.error_without_truncate, "{}", case.text);
        assert_eq!(truncated(&case.text, CONTEXT_LENGTH), case.ids_truncated);
    }
    for case in &golden.context_length {
        assert!(Tokenizer::openai().tokenize(&case.text, case.context_length).is_err());
        assert_eq!(truncated(&case.text, case.context_length), case.ids);
    }
    let error = Tokenizer::openai().tokenize("a photo of a cat and a dog", 6).unwrap_err();
    assert!(matches!(error, Error::Request { .. }));
    assert_eq!(
        error.to_string(),
        "the text `a photo of a cat and a dog` has 10 tokens (start and end included), but CLIP reads at most 6"
    );
    assert!(Tokenizer::openai().tokenize(&"Ä".repeat(1 << 20), CONTEXT_LENGTH).is_err());
}

#[test]
fn tokens_are_spelled_out_again() {
    for case in golden().decode {
        assert_eq!(Tokenizer::openai().decode(&case.ids), case.decoded);
    }
    assert_eq!(Tokenizer::openai().decode(&[VOCABULARY as u32, u32::MAX]), "\u{fffd}\u{fffd}");
    assert_eq!(Tokenizer::openai().decode(&[SOT]), "<|startoftext|>");
    assert_eq!(Tokenizer::openai().encode("<|EndOfText|>"), [SOT, EOT, EOT]);
}

#[test]
fn the_templates_are_those_of_the_reference_in_its_order() {
    let text = std::fs::read_to_string(golden_path("nada", "text_templates.json")).unwrap();
    let want: Vec<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(TEMPLATES.as_slice(), want);
    for template in TEMPLATES {
        let tokens = Tokenizer::openai().tokenize(&fill(template, "photo"), CONTEXT_LENGTH);
        assert!(tokens.unwrap().contains(&1125), "{template}");
    }
}

proptest! {
    #[test]
    fn any_text_gives_tokens_between_start_and_end(text in ".{0,200}") {
        let ids = Tokenizer::openai().encode(&text);
        prop_assert_eq!(ids[0], SOT);
        prop_assert_eq!(*ids.last().unwrap(), EOT);
        prop_assert!(ids.iter().all(|id| (*id as usize) < VOCABULARY));
        match Tokenizer::openai().tokenize(&text, CONTEXT_LENGTH) {
            Ok(padded) => prop_assert_eq!(padded.len(), CONTEXT_LENGTH),
            Err(_) => prop_assert!(ids.len() > CONTEXT_LENGTH),
        }
    }

    #[test]
    fn text_that_looks_wrongly_decoded_or_escaped_never_panics(
        text in "([ -~]|[\u{80}-\u{17f}]|&#?x?[0-9a-zA-Z]{0,8};?|[\u{2000}-\u{2130}]|\u{1b}\\[|\u{fffd}|\n|<){0,60}"
    ) {
        clean(&text);
    }

    #[test]
    fn plain_words_come_back_from_their_tokens(words in prop::collection::vec("[a-zA-Z]{1,12}", 0..12)) {
        let text = words.join(" ");
        let ids = Tokenizer::openai().encode(&text);
        let back = Tokenizer::openai().decode(&ids[1..ids.len() - 1]);
        prop_assert_eq!(back.trim_end(), clean(&text));
    }
}
