//! The phrases that images are held against.

/// Styles and domains that a generator is commonly moved to, and what it comes from. The shipped CLIP models have read
/// each of these words.
pub const USUAL: [&str; 27] = [
    "photo",
    "sketch",
    "pencil drawing",
    "charcoal drawing",
    "ink drawing",
    "cartoon",
    "Pixar character",
    "oil painting",
    "watercolor painting",
    "Van Gogh painting",
    "pixel art",
    "mosaic",
    "stained glass",
    "pop art",
    "comic book",
    "black and white photo",
    "old photograph",
    "neon",
    "photo negative",
    "ukiyo-e print",
    "marble statue",
    "bronze statue",
    "golden statue",
    "zombie",
    "smurf",
    "clown",
    "anime",
];

/// The source first, the target second, then `others` without what is there already, upper and lower case being equal.
pub fn around(source: &str, target: &str, others: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for phrase in [source.to_owned(), target.to_owned()].into_iter().chain(others) {
        let phrase = phrase.trim().to_owned();
        let known = all.iter().any(|p| p.to_lowercase() == phrase.to_lowercase());
        if !phrase.is_empty() && !known {
            all.push(phrase);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_target_lead_and_nothing_comes_twice() {
        let others = ["Sketch", " ", "photo ", "clown", "clown"].map(str::to_owned);
        assert_eq!(around("photo", "sketch", others), ["photo", "sketch", "clown"]);
    }
}
