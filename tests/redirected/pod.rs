//! The injected pod: what its manifest says of each container, done by the real programs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::node::{Node, Process, asked, within};

/// The proxy's program, built beside the injector's. Cargo offers a test only the binaries of its own
/// package.
static PROXY: LazyLock<PathBuf> = LazyLock::new(|| {
    let injector = Path::new(env!("CARGO_BIN_EXE_mtls-injector"));
    let target = injector.parent().and_then(Path::parent).unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--package", "mtls-proxy", "--bin", "mtls-proxy"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success());
    injector.with_file_name("mtls-proxy")
});

/// A pod after the injector.
pub(crate) struct Injected {
    pod: Value,
    namespace: String,
    /// Stands for the downward API's volume.
    config: TempDir,
}

impl Injected {
    pub(crate) fn new(manifest: &str, node: &Node) -> Self {
        let mut inject = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
            .args(["inject", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = inject.stdin.take().unwrap();
        stdin.write_all(manifest.as_bytes()).unwrap();
        drop(stdin);
        let injected = inject.wait_with_output().unwrap().stdout;
        let injected = String::from_utf8(injected).unwrap();
        let pod: Value = serde_saphyr::from_str(&injected).unwrap();
        let config = &pod["metadata"]["annotations"]["mtls-injector.io/proxy-config"];
        // Where kubelet mounts the Secrets.
        let text = config.as_str().unwrap().replace("/certs", &node.file(""));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), text).unwrap();
        let readable = Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(folder.path())
            .status();
        assert!(readable.unwrap().success());
        Self {
            pod,
            namespace: node.pod.clone(),
            config: folder,
        }
    }

    pub(crate) fn container(&self, name: &str) -> Value {
        let all = self.pod["spec"]["initContainers"].as_array().unwrap();
        let found = all.iter().find(|container| container["name"] == name);
        found.unwrap().clone()
    }

    /// Runs the init container to its end; returns what it said.
    pub(crate) fn load_rules(&self) -> String {
        let output = self.load_rules_as(&self.container("mtls-init"));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the init container's command as another container would.
    pub(crate) fn load_rules_as(&self, container: &Value) -> Output {
        let arguments = &self.container("mtls-init")["args"];
        self.command(container, arguments).output().unwrap()
    }

    pub(crate) fn proxy(&self) -> Process {
        let container = self.container("mtls-proxy");
        let mut command = self.command(&container, &container["args"]);
        Process(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// The application, which knows nothing of all this.
    pub(crate) fn application(&self) -> Process {
        let mut server = within(&self.namespace, env!("CARGO_BIN_EXE_mtls-injector"));
        server.args(["sample", "server", "--listen=[::]:8080"]);
        Process(server.stdout(Stdio::null()).spawn().unwrap())
    }

    /// Calls as the application would.
    pub(crate) fn curl(&self, arguments: &[&str], url: &str) -> String {
        let output = asked(within(&self.namespace, "curl").args(arguments).arg(url));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The paths that kubelet asks for instead of the application's.
    pub(crate) fn probes(&self) -> Vec<String> {
        let container = &self.pod["spec"]["containers"][0];
        let paths = ["livenessProbe", "readinessProbe"].map(|probe| {
            let request = &container[probe]["httpGet"];
            assert_eq!(request["port"], 15020, "{container}");
            request["path"].as_str().unwrap().to_owned()
        });
        paths.into()
    }

    /// The proxy's program with the rights that a container has.
    fn command(&self, container: &Value, arguments: &Value) -> Command {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
        let mut bounding = "-all".to_owned();
        for capability in context["capabilities"]["add"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = capability.as_str().unwrap().to_ascii_lowercase();
            bounding.push_str(&format!(",+{name}"));
        }
        let mut command = within(&self.namespace, "setpriv");
        command.arg(format!("--bounding-set={bounding}"));
        command.args(["--no-new-privs", "--clear-groups"]);
        command.arg(format!("--reuid={}", context["runAsUser"]));
        command.arg(format!("--regid={}", context["runAsGroup"]));
        command.arg(&*PROXY);
        let folder = self.config.path().to_str().unwrap();
        for argument in arguments.as_array().unwrap() {
            let argument = argument.as_str().unwrap();
            command.arg(argument.replace("/etc/mtls-proxy", folder));
        }
        command
    }
}

/// Whether a container is nobody special.
pub(crate) fn free_of_root(container: &Value) -> bool {
    let context = &container["securityContext"];
    context["runAsNonRoot"] == true
        && context["runAsUser"] != 0
        && context["capabilities"].get("add").is_none()
}
