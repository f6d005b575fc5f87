//! What is wrong with a document: every mistake, each with the path, the value and what would be
//! right. In: findings of the parsers. Out: text for people, one line a mistake.

use std::borrow::Cow;
use std::fmt;

/// One mistake. Its text reads `PATH: "VALUE" REASON`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, such as `egress[0].tls.mode`; empty for the document itself.
    pub path: String,
    /// The offending value, when it is a single one.
    pub value: Option<String>,
    /// What is wrong and what would be right: a fragment that follows the quoted value.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", on_one_line(&self.path))?;
        }
        if let Some(value) = &self.value {
            write!(f, "{:?} ", shortened(value))?;
        }
        f.write_str(&self.reason)
    }
}

/// A path is made of keys that a user wrote, in which there may be anything.
fn on_one_line(path: &str) -> Cow<'_, str> {
    if path.contains(char::is_control) {
        Cow::Owned(path.escape_debug().to_string())
    } else {
        Cow::Borrowed(path)
    }
}

/// All mistakes of one document, in the order of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds a mistake found at `path`.
    pub fn add(&mut self, path: &str, value: Option<&str>, reason: &str) {
        self.0.push(Mistake {
            path: path.to_owned(),
            value: value.map(str::to_owned),
            reason: reason.to_owned(),
        });
    }

    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Yields the mistakes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// Turns a parsed value into a result: the value, unless there was a mistake.
    ///
    /// # Errors
    /// The mistakes, when there are any. A missing value without a mistake is a bug of the parser.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl IntoIterator for Mistakes {
    type Item = Mistake;
    type IntoIter = std::vec::IntoIter<Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

/// Returns the known word nearest to a misspelt one, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, candidate)| distance <= 1 + candidate.len().min(word.len()) / 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (j, &to) in b.iter().enumerate() {
            let Some(above) = row.get_mut(j + 1) else {
                break;
            };
            let substituted = diagonal + usize::from(from != to);
            diagonal = *above;
            left = substituted.min(left + 1).min(diagonal + 1);
            *above = left;
        }
    }
    if a.is_empty() {
        b.len()
    } else {
        row.last().copied().unwrap_or_default()
    }
}

/// A value is quoted in an error only as far as it helps to find it.
fn shortened(value: &str) -> String {
    const LONGEST: usize = 80;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest_word() {
        let known = ["host", "port", "targetPort", "tls"];
        assert_eq!(nearest("tagetPort", known), Some("targetPort"));
        assert_eq!(nearest("Host", known), Some("host"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_mistake_reads_as_path_value_reason() {
        let mut mistakes = Mistakes::default();
        mistakes.add("egress[0].port", Some("80a"), "is not a port (1-65535)");
        mistakes.add("", None, "is not YAML");
        assert_eq!(
            mistakes.to_string(),
            "egress[0].port: \"80a\" is not a port (1-65535)\nis not YAML"
        );
    }
}
