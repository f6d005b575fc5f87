//! Reads HTTP/1 as the RFCs write it, once more and by other means than the proxy: what is left to
//! guesses is wrong.
//!
//! In: bytes. Out: a message and its length, or why there is none. Pure.

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading<T> {
    /// A message, and how many bytes it took.
    Whole(T, usize),
    /// There has to be more.
    Partial,
    /// It has two readings, or none.
    Wrong(&'static str),
}

/// Name in small letters and value, of each field in turn.
pub(super) type FieldLines = Vec<(String, Vec<u8>)>;

/// A request with its body, as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) version: String,
    pub(super) fields: FieldLines,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| own == name)
    }
}

/// An answer with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: FieldLines,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.fields.iter();
        fields.find_map(|(own, value)| (own == name).then_some(value.as_slice()))
    }
}

/// Reads a request.
pub(super) fn request(bytes: &[u8]) -> Reading<Request> {
    let (line, fields, head) = match head(bytes) {
        Reading::Whole((line, fields), head) => (line, fields, head),
        Reading::Partial => return Reading::Partial,
        Reading::Wrong(why) => return Reading::Wrong(why),
    };
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = parts[..] else {
        return Reading::Wrong("a request line is three words");
    };
    if !is_token(method) || target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Reading::Wrong("a method or a target");
    }
    let hosts = fields.iter().filter(|(name, _)| name == "host").count();
    if hosts > 1 || (hosts == 0 && version == "HTTP/1.1") {
        return Reading::Wrong("one host");
    }
    let size = match framing(&fields) {
        Ok(Size::Chunks) if version == "HTTP/1.0" => return Reading::Wrong("chunks in HTTP/1.0"),
        Ok(size) => size,
        Err(why) => return Reading::Wrong(why),
    };
    body(bytes, head, &size.unwrap_or(Size::Length(0))).map(|body| Request {
        method: method.to_owned(),
        target: target.to_owned(),
        version: version.to_owned(),
        fields,
        body,
    })
}

/// Reads an answer; `to_head` of a request that gets no body. `ended`: nothing more will come.
pub(super) fn answer(bytes: &[u8], to_head: bool, ended: bool) -> Reading<Answer> {
    let (line, fields, head) = match head(bytes) {
        Reading::Whole((line, fields), head) => (line, fields, head),
        Reading::Partial => return Reading::Partial,
        Reading::Wrong(why) => return Reading::Wrong(why),
    };
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "));
    let status = rest.and_then(|rest| {
        let (digits, reason) = rest.split_at_checked(3)?;
        let right = reason.is_empty() || reason.starts_with(' ');
        digits.parse().ok().filter(|_| right)
    });
    let Some(status @ 100..=599) = status else {
        return Reading::Wrong("a status line");
    };
    let size = match framing(&fields) {
        Ok(_) if to_head || matches!(status, 100..=199 | 204 | 304) => Size::Length(0),
        Ok(Size::None) if ended => Size::Length(bytes.len() - head),
        Ok(Size::None) => return Reading::Partial,
        Ok(size) => size,
        Err(why) => return Reading::Wrong(why),
    };
    body(bytes, head, &size).map(|body| Answer {
        status,
        fields,
        body,
    })
}

impl<T> Reading<T> {
    fn map<U>(self, with: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Whole(value, length) => Reading::Whole(with(value), length),
            Self::Partial => Reading::Partial,
            Self::Wrong(why) => Reading::Wrong(why),
        }
    }
}

fn head(bytes: &[u8]) -> Reading<(String, FieldLines)> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = bytes.windows(END.len()).position(|window| window == END) else {
        return Reading::Partial;
    };
    let mut lines = Lines(bytes.get(..end + 2).unwrap_or_default());
    let Some(Ok(first)) = lines.next() else {
        return Reading::Wrong("a first line");
    };
    let line = String::from_utf8_lossy(first).into_owned();
    match lines.map(|line| field(line?)).collect() {
        Ok(fields) => Reading::Whole((line, fields), end + END.len()),
        Err(why) => Reading::Wrong(why),
    }
}

/// Lines that CR LF ends, without it.
struct Lines<'b>(&'b [u8]);

impl<'b> Iterator for Lines<'b> {
    type Item = Result<&'b [u8], &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.windows(2).position(|pair| pair == b"\r\n");
        let (line, rest) = self.0.split_at_checked(end?)?;
        self.0 = rest.get(2..).unwrap_or_default();
        let control = line
            .iter()
            .any(|byte| matches!(byte, 0..=8 | 10..=31 | 127));
        Some(if control {
            Err("a control character in a line")
        } else {
            Ok(line)
        })
    }
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = colon
        .and_then(|colon| line.split_at_checked(colon))
        .ok_or("a field without a colon")?;
    let name = std::str::from_utf8(name).ok().filter(|name| is_token(name));
    let name = name.ok_or("the name of a field")?.to_ascii_lowercase();
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    Ok((name, value.to_vec()))
}

fn is_token(text: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(sign)
}

#[derive(Debug, PartialEq, Eq)]
enum Size {
    None,
    Length(usize),
    Chunks,
}

impl Size {
    fn unwrap_or(self, other: Self) -> Self {
        if self == Self::None { other } else { self }
    }
}

fn framing(fields: &FieldLines) -> Result<Size, &'static str> {
    let values = |name: &str| -> Vec<&[u8]> {
        let own = fields.iter().filter(|(own, _)| own == name);
        own.map(|(_, value)| value.as_slice()).collect()
    };
    match (
        &values("content-length")[..],
        &values("transfer-encoding")[..],
    ) {
        ([], []) => Ok(Size::None),
        ([length], []) => number(length, 10).map(Size::Length).ok_or("a length"),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Size::Chunks),
        _ => Err("two lengths, or an unknown coding"),
    }
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let right = text.len() < 16 && text.chars().all(|digit| digit.is_digit(radix));
    usize::from_str_radix(text, radix).ok().filter(|_| right)
}

fn body(bytes: &[u8], head: usize, size: &Size) -> Reading<Vec<u8>> {
    let rest = bytes.get(head..).unwrap_or_default();
    match size {
        Size::None => Reading::Whole(Vec::new(), head),
        Size::Length(length) => match rest.get(..*length) {
            Some(body) => Reading::Whole(body.to_vec(), head + length),
            None => Reading::Partial,
        },
        Size::Chunks => match chunks(rest) {
            Reading::Whole(body, length) => Reading::Whole(body, head + length),
            other => other,
        },
    }
}

fn chunks(bytes: &[u8]) -> Reading<Vec<u8>> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let mut rest = Lines(bytes.get(at..).unwrap_or_default());
        let before = rest.0.len();
        let size = match rest.next() {
            None => return Reading::Partial,
            Some(Err(why)) => return Reading::Wrong(why),
            Some(Ok(line)) => line.split(|byte| *byte == b';').next().unwrap_or_default(),
        };
        at += before - rest.0.len();
        match number(size, 16) {
            None => return Reading::Wrong("the size of a chunk"),
            Some(0) => break,
            Some(size) => match (rest.0.get(..size), rest.0.get(size..size + 2)) {
                (Some(data), Some(b"\r\n")) => {
                    body.extend_from_slice(data);
                    at += size + 2;
                }
                (Some(_), Some(_)) => return Reading::Wrong("a chunk without its end"),
                _ => return Reading::Partial,
            },
        }
    }
    loop {
        let mut rest = Lines(bytes.get(at..).unwrap_or_default());
        let before = rest.0.len();
        match rest.next() {
            None => return Reading::Partial,
            Some(Err(why)) => return Reading::Wrong(why),
            Some(Ok(b"")) => return Reading::Whole(body, at + 2),
            Some(Ok(line)) => {
                if let Err(why) = field(line) {
                    return Reading::Wrong(why);
                }
                at += before - rest.0.len();
            }
        }
    }
}
