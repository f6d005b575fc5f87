//! What a person names in a cluster, as kubectl lets them: `pod/NAME`, `namespace/NAME`.

use std::str::FromStr;

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A pod of the namespace that `-n` names.
    Pod(String),
    /// A namespace with all its pods.
    Namespace(String),
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not pod/NAME or namespace/NAME";
        let (kind, name) = text.split_once('/').ok_or(WRONG)?;
        // A name goes into the path of a request: only what a name may hold (RFC 1123).
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
            });
        match kind {
            _ if !is_name => Err(WRONG),
            "pod" | "pods" | "po" => Ok(Self::Pod(name.to_owned())),
            "namespace" | "namespaces" | "ns" => Ok(Self::Namespace(name.to_owned())),
            _ => Err(WRONG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_as_for_kubectl() {
        assert_eq!("pod/web-1".parse(), Ok(Target::Pod("web-1".to_owned())));
        assert_eq!("ns/shop".parse(), Ok(Target::Namespace("shop".to_owned())));
        for wrong in ["web", "pod/", "pod/a/b", "pod/..%2f", "deployment/web"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
