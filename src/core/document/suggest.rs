//! "Did you mean": the known word nearest to a mistyped one.

/// The known word nearest to `text`, when it is near enough to be meant: a third of its length in edits, at most three.
#[must_use]
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (text.chars().count() / 3).clamp(1, 3);
    // Words of very different length are never near; a long text costs nothing.
    let candidates = known.into_iter().filter(|word| word.len().abs_diff(text.len()) <= most);
    candidates.map(|word| (distance(text, word), word)).filter(|&(edits, _)| edits <= most).min().map(|(_, word)| word)
}

/// ``did you mean `word`?``, or a list of the known words where there are few, or nothing.
#[must_use]
pub fn did_you_mean<'a>(text: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(word) = nearest(text, known.clone()) {
        return format!("did you mean `{word}`?");
    }
    let words: Vec<&str> = known.into_iter().take(25).collect();
    if words.is_empty() || words.len() == 25 { String::new() } else { format!("known here: {}", words.join(", ")) }
}

/// Edits (insert, delete, replace, swap of neighbours) between two words: optimal string alignment.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.to_lowercase().chars().collect(), right.to_lowercase().chars().collect());
    let width = right.len() + 1;
    let mut rows = vec![0; (left.len() + 1) * width];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            rows[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(left[i - 1] != right[j - 1]);
                let mut least = (rows[(i - 1) * width + j - 1] + same).min(rows[(i - 1) * width + j] + 1).min(rows[i * width + j - 1] + 1);
                if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                    least = least.min(rows[(i - 2) * width + j - 2] + 1);
                }
                least
            };
        }
    }
    rows[left.len() * width + right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(nearest("intervall", ["interval", "timeout"]), Some("interval"));
        assert_eq!(nearest("tiemout", ["interval", "timeout"]), Some("timeout"));
        assert_eq!(nearest("x", ["interval", "timeout"]), None);
        assert_eq!(nearest("us-east-2", ["us-east-1", "eu-west-1"]), Some("us-east-1"));
        assert_eq!(did_you_mean("zzz", ["a", "b"]), "known here: a, b");
    }
}
