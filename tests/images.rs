//! The images that `scripts/image` packs: the same bytes each time, whole, runnable, and what the
//! Dockerfiles describe.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The images, the file and target that builds each with a container engine, and the user.
const IMAGES: &[(&str, &str, &str)] = &[
    ("mtls-injector", "Dockerfile", "65532:65532"),
    ("mtls-proxy", "proxy-image/Dockerfile", "15100:15100"),
    ("mtls-proxy-init", "proxy-image/Dockerfile", "0:0"),
];

/// All images, packed once for every test that only looks at them.
static PACKED: LazyLock<PathBuf> = LazyLock::new(|| {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    Programs::compile().pack(&[], &out, "0");
    out
});

#[test]
fn the_same_binaries_give_the_same_bytes_and_another_date_gives_others() {
    let programs = Programs::compile();
    let (again, later) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    programs.pack(&[], again.path(), "0");
    programs.pack(&["proxy"], later.path(), "1");
    let bytes = |folder: &Path, image| fs::read(archive(folder, image)).unwrap();
    for (image, _, _) in IMAGES {
        assert_eq!(bytes(&PACKED, image), bytes(again.path(), image), "{image}");
    }
    assert_ne!(
        bytes(&PACKED, "mtls-proxy"),
        bytes(later.path(), "mtls-proxy")
    );
}

#[test]
fn an_archive_is_whole_for_containerd_and_for_docker() {
    for (image, _, user) in IMAGES {
        let layout = Layout::unpack(&archive(&PACKED, image));
        let reference = format!(
            "ghcr.io/mtls-injector/{image}:{}",
            env!("CARGO_PKG_VERSION")
        );
        let index = layout.json("index.json");
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], reference);
        let manifest: Value = serde_json::from_slice(&layout.blob(entry)).unwrap();
        let config: Value = serde_json::from_slice(&layout.blob(&manifest["config"])).unwrap();
        let layer = &manifest["layers"][0];
        layout.blob(layer);
        // The layer is not compressed, so its digest is also that of its content.
        assert_eq!(config["rootfs"]["diff_ids"], json!([layer["digest"]]));
        assert_eq!(config["config"]["User"], *user);
        assert_eq!(config["created"], "1970-01-01T00:00:00Z");
        let path = |of: &Value| {
            of["digest"]
                .as_str()
                .unwrap()
                .replace("sha256:", "blobs/sha256/")
        };
        let docker = json!([{
            "Config": path(&manifest["config"]),
            "Layers": [path(layer)],
            "RepoTags": [reference],
        }]);
        assert_eq!(layout.json("manifest.json"), docker);
    }
}

#[test]
fn the_program_in_an_image_runs_there_alone() {
    for (image, _, _) in IMAGES {
        let files = Layout::unpack(&archive(&PACKED, image)).root_filesystem();
        let program = if *image == "mtls-injector" {
            *image
        } else {
            "mtls-proxy"
        };
        let path = files.path().join("usr/local/bin").join(program);
        let output = Command::new(&path).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "packed\n",
            "{image}"
        );
        let others = fs::read_dir(files.path()).unwrap().count();
        assert_eq!(
            others == 1,
            *image != "mtls-proxy-init",
            "only init holds more"
        );
    }
}

#[test]
fn nft_runs_with_the_libraries_of_the_init_image_alone() {
    let files = Layout::unpack(&archive(&PACKED, "mtls-proxy-init")).root_filesystem();
    let library_path = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
        .map(|folder| files.path().join(folder).to_str().unwrap().to_owned())
        .join(":");
    let nft = |before: &[&str], after: &[&str]| {
        let output = Command::new(files.path().join("lib64/ld-linux-x86-64.so.2"))
            .args(["--inhibit-cache", "--library-path", &library_path])
            .args(before)
            .arg(files.path().join("usr/sbin/nft"))
            .args(after)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let version = nft(&[], &["--version"]);
    assert!(version.starts_with("nftables v"), "{version}");
    let loaded = nft(&["--list"], &[]);
    assert!(loaded.contains("libnftables.so.1"), "{loaded}");
    let root = files.path().to_str().unwrap();
    for line in loaded.lines().filter(|line| line.contains("=>")) {
        assert!(line.contains(root), "comes from this machine: {line}");
    }
}

#[test]
fn a_dynamic_binary_and_a_missing_one_are_refused() {
    let programs = Programs::default();
    let refused = |expected: &str| {
        let output = programs.image(&["proxy"], programs.folder.path(), "0");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    refused("No such file or directory");
    fs::copy(
        env!("CARGO_BIN_EXE_mtls-injector"),
        programs.folder.path().join("mtls-proxy"),
    )
    .unwrap();
    refused("is linked dynamically");
}

#[test]
fn the_dockerfiles_describe_the_same_images() {
    for (image, file, _) in IMAGES {
        let layout = Layout::unpack(&archive(&PACKED, image));
        let entry = &layout.json("index.json")["manifests"][0];
        let manifest: Value = serde_json::from_slice(&layout.blob(entry)).unwrap();
        let config: Value = serde_json::from_slice(&layout.blob(&manifest["config"])).unwrap();
        let stage = stage_of(image, &fs::read_to_string(root().join(file)).unwrap());
        let config = &config["config"];
        let has = |line: &str| assert!(stage.contains(line), "{image} lacks {line}:\n{stage}");
        has(&format!("USER {}\n", config["User"].as_str().unwrap()));
        has(&format!("ENTRYPOINT {}", config["Entrypoint"]));
        has(&format!("ENV {}\n", config["Env"][0].as_str().unwrap()));
        for (key, value) in config["Labels"].as_object().unwrap() {
            // Which packages were taken is known only when packed.
            if key.starts_with("org.opencontainers") {
                has(&format!("{key}={value}"));
            }
        }
    }
}

/// The last stage of a Dockerfile whose title is that of the image.
fn stage_of(image: &str, dockerfile: &str) -> String {
    let title = format!("image.title=\"{image}\"");
    let stage = dockerfile
        .split("\nFROM ")
        .find(|stage| stage.contains(&title));
    stage
        .unwrap_or_else(|| panic!("no stage is titled {image}"))
        .to_owned()
}

/// Small static programs that stand for the real ones, which take minutes to build.
struct Programs {
    folder: TempDir,
}

impl Default for Programs {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }
}

impl Programs {
    fn compile() -> Self {
        let programs = Self::default();
        let source = programs.folder.path().join("packed.c");
        fs::write(
            &source,
            "#include <stdio.h>\nint main() { return puts(\"packed\") < 0; }\n",
        )
        .unwrap();
        let program = programs.folder.path().join("mtls-proxy");
        let mut compiler = Command::new("cc");
        let done = compiler
            .arg("-static")
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .status();
        assert!(done.unwrap().success());
        fs::copy(&program, programs.folder.path().join("mtls-injector")).unwrap();
        programs
    }

    fn pack(&self, images: &[&str], out: &Path, date: &str) {
        let output = self.image(images, out, date);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    fn image(&self, images: &[&str], out: &Path, date: &str) -> Output {
        let mut script = Command::new(root().join("scripts/image"));
        script
            .args(images)
            .arg("--binaries")
            .arg(self.folder.path())
            .arg("--output")
            .arg(out);
        script.env("SOURCE_DATE_EPOCH", date).output().unwrap()
    }
}

/// An unpacked image layout.
struct Layout(TempDir);

impl Layout {
    fn unpack(archive: &Path) -> Self {
        Self(untar(archive))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join(name)).unwrap()).unwrap()
    }

    /// Reads a blob, and checks its size and digest.
    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let path = self.path(descriptor);
        let content = fs::read(&path).unwrap();
        assert_eq!(descriptor["size"], content.len());
        let sum = Command::new("sha256sum")
            .arg(&path)
            .output()
            .unwrap()
            .stdout;
        let sum = String::from_utf8(sum).unwrap();
        let (digest, _) = sum.split_once(' ').unwrap();
        assert_eq!(descriptor["digest"], format!("sha256:{digest}"));
        content
    }

    fn path(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        self.0.path().join("blobs").join(digest.replace(':', "/"))
    }

    fn root_filesystem(&self) -> TempDir {
        let entry = &self.json("index.json")["manifests"][0];
        let manifest: Value = serde_json::from_slice(&self.blob(entry)).unwrap();
        untar(&self.path(&manifest["layers"][0]))
    }
}

fn untar(archive: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    let done = tar
        .arg("--extract")
        .arg("--file")
        .arg(archive)
        .current_dir(folder.path())
        .status();
    assert!(done.unwrap().success());
    folder
}

fn archive(folder: &Path, image: &str) -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    folder.join(format!("{image}-{version}-linux-amd64.tar"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
