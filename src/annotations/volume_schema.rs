//! Kubernetes' volume sources and their fields, as tables (core/v1 `Volume` and `VolumeMount`,
//! Kubernetes 1.36). Data only.

use super::schema::Kind::{Flag, Integer, List, Map, Object, Quantity, Text};
use super::schema::{Field, optional, required};

/// The fields of a `VolumeMount`.
pub(super) const MOUNT: &[Field] = &[
    required("name", Text),
    required("mountPath", Text),
    optional("readOnly", Flag),
    optional("recursiveReadOnly", Text),
    optional("subPath", Text),
    optional("subPathExpr", Text),
    optional("mountPropagation", Text),
];

/// The fields of a `Volume`: its name, and one of the sources.
pub(super) const VOLUME: &[Field] = &[
    required("name", Text),
    optional("secret", Object(SECRET)),
    optional("configMap", Object(CONFIG_MAP)),
    optional("projected", Object(PROJECTED)),
    optional("downwardAPI", Object(DOWNWARD_API)),
    optional("emptyDir", Object(EMPTY_DIR)),
    optional("csi", Object(CSI)),
    optional("persistentVolumeClaim", Object(CLAIM)),
    optional("ephemeral", Object(EPHEMERAL)),
    optional("hostPath", Object(HOST_PATH)),
    optional("image", Object(IMAGE)),
    optional("nfs", Object(NFS)),
    optional("iscsi", Object(ISCSI)),
    optional("fc", Object(FC)),
    optional("awsElasticBlockStore", Object(AWS_ELASTIC_BLOCK_STORE)),
    optional("azureDisk", Object(AZURE_DISK)),
    optional("azureFile", Object(AZURE_FILE)),
    optional("cephfs", Object(CEPHFS)),
    optional("cinder", Object(CINDER)),
    optional("flexVolume", Object(FLEX_VOLUME)),
    optional("flocker", Object(FLOCKER)),
    optional("gcePersistentDisk", Object(GCE_PERSISTENT_DISK)),
    optional("gitRepo", Object(GIT_REPO)),
    optional("glusterfs", Object(GLUSTERFS)),
    optional("photonPersistentDisk", Object(PHOTON_PERSISTENT_DISK)),
    optional("portworxVolume", Object(PORTWORX_VOLUME)),
    optional("quobyte", Object(QUOBYTE)),
    optional("rbd", Object(RBD)),
    optional("scaleIO", Object(SCALE_IO)),
    optional("storageos", Object(STORAGEOS)),
    optional("vsphereVolume", Object(VSPHERE_VOLUME)),
];

const SECRET: &[Field] = &[
    // Optional in Kubernetes' types, but its validation demands it.
    required("secretName", Text),
    optional("items", List(&Object(KEY_TO_PATH))),
    optional("defaultMode", Integer),
    optional("optional", Flag),
];

const CONFIG_MAP: &[Field] = &[
    required("name", Text),
    optional("items", List(&Object(KEY_TO_PATH))),
    optional("defaultMode", Integer),
    optional("optional", Flag),
];

const KEY_TO_PATH: &[Field] = &[
    required("key", Text),
    required("path", Text),
    optional("mode", Integer),
];

const PROJECTED: &[Field] = &[
    optional("sources", List(&Object(PROJECTION))),
    optional("defaultMode", Integer),
];

const PROJECTION: &[Field] = &[
    optional("secret", Object(PROJECTED_OBJECT)),
    optional("configMap", Object(PROJECTED_OBJECT)),
    optional("downwardAPI", Object(PROJECTED_DOWNWARD_API)),
    optional("serviceAccountToken", Object(SERVICE_ACCOUNT_TOKEN)),
    optional("clusterTrustBundle", Object(CLUSTER_TRUST_BUNDLE)),
    optional("podCertificate", Object(POD_CERTIFICATE)),
];

const PROJECTED_OBJECT: &[Field] = &[
    required("name", Text),
    optional("items", List(&Object(KEY_TO_PATH))),
    optional("optional", Flag),
];

const PROJECTED_DOWNWARD_API: &[Field] = &[optional("items", List(&Object(DOWNWARD_FILE)))];

const SERVICE_ACCOUNT_TOKEN: &[Field] = &[
    required("path", Text),
    optional("audience", Text),
    optional("expirationSeconds", Integer),
];

const CLUSTER_TRUST_BUNDLE: &[Field] = &[
    required("path", Text),
    optional("name", Text),
    optional("signerName", Text),
    optional("labelSelector", Object(LABEL_SELECTOR)),
    optional("optional", Flag),
];

const POD_CERTIFICATE: &[Field] = &[
    required("signerName", Text),
    required("keyType", Text),
    optional("maxExpirationSeconds", Integer),
    optional("credentialBundlePath", Text),
    optional("keyPath", Text),
    optional("certificateChainPath", Text),
    optional("userAnnotations", Map(&Text)),
];

const LABEL_SELECTOR: &[Field] = &[
    optional("matchLabels", Map(&Text)),
    optional("matchExpressions", List(&Object(LABEL_EXPRESSION))),
];

const LABEL_EXPRESSION: &[Field] = &[
    required("key", Text),
    required("operator", Text),
    optional("values", List(&Text)),
];

const DOWNWARD_API: &[Field] = &[
    optional("items", List(&Object(DOWNWARD_FILE))),
    optional("defaultMode", Integer),
];

const DOWNWARD_FILE: &[Field] = &[
    required("path", Text),
    optional("fieldRef", Object(FIELD_REF)),
    optional("resourceFieldRef", Object(RESOURCE_FIELD_REF)),
    optional("mode", Integer),
];

const FIELD_REF: &[Field] = &[required("fieldPath", Text), optional("apiVersion", Text)];

const RESOURCE_FIELD_REF: &[Field] = &[
    required("resource", Text),
    optional("containerName", Text),
    optional("divisor", Quantity),
];

const EMPTY_DIR: &[Field] = &[optional("medium", Text), optional("sizeLimit", Quantity)];

const CSI: &[Field] = &[
    required("driver", Text),
    optional("readOnly", Flag),
    optional("fsType", Text),
    optional("volumeAttributes", Map(&Text)),
    optional("nodePublishSecretRef", Object(REFERENCE)),
];

const REFERENCE: &[Field] = &[optional("name", Text)];

const CLAIM: &[Field] = &[required("claimName", Text), optional("readOnly", Flag)];

const EPHEMERAL: &[Field] = &[required("volumeClaimTemplate", Object(CLAIM_TEMPLATE))];

const CLAIM_TEMPLATE: &[Field] = &[
    optional("metadata", Object(CLAIM_METADATA)),
    required("spec", Object(CLAIM_SPEC)),
];

const CLAIM_METADATA: &[Field] = &[
    optional("labels", Map(&Text)),
    optional("annotations", Map(&Text)),
];

const CLAIM_SPEC: &[Field] = &[
    optional("accessModes", List(&Text)),
    optional("resources", Object(CLAIM_RESOURCES)),
    optional("storageClassName", Text),
    optional("volumeMode", Text),
    optional("volumeName", Text),
    optional("volumeAttributesClassName", Text),
    optional("selector", Object(LABEL_SELECTOR)),
    optional("dataSource", Object(DATA_SOURCE)),
    optional("dataSourceRef", Object(DATA_SOURCE_REF)),
];

const CLAIM_RESOURCES: &[Field] = &[
    optional("requests", Map(&Quantity)),
    optional("limits", Map(&Quantity)),
];

const DATA_SOURCE: &[Field] = &[
    required("kind", Text),
    required("name", Text),
    optional("apiGroup", Text),
];

const DATA_SOURCE_REF: &[Field] = &[
    required("kind", Text),
    required("name", Text),
    optional("apiGroup", Text),
    optional("namespace", Text),
];

const HOST_PATH: &[Field] = &[required("path", Text), optional("type", Text)];

const IMAGE: &[Field] = &[optional("reference", Text), optional("pullPolicy", Text)];

const NFS: &[Field] = &[
    required("server", Text),
    required("path", Text),
    optional("readOnly", Flag),
];

const ISCSI: &[Field] = &[
    required("targetPortal", Text),
    required("iqn", Text),
    required("lun", Integer),
    optional("iscsiInterface", Text),
    optional("fsType", Text),
    optional("readOnly", Flag),
    optional("portals", List(&Text)),
    optional("chapAuthDiscovery", Flag),
    optional("chapAuthSession", Flag),
    optional("secretRef", Object(REFERENCE)),
    optional("initiatorName", Text),
];

const FC: &[Field] = &[
    optional("targetWWNs", List(&Text)),
    optional("lun", Integer),
    optional("fsType", Text),
    optional("readOnly", Flag),
    optional("wwids", List(&Text)),
];

const AWS_ELASTIC_BLOCK_STORE: &[Field] = &[
    required("volumeID", Text),
    optional("fsType", Text),
    optional("partition", Integer),
    optional("readOnly", Flag),
];

const AZURE_DISK: &[Field] = &[
    required("diskName", Text),
    required("diskURI", Text),
    optional("cachingMode", Text),
    optional("fsType", Text),
    optional("readOnly", Flag),
    optional("kind", Text),
];

const AZURE_FILE: &[Field] = &[
    required("secretName", Text),
    required("shareName", Text),
    optional("readOnly", Flag),
];

const CEPHFS: &[Field] = &[
    required("monitors", List(&Text)),
    optional("path", Text),
    optional("user", Text),
    optional("secretFile", Text),
    optional("secretRef", Object(REFERENCE)),
    optional("readOnly", Flag),
];

const CINDER: &[Field] = &[
    required("volumeID", Text),
    optional("fsType", Text),
    optional("readOnly", Flag),
    optional("secretRef", Object(REFERENCE)),
];

const FLEX_VOLUME: &[Field] = &[
    required("driver", Text),
    optional("fsType", Text),
    optional("secretRef", Object(REFERENCE)),
    optional("readOnly", Flag),
    optional("options", Map(&Text)),
];

const FLOCKER: &[Field] = &[optional("datasetName", Text), optional("datasetUUID", Text)];

const GCE_PERSISTENT_DISK: &[Field] = &[
    required("pdName", Text),
    optional("fsType", Text),
    optional("partition", Integer),
    optional("readOnly", Flag),
];

const GIT_REPO: &[Field] = &[
    required("repository", Text),
    optional("revision", Text),
    optional("directory", Text),
];

const GLUSTERFS: &[Field] = &[
    required("endpoints", Text),
    required("path", Text),
    optional("readOnly", Flag),
];

const PHOTON_PERSISTENT_DISK: &[Field] = &[required("pdID", Text), optional("fsType", Text)];

const PORTWORX_VOLUME: &[Field] = &[
    required("volumeID", Text),
    optional("fsType", Text),
    optional("readOnly", Flag),
];

const QUOBYTE: &[Field] = &[
    required("registry", Text),
    required("volume", Text),
    optional("readOnly", Flag),
    optional("user", Text),
    optional("group", Text),
    optional("tenant", Text),
];

const RBD: &[Field] = &[
    required("monitors", List(&Text)),
    required("image", Text),
    optional("fsType", Text),
    optional("pool", Text),
    optional("user", Text),
    optional("keyring", Text),
    optional("secretRef", Object(REFERENCE)),
    optional("readOnly", Flag),
];

const SCALE_IO: &[Field] = &[
    required("gateway", Text),
    required("system", Text),
    required("secretRef", Object(REFERENCE)),
    optional("sslEnabled", Flag),
    optional("protectionDomain", Text),
    optional("storagePool", Text),
    optional("storageMode", Text),
    optional("volumeName", Text),
    optional("fsType", Text),
    optional("readOnly", Flag),
];

const STORAGEOS: &[Field] = &[
    optional("volumeName", Text),
    optional("volumeNamespace", Text),
    optional("fsType", Text),
    optional("readOnly", Flag),
    optional("secretRef", Object(REFERENCE)),
];

const VSPHERE_VOLUME: &[Field] = &[
    required("volumePath", Text),
    optional("fsType", Text),
    optional("storagePolicyName", Text),
    optional("storagePolicyID", Text),
];
