//! The value of the `secret` annotation: `NAME` or `NAME:/mount/path`. Parsed once; what is behind it
//! works with a checked name and path.

use std::str::FromStr;

use mtls_proxy::config::DEFAULT_CREDENTIALS;

/// A Secret and where the proxy sees its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMount {
    /// The name of the Secret.
    pub name: SecretName,
    /// An absolute path without a final slash.
    pub path: String,
}

impl FromStr for SecretMount {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = match text.split_once(':') {
            Some((name, path)) => (name, path),
            None => (text, DEFAULT_CREDENTIALS),
        };
        Ok(Self {
            name: name
                .parse()
                .map_err(|_| "is not NAME or NAME:/mount/path, where NAME names a Secret")?,
            path: mount_path(path)?,
        })
    }
}

/// The name of a Secret: a DNS subdomain (RFC 1123).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(String);

impl SecretName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= 253 && text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not the name of a Secret: lower-case letters, digits, - and .")
        }
    }
}

/// Whether a text is a label of lower-case letters, digits and inner hyphens (RFC 1123). The length
/// is the caller's to bound.
pub(super) fn is_label(text: &str) -> bool {
    let right = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(right) && !text.starts_with('-') && !text.ends_with('-')
}

/// Checks a path in the proxy's container and drops its final slash.
pub(super) fn mount_path(text: &str) -> Result<String, &'static str> {
    let path = text.trim_end_matches('/');
    if !text.starts_with('/') {
        return Err("is not an absolute path such as /etc/mtlsfiles");
    }
    if path.is_empty() {
        return Err("is the root of the proxy's file system; mount below it");
    }
    // Kubernetes refuses `:` in a mountPath, and a path with `..` could name one place in two ways.
    let ambiguous = |part: &str| matches!(part, "" | "." | "..");
    if path.contains([':', '\0', '\n']) || path.split('/').skip(1).any(ambiguous) {
        return Err("is not a plain path: it has a colon, an empty part, . or ..");
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_name_and_an_optional_path() {
        let mount: SecretMount = "my-secret".parse().unwrap();
        assert_eq!(
            (mount.name.as_str(), &*mount.path),
            ("my-secret", "/etc/mtlsfiles")
        );
        let mount: SecretMount = "a.b:/certs/".parse().unwrap();
        assert_eq!((mount.name.as_str(), &*mount.path), ("a.b", "/certs"));
    }

    #[test]
    fn refuses_what_kubernetes_would_refuse() {
        for text in [
            "",
            ":",
            "a:",
            "a:b",
            "A",
            "a_b",
            "-a",
            "a..b",
            "a:/",
            "a:/b:/c",
            "a:/b/../c",
        ] {
            assert!(text.parse::<SecretMount>().is_err(), "{text:?}");
        }
    }
}
