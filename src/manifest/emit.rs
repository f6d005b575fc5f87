//! Writes a changed document in the manner of the one it replaces. In: a value and its source. Out:
//! YAML or JSON that every reader, of YAML 1.1 or 1.2, understands as that value.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_saphyr::SingleQuoted;

use super::document::{Document, Syntax};

/// Writes a value as its source was written: YAML with the same indentation of lists, JSON with the
/// same indentation, either with the same line ends.
pub(super) fn write(value: &Value, source: &Document<'_>) -> String {
    let text = match source.syntax {
        Syntax::Yaml => yaml(value, ListStyle::of(source.text())),
        Syntax::Json => json(value, source.text()),
    };
    if source.text().contains("\r\n") {
        text.replace('\n', "\r\n")
    } else {
        text
    }
}

/// How far a list is indented below its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListStyle {
    /// As far as the key.
    Compact,
    /// Further.
    Indented,
}

impl ListStyle {
    /// Looks at the first list below a key.
    fn of(text: &str) -> Self {
        let mut key = None;
        let lines = text.lines().filter(|line| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with('#')
        });
        for line in lines {
            let content = line.trim_start_matches([' ', '-']);
            let dash = line.trim_start().starts_with("- ") || line.trim() == "-";
            if let (Some(key), true) = (key, dash) {
                let dash = line.len() - line.trim_start().len();
                return if dash > key {
                    Self::Indented
                } else {
                    Self::Compact
                };
            }
            let ends_key = line.trim_end().ends_with(':');
            key = ends_key.then_some(line.len() - content.len());
        }
        Self::Compact
    }
}

fn yaml(value: &Value, lists: ListStyle) -> String {
    let options = serde_saphyr::ser_options! {
        compact_list_indent: lists == ListStyle::Compact,
        // One line stays one line: a folded annotation is hard to read and to copy.
        folded_wrap_chars: usize::MAX,
    };
    serde_saphyr::to_string_with_options(&Quoted(value), options)
        .expect("any JSON value can be written as YAML")
}

/// A value whose strings of JSON are written in single quotes, as people write them: annotations are
/// full of them, and in double quotes each of their own would be escaped.
struct Quoted<'v>(&'v Value);

impl Serialize for Quoted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(key, value)| (key, Quoted(value))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Quoted)),
            Value::String(text) if is_json(text) => SingleQuoted(text).serialize(serializer),
            other => other.serialize(serializer),
        }
    }
}

fn is_json(text: &str) -> bool {
    text.starts_with(['[', '{'])
        && text.contains('"')
        && text
            .chars()
            .all(|letter| matches!(letter, ' '..='&' | '('..='~'))
}

fn json(value: &Value, like: &str) -> String {
    let written = match json_indent(like) {
        None => serde_json::to_vec(value),
        Some(indent) => {
            let mut written = Vec::new();
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            let mut serializer = Serializer::with_formatter(&mut written, formatter);
            value.serialize(&mut serializer).map(|()| written)
        }
    };
    let written = written.expect("writing JSON to memory does not fail");
    let text = String::from_utf8(written).expect("JSON is UTF-8");
    let newline_before = like.starts_with(['\n', '\r']);
    let newline_after = like.ends_with('\n');
    let line_end = |there: bool| if there { "\n" } else { "" };
    format!(
        "{}{text}{}",
        line_end(newline_before),
        line_end(newline_after)
    )
}

/// Returns the indentation of the first field, unless all is in one line.
fn json_indent(text: &str) -> Option<&str> {
    let (_, after) = text.split_once('{')?;
    let (before, line) = after.split_once('\n')?;
    if !before.trim().is_empty() {
        return None;
    }
    let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    line.get(..indent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::document::split;
    use super::*;

    fn rewritten(text: &str) -> String {
        let documents = split(text);
        write(&documents[0].parse().unwrap(), &documents[0])
    }

    #[test]
    fn keeps_the_manner_of_the_source() {
        for text in [
            "a:\n- b: 1\n  c:\n  - 2\n",
            "a:\n  - b: 1\n    c:\n      - 2\n",
            "a: x\r\nb:\r\n- 1\r\n",
            "a: '[{\"name\":\"x\"}]'\nb: \"{x's}\"\n",
            "{\"a\":[1]}\n",
            "{\n\t\"a\": [\n\t\t1\n\t]\n}",
            "{\n    \"a\": {}\n}\n",
        ] {
            assert_eq!(rewritten(text), text);
        }
    }

    #[test]
    fn long_lines_stay_lines() {
        let long = format!("a: '[{}]'\n", "{\"name\":\"volume\"},".repeat(20));
        assert_eq!(rewritten(&long).lines().count(), 1);
    }

    #[test]
    fn strings_that_look_like_something_else_stay_strings() {
        let words = "yes no on off y n true null ~ 0777 0o17 1e3 1_000 0x1F 1:30 12:30:45 2020-01-01 \
                     .5 +1 - = << #x *x &x !x %x @x `x {a} [a] ? | > ' \"";
        let spaced = [
            "", "a: b", "a #b", " x", "x ", "\u{1}", "\u{feff}", "a\nb", "a\n\n", "\n a",
        ];
        for word in words.split(' ').chain(spaced) {
            let value = json!({ "a": word, "b": [word] });
            let document = split("a: 1\n")[0];
            let text = write(&value, &document);
            let read: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(read, value, "{text}");
            let quoted = text.starts_with("a: \"") || text.starts_with("a: '");
            let block = text.starts_with("a: |");
            assert!(quoted || block, "{word:?} was written plainly: {text}");
        }
    }
}
