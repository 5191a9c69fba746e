//! The warning about words that a small CLIP never read.

use crate::clip::Vocabulary;

/// Known phrases that are listed where none is like the one asked for.
const EXAMPLES: usize = 8;
/// Known phrases that are listed because they share a word with it.
const RELATED: usize = 6;
/// Near words that are named for a word.
const NEAR: usize = 3;

/// What to tell the user of a phrase, `None` when there is nothing: `guides` are the models that say what they know, by
/// name, and `role` is what the phrase is for (`target`). Suggestions are known to all of the guides, if possible.
pub(super) fn warning(role: &str, phrase: &str, guides: &[(String, Vocabulary)]) -> Option<String> {
    let mut groups: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    for word in words(phrase, guides) {
        let mut lacking: Vec<&str> = guides
            .iter()
            .filter(|(_, known)| known.unknown_words(phrase).contains(&word))
            .map(|(name, _)| name.as_str())
            .collect();
        // One model may guide twice.
        lacking.dedup();
        match groups.iter_mut().find(|(_, models)| *models == lacking) {
            Some((words, _)) => words.push(word),
            None => groups.push((vec![word], lacking)),
        }
    }
    if groups.is_empty() {
        return None;
    }
    let uses: Vec<String> = groups
        .iter()
        .map(|(words, models)| {
            let models: Vec<String> = models.iter().map(ToString::to_string).collect();
            format!("{}, which {} never read in training", list(&quoted(words)), list(&models))
        })
        .collect();
    let unknown: Vec<&String> = groups.iter().flat_map(|(words, _)| words).collect();
    let advice = near(&unknown, guides)
        .or_else(|| known_phrases(phrase, guides))
        .unwrap_or_else(|| "expect little of it".into());
    Some(format!("the {role} \"{phrase}\" uses {}; {advice}", uses.join(", and ")))
}

/// The words that any of the guides lacks.
fn words(phrase: &str, guides: &[(String, Vocabulary)]) -> Vec<String> {
    let mut all = Vec::new();
    for word in guides.iter().flat_map(|(_, known)| known.unknown_words(phrase)) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all
}

/// "did you mean …?", if any of the words has one that is spelled like it.
fn near(words: &[&String], guides: &[(String, Vocabulary)]) -> Option<String> {
    let mut parts = Vec::new();
    for word in words {
        let mut found = Vec::new();
        for near in guides.iter().flat_map(|(_, known)| known.near(word)) {
            // A guide that knows the word itself finds it.
            if near != **word && !found.contains(&near) {
                found.push(near);
            }
        }
        let mut found = shared(found, guides);
        found.truncate(NEAR);
        if !found.is_empty() {
            let meant = quoted(&found).join(" or ");
            let of = if words.len() == 1 { String::new() } else { format!(" for `{word}`") };
            parts.push(format!("{meant}{of}"));
        }
    }
    (!parts.is_empty()).then(|| format!("did you mean {}?", parts.join(", ")))
}

/// Phrases that a model was taught, the first that names any: those like the one asked for, or else the first few.
fn known_phrases(phrase: &str, guides: &[(String, Vocabulary)]) -> Option<String> {
    let (name, known) = guides.iter().find(|(_, known)| !known.groups().is_empty())?;
    let of = |names: Vec<&str>| shared(names.into_iter().map(str::to_owned).collect(), guides);
    let mut related = of(known.related(phrase));
    if !related.is_empty() {
        related.truncate(RELATED);
        return Some(format!("known phrases: {}", quoted(&related).join(", ")));
    }
    let mut examples = of(known.phrases().collect());
    let all = examples.len();
    examples.truncate(EXAMPLES);
    let examples = quoted(&examples);
    match all {
        n if n > EXAMPLES => Some(format!(
            "known phrases: {} and {} more, see `nada inspect {name}`",
            examples.join(", "),
            n - EXAMPLES
        )),
        _ => Some(format!("known phrases: {}", examples.join(", "))),
    }
}

/// The suggestions that every guide can use; all of them where there is none.
fn shared(found: Vec<String>, guides: &[(String, Vocabulary)]) -> Vec<String> {
    let by_all = |text: &&String| guides.iter().all(|(_, k)| k.unknown_words(text).is_empty());
    let usable: Vec<String> = found.iter().filter(by_all).cloned().collect();
    if usable.is_empty() { found } else { usable }
}

fn quoted(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| format!("`{text}`")).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        _ => items.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::vocabulary::{PHRASES_KEY, WORDS_KEY};

    fn guide(name: &str, words: &str, phrases: &str) -> (String, Vocabulary) {
        let pairs = [(WORDS_KEY, words), (PHRASES_KEY, phrases)];
        let metadata = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        (name.to_owned(), Vocabulary::read(&metadata).unwrap().unwrap())
    }

    fn told(phrase: &str, guides: &[(String, Vocabulary)]) -> String {
        warning("target", phrase, guides).unwrap_or_default()
    }

    #[test]
    fn words_of_like_spelling_are_named_for_each_word() {
        let one = [guide("m", "cartoon watercolor", "photo")];
        assert_eq!(
            told("cartoons", &one),
            "the target \"cartoons\" uses `cartoons`, which m never read in training; did you mean `cartoon`?"
        );
        assert_eq!(
            told("a werewolf in watercolour cartoons", &one),
            "the target \"a werewolf in watercolour cartoons\" uses `werewolf`, `watercolour` and `cartoons`, \
             which m never read in training; did you mean `watercolor` for `watercolour`, `cartoon` for `cartoons`?"
        );
        assert_eq!(warning("target", "cartoon photo", &one), None);
        assert_eq!(warning("target", "werewolf", &[]), None);
        let twice = [one[0].clone(), one[0].clone()];
        assert_eq!(told("cartoons", &twice), told("cartoons", &one));
    }

    #[test]
    fn else_phrases_that_share_a_word_and_else_the_first_of_all() {
        let one = [guide("m", "x", "photo|golden statue|golden coin=gold")];
        assert!(
            told("golden werewolf", &one)
                .ends_with("; known phrases: `golden statue`, `golden coin`")
        );
        assert!(
            told("werewolf", &one)
                .ends_with("; known phrases: `photo`, `golden statue`, `golden coin`")
        );
        let phrases: Vec<String> = (0..11).map(|i| format!("p{i}")).collect();
        let many = [guide("m", "x", &phrases.join("|"))];
        assert!(told("werewolf", &many).ends_with("`p7` and 3 more, see `nada inspect m`"));
    }

    #[test]
    fn an_ensemble_is_warned_of_once_and_says_who_lacks_what() {
        let both = [
            guide("a", "zombie cartoony", "photo|golden photo"),
            guide("b", "cartoon", "photo|golden statue"),
        ];
        assert_eq!(
            told("golden zombie werewolf", &both),
            "the target \"golden zombie werewolf\" uses `werewolf`, which a and b never read in training, and \
             `zombie`, which b never read in training; known phrases: `golden photo`"
        );
        // What both can use is offered, if there is anything.
        let both = [guide("a", "cartoon cartoony", "p"), guide("b", "cartoon", "p")];
        assert!(told("cartoonz", &both).ends_with("did you mean `cartoon`?"));
        let both = [guide("a", "cartoony", "p"), guide("b", "cartoon", "p")];
        assert!(told("cartoonz", &both).ends_with("did you mean `cartoony` or `cartoon`?"));
        assert_eq!(told("cartoon", &[guide("b", "cartoon", "p")]), "");
    }
}
