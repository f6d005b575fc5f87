//! `userVolume` and `userVolumeMount`: every form that is accepted, and what it leads to.

use std::collections::BTreeSet;

use mtls_injector::config::Config;
use serde_json::{Value, json};

use crate::pods::{Offline, applied, denial, outcome_with, pod_with};

const VOLUME: &str = "mtls-injector.io/userVolume";
const MOUNT: &str = "mtls-injector.io/userVolumeMount";

/// The volumes and the mounts of the user that a pod ends up with.
fn accepted(volume: &str, mount: &str) -> (Vec<Value>, Vec<Value>) {
    let pod = pod_with(&[
        (VOLUME, volume),
        (MOUNT, mount),
        ("mtls-injector.io/inject", "true"),
    ]);
    let patched = applied(&Config::default(), &pod);
    let list = |pointer: &str| {
        patched
            .pointer(pointer)
            .unwrap()
            .as_array()
            .unwrap()
            .clone()
    };
    let ours = |value: &Value| value["name"] == "mtls-proxy-config";
    let without_ours = |mut list: Vec<Value>| {
        list.retain(|value| !ours(value));
        list
    };
    (
        without_ours(list("/spec/volumes")),
        without_ours(list("/spec/initContainers/0/volumeMounts")),
    )
}

#[test]
fn lists_and_maps_mean_the_same_and_mix_freely() {
    let volumes = [
        r#"[{"name":"v","secret":{"secretName":"s"}}]"#,
        r#"{"v":{"secret":{"secretName":"s"}}}"#,
        r#"{"x":{"name":"v","secret":{"secretName":"s"}}}"#,
        r#"[{"NAME":"v","SECRET":{"secretname":"s","items":null}}]"#,
    ];
    let mounts = [
        r#"[{"name":"v","mountPath":"/m","readOnly":true}]"#,
        r#"[{"mountPath":"/m","name":"v","readonly":true}]"#,
        r#"{"v":{"mountPath":"/m","readOnly":true}}"#,
        r#"{"x":{"Name":"v","MountPath":"/m","READONLY":true}}"#,
    ];
    for volume in volumes {
        for mount in mounts {
            let (added, mounted) = accepted(volume, mount);
            let expected = json!([{"name": "v", "secret": {"secretName": "s"}}]);
            assert_eq!(json!(added), expected, "{volume} {mount}");
            let expected = json!([{"name": "v", "mountPath": "/m", "readOnly": true}]);
            assert_eq!(json!(mounted), expected, "{volume} {mount}");
        }
    }
}

#[test]
fn empty_lists_empty_maps_and_null_change_nothing() {
    for volume in ["[]", "{}", "null", " [ ] "] {
        for mount in ["[]", "{}", "null"] {
            assert_eq!(
                accepted(volume, mount),
                (vec![], vec![]),
                "{volume} {mount}"
            );
        }
    }
}

#[test]
fn a_map_is_sorted_by_its_keys_and_a_list_keeps_its_order() {
    let names = |volume: &str| -> Vec<String> {
        let (added, _) = accepted(volume, "[]");
        let names = added
            .iter()
            .map(|volume| volume["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(
        names(r#"{"b":{"emptyDir":{}},"a":{"emptyDir":{}}}"#),
        ["a", "b"]
    );
    assert_eq!(
        names(r#"[{"name":"b","emptyDir":{}},{"name":"a","emptyDir":{}}]"#),
        ["b", "a"]
    );
}

#[test]
fn every_volume_source_of_kubernetes_is_accepted() {
    for source in SOURCES {
        let source: Value = serde_json::from_str(source).unwrap();
        let mut volume = source.clone();
        volume["name"] = "v".into();
        let (added, _) = accepted(&json!([volume]).to_string(), "[]");
        assert_eq!(json!(added), json!([volume]));
        let typed: k8s_openapi::api::core::v1::Volume =
            serde_json::from_value(volume.clone()).unwrap();
        if volume
            .pointer("/projected/sources/0/podCertificate")
            .is_none()
        {
            assert_eq!(
                serde_json::to_value(typed).unwrap(),
                volume,
                "a field is lost"
            );
        }
    }
    assert_eq!(SOURCES.len(), 31, "30 sources, projected twice");
}

const SOURCES: &[&str] = &[
    r#"{"secret":{"secretName":"s","items":[{"key":"k","path":"p","mode":288}],"defaultMode":292,"optional":true}}"#,
    r#"{"configMap":{"name":"c","items":[{"key":"k","path":"p"}],"defaultMode":292,"optional":true}}"#,
    r#"{"projected":{"defaultMode":292,"sources":[{"secret":{"name":"s","items":[],"optional":true}},{"configMap":{"name":"c"}},{"downwardAPI":{"items":[{"path":"p","fieldRef":{"fieldPath":"metadata.name"}}]}},{"serviceAccountToken":{"path":"t","audience":"a","expirationSeconds":600}},{"clusterTrustBundle":{"path":"b","name":"n","optional":true,"signerName":"x","labelSelector":{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]}]}}}]}}"#,
    r#"{"projected":{"sources":[{"podCertificate":{"signerName":"s","keyType":"ED25519","credentialBundlePath":"p","maxExpirationSeconds":3600}}]}}"#,
    r#"{"downwardAPI":{"items":[{"path":"p","mode":292,"resourceFieldRef":{"resource":"limits.cpu","containerName":"c","divisor":"1m"}}],"defaultMode":292}}"#,
    r#"{"emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}}"#,
    r#"{"csi":{"driver":"d","readOnly":true,"fsType":"ext4","volumeAttributes":{"a":"b"},"nodePublishSecretRef":{"name":"s"}}}"#,
    r#"{"persistentVolumeClaim":{"claimName":"c","readOnly":true}}"#,
    r#"{"ephemeral":{"volumeClaimTemplate":{"metadata":{"labels":{"a":"b"},"annotations":{"c":"d"}},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"},"limits":{"storage":"2Gi"}},"storageClassName":"x","volumeMode":"Filesystem","volumeName":"n","volumeAttributesClassName":"z","selector":{"matchLabels":{"a":"b"}},"dataSource":{"kind":"k","name":"n","apiGroup":"g"},"dataSourceRef":{"kind":"k","name":"n","apiGroup":"g","namespace":"m"}}}}}"#,
    r#"{"hostPath":{"path":"/p","type":"Directory"}}"#,
    r#"{"image":{"reference":"r","pullPolicy":"Always"}}"#,
    r#"{"nfs":{"server":"s","path":"/p","readOnly":true}}"#,
    r#"{"iscsi":{"targetPortal":"t","iqn":"i","lun":0,"iscsiInterface":"x","fsType":"ext4","readOnly":true,"portals":["p"],"chapAuthDiscovery":true,"chapAuthSession":true,"secretRef":{"name":"s"},"initiatorName":"n"}}"#,
    r#"{"fc":{"targetWWNs":["w"],"lun":1,"fsType":"ext4","readOnly":true,"wwids":["w"]}}"#,
    r#"{"awsElasticBlockStore":{"volumeID":"v","fsType":"ext4","partition":1,"readOnly":true}}"#,
    r#"{"azureDisk":{"diskName":"d","diskURI":"u","cachingMode":"None","fsType":"ext4","readOnly":true,"kind":"Managed"}}"#,
    r#"{"azureFile":{"secretName":"s","shareName":"n","readOnly":true}}"#,
    r#"{"cephfs":{"monitors":["m"],"path":"/p","user":"u","secretFile":"f","secretRef":{"name":"s"},"readOnly":true}}"#,
    r#"{"cinder":{"volumeID":"v","fsType":"ext4","readOnly":true,"secretRef":{"name":"s"}}}"#,
    r#"{"flexVolume":{"driver":"d","fsType":"ext4","secretRef":{"name":"s"},"readOnly":true,"options":{"a":"b"}}}"#,
    r#"{"flocker":{"datasetName":"d","datasetUUID":"u"}}"#,
    r#"{"gcePersistentDisk":{"pdName":"p","fsType":"ext4","partition":1,"readOnly":true}}"#,
    r#"{"gitRepo":{"repository":"r","revision":"v","directory":"d"}}"#,
    r#"{"glusterfs":{"endpoints":"e","path":"p","readOnly":true}}"#,
    r#"{"photonPersistentDisk":{"pdID":"p","fsType":"ext4"}}"#,
    r#"{"portworxVolume":{"volumeID":"v","fsType":"ext4","readOnly":true}}"#,
    r#"{"quobyte":{"registry":"r","volume":"v","readOnly":true,"user":"u","group":"g","tenant":"t"}}"#,
    r#"{"rbd":{"monitors":["m"],"image":"i","fsType":"ext4","pool":"p","user":"u","keyring":"k","secretRef":{"name":"s"},"readOnly":true}}"#,
    r#"{"scaleIO":{"gateway":"g","system":"s","secretRef":{"name":"n"},"sslEnabled":true,"protectionDomain":"p","storagePool":"q","storageMode":"m","volumeName":"v","fsType":"ext4","readOnly":true}}"#,
    r#"{"storageos":{"volumeName":"v","volumeNamespace":"n","fsType":"ext4","readOnly":true,"secretRef":{"name":"s"}}}"#,
    r#"{"vsphereVolume":{"volumePath":"v","fsType":"ext4","storagePolicyName":"n","storagePolicyID":"i"}}"#,
];

#[test]
fn a_volume_on_the_path_of_the_secret_names_both() {
    let pod = pod_with(&[
        ("mtls-injector.io/secret", "certs"),
        (VOLUME, r#"{"v":{"emptyDir":{}}}"#),
        (MOUNT, r#"{"v":{"mountPath":"/etc/mtlsfiles"}}"#),
    ]);
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            r#"mtls-injector.io/userVolumeMount.v.mountPath: "/etc/mtlsfiles" is where mtls-injector.io/secret mounts certs; give one of them another path"#
        ]
    );
}

#[test]
fn only_allowed_sources_are_accepted_where_the_configuration_limits_them() {
    let config = Config {
        allowed_volume_sources: Some(BTreeSet::from(["secret", "configMap"].map(str::to_owned))),
        ..Config::default()
    };
    let pod = pod_with(&[(VOLUME, r#"{"v":{"hostPath":{"path":"/"}}}"#)]);
    assert_eq!(
        denial(&config, &pod),
        [
            "mtls-injector.io/userVolume.v.hostPath: is not allowed here (allowed: configMap, secret)"
        ]
    );
    let pod = pod_with(&[(VOLUME, r#"{"v":{"secret":{"secretName":"s"}}}"#)]);
    assert_eq!(
        outcome_with(&config, &Offline, &pod).decision.label(),
        "inject"
    );
}

#[test]
fn an_equal_volume_of_the_pod_is_reused() {
    let mut pod = pod_with(&[
        (VOLUME, r#"{"v":{"secret":{"secretName":"s"}}}"#),
        (MOUNT, r#"{"v":{"mountPath":"/m"}}"#),
    ]);
    let stored = json!([{"name": "v", "secret": {"secretName": "s", "defaultMode": 420}}]);
    pod["spec"]["volumes"] = stored.clone();
    let patched = applied(&Config::default(), &pod);
    let volumes = patched["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 2);
    assert_eq!(volumes[0], stored[0]);
}

#[test]
fn a_mode_that_the_proxy_cannot_read_is_warned_of() {
    let warned = |volume: &str, fs_group: Option<i64>| {
        let mut pod = pod_with(&[(VOLUME, volume), (MOUNT, r#"{"v":{"mountPath":"/m"}}"#)]);
        if let Some(group) = fs_group {
            pod["spec"]["securityContext"] = json!({"fsGroup": group});
        }
        let outcome = outcome_with(&Config::default(), &Offline, &pod);
        assert_eq!(outcome.decision.label(), "inject");
        let about_modes = |text: &String| text.contains("cannot be read");
        outcome.warnings.into_iter().find(about_modes)
    };
    let secret = r#"{"v":{"secret":{"secretName":"s","defaultMode":256}}}"#;
    assert_eq!(
        warned(secret, None).unwrap(),
        "volume v: files of mode 0400 cannot be read by the proxy's user; use 0444, or set an fsGroup"
    );
    assert_eq!(warned(secret, Some(2000)), None);
    assert_eq!(
        warned(
            r#"{"v":{"secret":{"secretName":"s","defaultMode":292}}}"#,
            None
        ),
        None
    );
    let item = r#"{"v":{"secret":{"secretName":"s","items":[{"key":"k","path":"p","mode":288}]}}}"#;
    assert!(warned(item, None).unwrap().contains("mode 0440"));
}
