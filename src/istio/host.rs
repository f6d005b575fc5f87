//! Host names as Istio compares them: short names, wildcards, and which of two is more specific.

/// What Kubernetes calls the names of its Services.
pub(super) const CLUSTER_DOMAIN: &str = "svc.cluster.local";

/// Completes a short name with the namespace of the resource it stands in. A name with a dot, a
/// wildcard and an address stay as they are.
pub(super) fn full_name(host: &str, namespace: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if host.contains(['.', ':', '*']) || host.is_empty() {
        host
    } else {
        format!("{host}.{namespace}.{CLUSTER_DOMAIN}")
    }
}

/// Returns whether everything that `host` means is also meant by `pattern`; either may be a wildcard.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        None => pattern == host,
        Some("") => true,
        Some(suffix) => {
            let rest = host.strip_prefix('*').unwrap_or(host);
            rest.ends_with(suffix) && (host.starts_with('*') || rest.len() > suffix.len())
        }
    }
}

/// Orders patterns that cover one host: a full name before wildcards, longer ones before shorter.
pub(super) fn specificity(pattern: &str) -> (bool, usize) {
    (!pattern.starts_with('*'), pattern.len())
}

/// Returns the names under which a pod can dial a Service of Kubernetes, the full one last.
pub(super) fn aliases(host: &str, namespace: &str) -> Vec<String> {
    let Some(short) = host.strip_suffix(&format!(".{CLUSTER_DOMAIN}")) else {
        return vec![host.to_owned()];
    };
    let mut names = Vec::new();
    if let Some((name, own)) = short.split_once('.')
        && own == namespace
    {
        names.push(name.to_owned());
    }
    names.extend([short.to_owned(), format!("{short}.svc"), host.to_owned()]);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_belongs_to_the_namespace_of_its_resource() {
        assert_eq!(full_name("cart", "shop"), "cart.shop.svc.cluster.local");
        assert_eq!(full_name("cart.shop", "x"), "cart.shop");
        assert_eq!(full_name("Bank.Example.", "x"), "bank.example");
        assert_eq!(full_name("*", "x"), "*");
        assert_eq!(full_name("::1", "x"), "::1");
    }

    #[test]
    fn a_wildcard_covers_names_and_narrower_wildcards() {
        for (pattern, host, expected) in [
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", true),
            ("*.example", "*.b.example", true),
            ("*.example", "*.example", true),
            ("*.b.example", "*.example", false),
            ("*.example", "example", false),
            ("*.example", "bad-example", false),
            ("*", "a.example", true),
            ("*", "*", true),
            ("a.example", "*.example", false),
        ] {
            assert_eq!(covers(pattern, host), expected, "{pattern} over {host}");
        }
        assert!(specificity("a.b") > specificity("*.long.example"));
        assert!(specificity("*.b.example") > specificity("*.example"));
    }

    #[test]
    fn a_service_has_the_names_that_the_search_path_completes() {
        let full = "cart.shop.svc.cluster.local";
        let from_inside = ["cart", "cart.shop", "cart.shop.svc", full];
        assert_eq!(aliases(full, "shop"), from_inside);
        assert_eq!(aliases(full, "other"), from_inside[1..]);
        assert_eq!(aliases("bank.example", "shop"), ["bank.example"]);
    }
}
