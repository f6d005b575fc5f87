//! `userVolume` and `userVolumeMount`: every form that is denied, with the exact text of the denial.

use mtls_injector::config::Config;
use serde_json::json;

use crate::pods::{denial, pod_with};

const VOLUME: &str = "mtls-injector.io/userVolume";
const MOUNT: &str = "mtls-injector.io/userVolumeMount";

#[test]
fn every_wrong_volume_is_denied_with_its_path_and_reason() {
    for (text, lines) in DENIED_VOLUMES {
        check_denied(VOLUME, text, lines);
        check_denied("sidecar.istio.io/userVolume", text, lines);
    }
}

#[test]
fn every_wrong_mount_is_denied_with_its_path_and_reason() {
    for (text, lines) in DENIED_MOUNTS {
        check_denied(MOUNT, text, lines);
        check_denied("sidecar.istio.io/userVolumeMount", text, lines);
    }
}

fn check_denied(key: &str, text: &str, lines: &[&str]) {
    let mut pod = pod_with(&[(key, text), ("mtls-injector.io/inject", "true")]);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let expected: Vec<_> = lines.iter().map(|line| format!("{key}{line}")).collect();
    assert_eq!(denial(&Config::default(), &pod), expected, "{text}");
}

/// What is written, and every line of the denial.
const DENIED_VOLUMES: &[(&str, &[&str])] = &[
    (
        "",
        &[": is not JSON: EOF while parsing a value at line 1 column 0"],
    ),
    (
        "[{]",
        &[": is not JSON: key must be a string at line 1 column 3"],
    ),
    (
        "[\n  {\"name\": \"v\",\n   secret: {}}]",
        &[": is not JSON: key must be a string at line 3 column 4"],
    ),
    (
        "[] []",
        &[": is not JSON: trailing characters at line 1 column 4"],
    ),
    ("\"v\"", &[": \"v\" is neither a list nor a map by name"]),
    ("7", &[": \"7\" is neither a list nor a map by name"]),
    ("[7]", &["[0]: \"7\" is not an object"]),
    (
        r#"{"name":"v","secret":{"secretName":"s"}}"#,
        &[
            r#".name: "v" is not an object; a single entry is written as a list: [{"name": …}]"#,
            r#".secret.secretName: is not a known field (known: name, secret, configMap, projected, downwardAPI, emptyDir, csi, persistentVolumeClaim, ephemeral, hostPath, image, nfs, iscsi, fc, awsElasticBlockStore, azureDisk, azureFile, cephfs, cinder, flexVolume, flocker, gcePersistentDisk, gitRepo, glusterfs, photonPersistentDisk, portworxVolume, quobyte, rbd, scaleIO, storageos, vsphereVolume)"#,
        ],
    ),
    (
        r#"[{"secret":{"secretName":"s"}}]"#,
        &["[0].name: is required"],
    ),
    (
        r#"[{"name":"V_1","emptyDir":{}}]"#,
        &[r#"[0].name: "V_1" is not a volume name: lower-case letters, digits and -, at most 63"#],
    ),
    (
        r#"[{"name":"","emptyDir":{}}]"#,
        &[r#"[0].name: "" is not a volume name: lower-case letters, digits and -, at most 63"#],
    ),
    (
        r#"[{"name":"v"}]"#,
        &["[0]: has no source, such as secret or configMap"],
    ),
    (
        r#"[{"name":"v","secret":null}]"#,
        &["[0]: has no source, such as secret or configMap"],
    ),
    (
        r#"[{"name":"v","secret":{"secretName":"s"},"emptyDir":{}}]"#,
        &["[0]: has the sources secret and emptyDir; a volume has one"],
    ),
    (
        r#"[{"name":"v","secrte":{"secretName":"s"}}]"#,
        &[r#"[0].secrte: is not a known field; did you mean "secret"?"#],
    ),
    (
        r#"[{"name":"v","secret":{"secretNam":"s"}}]"#,
        &[
            r#"[0].secret.secretNam: is not a known field; did you mean "secretName"?"#,
            "[0].secret.secretName: is required",
        ],
    ),
    (
        r#"[{"name":"v","secret":{"name":"s"}}]"#,
        &[
            "[0].secret.name: is not a known field (known: secretName, items, defaultMode, optional)",
            "[0].secret.secretName: is required",
        ],
    ),
    (
        r#"[{"name":"v","secret":"s"}]"#,
        &[r#"[0].secret: "s" is not an object"#],
    ),
    (
        r#"[{"name":7,"emptyDir":{}}]"#,
        &[r#"[0].name: "7" is not text"#],
    ),
    (
        r#"[{"name":"v","secret":{"secretName":"s","optional":"true","defaultMode":"0400","items":{}}}]"#,
        &[
            r#"[0].secret.optional: "true" is not true or false, without quotes"#,
            r#"[0].secret.defaultMode: "0400" is not a whole number of 32 bits, without quotes"#,
            r#"[0].secret.items: "{}" is not a list"#,
        ],
    ),
    (
        r#"{"v":{"secret":{"secretName":"s","items":[{"key":"k"},{"keys":"k","path":"p"}]}}}"#,
        &[
            ".v.secret.items[0].path: is required",
            r#".v.secret.items[1].keys: is not a known field; did you mean "key"?"#,
            ".v.secret.items[1].key: is required",
        ],
    ),
    (
        r#"[{"name":"v","emptyDir":{"sizeLimit":"1 GB"}}]"#,
        &[r#"[0].emptyDir.sizeLimit: "1 GB" is not a quantity such as 100Mi"#],
    ),
    (
        r#"[{"name":"v","csi":{"driver":"d","volumeAttributes":{"a":1}}}]"#,
        &[r#"[0].csi.volumeAttributes.a: "1" is not text"#],
    ),
    (
        r#"[{"name":"v","emptyDir":{},"EmptyDir":{}}]"#,
        &["[0].EmptyDir: gives emptyDir a second time"],
    ),
    (
        r#"{"a b\n":{"emptyDir":{}}}"#,
        &[
            r#"["a b\n"].name: "a b\n" is not a volume name: lower-case letters, digits and -, at most 63"#,
        ],
    ),
    (
        r#"[{"name":"v","emptyDir":{}},{"name":"v","secret":{"secretName":"s"}}]"#,
        &[r#"[1].name: "v" names two volumes that are defined differently"#],
    ),
    (
        r#"[{"name":"data","secret":{"secretName":"s"}}]"#,
        &[r#"[0].name: "data" names a volume of the pod that is defined otherwise"#],
    ),
];

const DENIED_MOUNTS: &[(&str, &[&str])] = &[
    (
        "[",
        &[": is not JSON: EOF while parsing a list at line 1 column 1"],
    ),
    (r#"[{"name":"data"}]"#, &["[0].mountPath: is required"]),
    (r#"[{"mountPath":"/m"}]"#, &["[0].name: is required"]),
    (
        r#"[{"name":"nope","mountPath":"/m"}]"#,
        &[r#"[0].name: "nope" is neither a volume of the pod nor one of userVolume"#],
    ),
    (
        r#"[{"name":"data","mountpaht":"/m"}]"#,
        &[
            r#"[0].mountpaht: is not a known field; did you mean "mountPath"?"#,
            "[0].mountPath: is required",
        ],
    ),
    (
        r#"[{"name":"data","mountPath":"m"}]"#,
        &[r#"[0].mountPath: "m" is not an absolute path such as /etc/mtlsfiles"#],
    ),
    (
        r#"[{"name":"data","mountPath":"/"}]"#,
        &[r#"[0].mountPath: "/" is the root of the proxy's file system; mount below it"#],
    ),
    (
        r#"[{"name":"data","mountPath":"/a/../b"}]"#,
        &[
            r#"[0].mountPath: "/a/../b" is not a plain path: it has a colon, an empty part, . or .."#,
        ],
    ),
    (
        r#"[{"name":"data","mountPath":"/a:b"}]"#,
        &[r#"[0].mountPath: "/a:b" is not a plain path: it has a colon, an empty part, . or .."#],
    ),
    (
        r#"[{"name":"data","mountPath":"/etc/mtls-proxy"}]"#,
        &[
            r#"[0].mountPath: "/etc/mtls-proxy" meets /etc/mtls-proxy, where the proxy has its own files"#,
        ],
    ),
    (
        r#"[{"name":"data","mountPath":"/etc"}]"#,
        &[r#"[0].mountPath: "/etc" meets /etc/mtls-proxy, where the proxy has its own files"#],
    ),
    (
        r#"[{"name":"data","mountPath":"/m"},{"name":"data","mountPath":"/m/"}]"#,
        &[r#"[1].mountPath: "/m" is mounted twice"#],
    ),
    (
        r#"[{"name":"data","mountPath":"/m","readOnly":"yes"}]"#,
        &[r#"[0].readOnly: "yes" is not true or false, without quotes"#],
    ),
    (
        r#"{"data":"/m"}"#,
        &[r#".data: "/m" is not an object; a single entry is written as a list: [{"name": …}]"#],
    ),
];
