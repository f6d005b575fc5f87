//! One document of a file. In: the text of a file. Out: its documents, which together are that text,
//! byte for byte.

use mtls_proxy::config::yaml_mistake;
use serde::de::IgnoredAny;
use serde_json::Value;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Yaml,
    Json,
}

/// A document with everything that belongs to it: its `---`, its comments, its final newline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document<'t> {
    text: &'t str,
    /// How many lines of the file are above it.
    above: usize,
    pub(super) syntax: Syntax,
}

/// Splits a file. JSON is a sequence of values; anything else is YAML, of which JSON in flow style
/// is a part.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let (ends, syntax) = match json_ends(text) {
        Some(ends) => (ends, Syntax::Json),
        None => (yaml_ends(text), Syntax::Yaml),
    };
    let mut documents = Vec::with_capacity(ends.len());
    let (mut rest, mut begin, mut above) = (text, 0, 0);
    for end in ends {
        let (text, after) = rest.split_at(end - begin);
        documents.push(Document {
            text,
            above,
            syntax,
        });
        above += text.matches('\n').count();
        (rest, begin) = (after, end);
    }
    documents
}

/// Where each value of a JSON text ends; what follows the last belongs to it.
fn json_ends(text: &str) -> Option<Vec<usize>> {
    let body = text.trim_start_matches('\u{feff}');
    let offset = text.len() - body.len();
    if !body.trim_start().starts_with('{') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<IgnoredAny>();
    let mut ends = Vec::new();
    while let Some(value) = values.next() {
        value.ok()?;
        ends.push(offset + values.byte_offset());
    }
    if let Some(last) = ends.last_mut() {
        *last = text.len();
    }
    Some(ends)
}

/// Where each document of a YAML text ends: before a line that begins with `---`, which can be
/// nothing else (YAML 1.2.2, rule 206, c-forbidden). Directives belong to the document below them.
fn yaml_ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut position = 0;
    let mut begun = false;
    for line in text.split_inclusive('\n') {
        let marker = is_marker(line);
        if marker && begun {
            ends.push(position);
        }
        begun = marker || begun || !is_prologue(line);
        position += line.len();
    }
    if position > 0 {
        ends.push(position);
    }
    ends
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Blank, a comment or a directive: what may stand above the first document's marker.
fn is_prologue(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim();
    line.is_empty() || line.starts_with(['#', '%'])
}

impl<'t> Document<'t> {
    /// Returns the whole text.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// Returns what stands above the content: comments, blank lines, directives and the marker.
    pub(super) fn head(&self) -> String {
        let mut head = String::new();
        if self.syntax == Syntax::Json {
            return head;
        }
        for line in self.text.split_inclusive('\n') {
            if is_prologue(line) {
                head.push_str(line);
            } else if is_marker(line) {
                let rest = line.get(3..).unwrap_or_default().trim();
                let bare = rest.is_empty() || rest.starts_with('#');
                head.push_str(if bare { line } else { "---\n" });
                if !bare {
                    break;
                }
            } else {
                break;
            }
        }
        head
    }

    /// Reads the document as kubectl does: an empty one is `null`, `yes` is true, `0400` is octal.
    pub(super) fn parse(&self) -> Result<Value, String> {
        let text = self.text.trim_start_matches('\u{feff}');
        let value = match self.syntax {
            Syntax::Json => serde_json::from_str(text).map_err(|error| error.to_string())?,
            Syntax::Yaml => self.parse_yaml(text)?,
        };
        match value {
            Value::Object(_) | Value::Null => Ok(value),
            _ => Err("is not a Kubernetes object".to_owned()),
        }
    }

    fn parse_yaml(&self, text: &str) -> Result<Value, String> {
        yaml(text).map_err(|_relative| {
            let json = serde_json::from_str::<IgnoredAny>(text).err();
            match json.filter(|_| text.trim_start().starts_with('{')) {
                Some(error) => format!("is not JSON: {error}"),
                None => format!("is not YAML: {}", self.yaml_error(text)),
            }
        })
    }

    /// Reads the document again, as far down as it is in its file: an error then names that line.
    fn yaml_error(&self, text: &str) -> String {
        let placed = format!("{}{text}", "\n".repeat(self.above));
        let error = yaml(&placed).err().map(|error| yaml_mistake(&error));
        error.unwrap_or_default()
    }
}

fn yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        let documents = split(text);
        let whole: String = documents.iter().map(Document::text).collect();
        assert_eq!(whole, text);
        documents.iter().map(Document::text).collect()
    }

    #[test]
    fn the_documents_of_a_file_are_the_file() {
        assert_eq!(texts(""), [""; 0]);
        assert_eq!(texts("a: 1\n"), ["a: 1\n"]);
        assert_eq!(texts("a: 1\n---\nb: 2"), ["a: 1\n", "---\nb: 2"]);
        assert_eq!(
            texts("---\na: 1\n---\n---\nb: 2\n"),
            ["---\na: 1\n", "---\n", "---\nb: 2\n"]
        );
        assert_eq!(texts("# c\n---\na: 1\n"), ["# c\n---\na: 1\n"]);
        assert_eq!(texts("%YAML 1.2\n---\na: 1\n"), ["%YAML 1.2\n---\na: 1\n"]);
        assert_eq!(
            texts("a: |\n  ---\n  x\n----\n"),
            ["a: |\n  ---\n  x\n----\n"]
        );
        assert_eq!(
            texts("a: 1\r\n---\r\nb: 2\r\n"),
            ["a: 1\r\n", "---\r\nb: 2\r\n"]
        );
    }

    #[test]
    fn json_is_a_sequence_of_values() {
        assert_eq!(
            texts("{\"a\":1}\n{\"b\":2}\n"),
            ["{\"a\":1}", "\n{\"b\":2}\n"]
        );
        assert_eq!(
            texts("{a: 1}\n---\n{b: 2}\n"),
            ["{a: 1}\n", "---\n{b: 2}\n"]
        );
    }

    #[test]
    fn the_head_is_what_stands_above_the_content() {
        let head = |text| split(text)[0].head();
        assert_eq!(
            head("# licence\n---\n# app\n\na: 1 # x\n# end\n"),
            "# licence\n---\n# app\n\n"
        );
        assert_eq!(head("--- # one\na: 1\n"), "--- # one\n");
        assert_eq!(head("--- {a: 1}\n"), "---\n");
        assert_eq!(head("{\"a\":1}"), "");
    }

    #[test]
    fn numbers_and_flags_are_read_as_kubectl_reads_them() {
        let read = |text: &str| split(text)[0].parse().unwrap()["a"].clone();
        assert_eq!(read("a: 0400"), 256);
        assert_eq!(read("a: yes"), true);
        assert_eq!(read("a: \"yes\""), "yes");
        assert_eq!(read("a: 0x1F"), 31);
        assert_eq!(read("a: ~"), Value::Null);
        assert_eq!(read("a: 2020-01-01"), "2020-01-01");
    }

    #[test]
    fn an_error_names_the_line_of_the_file() {
        let documents = split("a: 1\n---\nb: {a: [}\n");
        let error = documents[1].parse().unwrap_err();
        assert!(
            error.starts_with("is not YAML: ") && error.contains("line 3"),
            "{error}"
        );
        let error = split("a: 1\na: 2\n")[0].parse().unwrap_err();
        assert_eq!(
            error,
            "is not YAML: duplicate mapping key: a at line 2, column 1"
        );
        let error = split("{\"a\":[}")[0].parse().unwrap_err();
        assert_eq!(error, "is not JSON: expected value at line 1 column 7");
        assert_eq!(
            split("- a\n")[0].parse().unwrap_err(),
            "is not a Kubernetes object"
        );
    }
}
