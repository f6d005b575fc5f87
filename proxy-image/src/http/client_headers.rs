//! What the application is told of its client: `x-forwarded-client-cert` and `x-client-cert-*`. What
//! a client itself sends under these names never gets through as if it came from here.
//!
//! In: the port's setting and the identity of a verified client. Out: changed request headers.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::ForwardClientCert;
use crate::identity::ClientIdentity;

const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// The headers of one connection's client, made once.
#[derive(Debug)]
pub(super) struct ClientHeaders {
    forward: ForwardClientCert,
    verified: Option<Verified>,
}

#[derive(Debug)]
struct Verified {
    element: Option<HeaderValue>,
    parts: [(HeaderName, Option<HeaderValue>); 4],
}

impl ClientHeaders {
    pub(super) fn new(forward: ForwardClientCert, client: Option<&ClientIdentity>) -> Self {
        Self {
            forward,
            verified: client.map(Verified::new),
        }
    }

    /// Returns the same as whole lines, where nothing that came is kept.
    pub(super) fn lines(&self) -> Option<Vec<u8>> {
        let told = match self.forward {
            ForwardClientCert::AppendForward | ForwardClientCert::ForwardOnly => return None,
            ForwardClientCert::Sanitize => None,
            ForwardClientCert::SanitizeSet => self.verified.as_ref(),
        };
        let mut headers = HeaderMap::new();
        if let Some(verified) = told {
            verified.tell(&mut headers);
        }
        let mut lines = Vec::new();
        for (name, value) in &headers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        Some(lines)
    }

    /// Changes the headers of one request.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        let came: Vec<HeaderValue> = match (self.forward, &self.verified) {
            (ForwardClientCert::AppendForward | ForwardClientCert::ForwardOnly, Some(_)) => {
                headers.get_all(XFCC).iter().cloned().collect()
            }
            _ => Vec::new(),
        };
        strip(headers);
        for element in came {
            headers.append(XFCC, element);
        }
        let Some(verified) = &self.verified else {
            return;
        };
        match self.forward {
            ForwardClientCert::SanitizeSet | ForwardClientCert::AppendForward => {
                verified.tell(headers);
            }
            ForwardClientCert::Sanitize | ForwardClientCert::ForwardOnly => {}
        }
    }
}

impl Verified {
    fn new(client: &ClientIdentity) -> Self {
        let part = |name, text: &str| {
            let value = HeaderValue::from_str(text).ok();
            (HeaderName::from_static(name), value)
        };
        Self {
            element: HeaderValue::try_from(client.xfcc(None)).ok(),
            parts: [
                part("x-client-cert-subject", &client.subject),
                part("x-client-cert-issuer", &client.issuer),
                part("x-client-cert-serial", &client.serial),
                part("x-client-cert-not-after", &client.not_after()),
            ],
        }
    }

    fn tell(&self, headers: &mut HeaderMap) {
        if let Some(element) = &self.element {
            headers.append(XFCC, element.clone());
        }
        for (name, value) in &self.parts {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }
}

/// Takes away what a client says about itself.
pub(super) fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| says_who_a_client_is(name.as_str()))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Returns whether a field is one of those of this module, in whatever case. An underscore counts as
/// a hyphen, because CGI and its heirs hand both to an application under one name.
pub(super) fn says_who_a_client_is(name: &str) -> bool {
    let same = |(a, b): (u8, u8)| a.to_ascii_lowercase() == b || (a == b'_' && b == b'-');
    let begins =
        |prefix: &str| name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(same);
    begins("x-client-cert-") || (name.len() == XFCC.as_str().len() && begins(XFCC.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientIdentity {
        ClientIdentity {
            subject: "CN=inventory".to_owned(),
            issuer: "CN=ca".to_owned(),
            serial: "0a".to_owned(),
            not_after: 0,
            uris: Vec::new(),
            dns_names: vec!["inventory.example".to_owned()],
            common_name: Some("inventory".to_owned()),
            hash: "ab".to_owned(),
        }
    }

    fn spoofed() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in [
            "x-forwarded-client-cert",
            "x_forwarded_client_cert",
            "x-client-cert-subject",
            "x_client_cert-serial",
            "x-client-cert-anything",
            "x-client-cert-",
        ] {
            headers.append(name, HeaderValue::from_static("spoofed"));
        }
        headers.append("x-client-certain", HeaderValue::from_static("kept"));
        headers
    }

    fn after(forward: ForwardClientCert, verified: bool) -> String {
        let client = client();
        let mut headers = spoofed();
        ClientHeaders::new(forward, verified.then_some(&client)).apply(&mut headers);
        assert_eq!(headers["x-client-certain"], "kept");
        assert!(!headers.contains_key("x_forwarded_client_cert"));
        assert!(!headers.contains_key("x_client_cert-serial"));
        assert!(!headers.contains_key("x-client-cert-anything"));
        assert!(!headers.contains_key("x-client-cert-"));
        let text = |name: &str| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            values.join(" + ")
        };
        format!(
            "{}|{}",
            text("x-forwarded-client-cert"),
            text("x-client-cert-subject")
        )
    }

    #[test]
    fn spoofed_names_never_get_through() {
        const OWN: &str = "Hash=ab;Subject=\"CN=inventory\";DNS=inventory.example";
        use ForwardClientCert::{AppendForward, ForwardOnly, Sanitize, SanitizeSet};
        assert_eq!(after(SanitizeSet, true), format!("{OWN}|CN=inventory"));
        assert_eq!(
            after(AppendForward, true),
            format!("spoofed + {OWN}|CN=inventory")
        );
        assert_eq!(after(Sanitize, true), "|");
        assert_eq!(after(ForwardOnly, true), "spoofed|");
        for forward in [SanitizeSet, AppendForward, Sanitize, ForwardOnly] {
            assert_eq!(after(forward, false), "|");
        }
    }
}
