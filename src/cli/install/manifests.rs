//! The files of `webhook-config` that an installation is made of, compiled in. In: a path within
//! that folder. Out: the documents of the file. Knows nothing of what they mean.

use serde_json::Value;

macro_rules! embed {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../webhook-config/", $path)))),+]
    };
}

const FILES: &[(&str, &str)] = embed![
    "base/cluster-role.yaml",
    "base/config.yaml",
    "base/deployment.yaml",
    "base/disruption-budget.yaml",
    "base/kustomization.yaml",
    "base/namespace.yaml",
    "base/network-policy.yaml",
    "base/quota.yaml",
    "base/role.yaml",
    "base/service-account.yaml",
    "base/service.yaml",
    "base/webhook.yaml",
    "components/cert-manager/certificate.yaml",
    "components/cert-manager/cluster-role.yaml",
    "components/cert-manager/deployment.yaml",
    "components/cert-manager/issuer.yaml",
    "components/cert-manager/kustomization.yaml",
    "components/cert-manager/role.yaml",
    "components/cert-manager/webhook.yaml",
    "components/check-secrets/cluster-role.yaml",
    "components/check-secrets/deployment.yaml",
    "components/check-secrets/kustomization.yaml",
    "components/cluster-wide/kustomization.yaml",
    "components/cluster-wide/webhook.yaml",
    "components/end-jobs/cluster-role.yaml",
    "components/end-jobs/deployment.yaml",
    "components/end-jobs/kustomization.yaml",
    "components/istio-labels/kustomization.yaml",
    "components/istio-labels/webhook.yaml",
    "components/monitoring/dashboard.json",
    "components/monitoring/kustomization.yaml",
    "components/monitoring/rules.yaml",
    "components/monitoring/scrape.yaml",
    "components/update-running-pods/cluster-role.yaml",
    "components/update-running-pods/deployment.yaml",
    "components/update-running-pods/kustomization.yaml",
    "components/validating-policy/kustomization.yaml",
    "components/validating-policy/policy.yaml",
];

/// Returns the documents of a file, in their order.
pub(super) fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text(path)).expect("a test parses every embedded file")
}

/// Returns the content of a file.
pub(super) fn text(path: &str) -> &'static str {
    let file = FILES.iter().find(|(name, _)| *name == path);
    let (_, text) = file.expect("a test opens every path that a kustomization names");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_base_and_the_components_is_compiled_in_and_parses() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("webhook-config");
        let mut on_disk = BTreeSet::new();
        let mut folders = vec![root.join("base"), root.join("components")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let within = path.strip_prefix(&root).unwrap();
                    on_disk.insert(within.to_str().unwrap().to_owned());
                }
            }
        }
        let embedded: BTreeSet<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(embedded, on_disk);
        for (path, _) in FILES {
            assert!(!documents(path).is_empty(), "{path} is empty");
        }
    }
}
