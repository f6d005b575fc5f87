//! The files of the Secret as kubelet lays them out: the data in a folder named after the time, the
//! link `..data` to that folder, and a link through `..data` for each key. One rename of `..data`
//! then replaces all files at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::authority::Authority;

/// Writes `cert`, `key` and `cacert` and returns the folder that stands for the mounted volume.
pub(super) fn mount(authority: &Authority, folder: &Path) -> anyhow::Result<PathBuf> {
    let volume = folder.join("mtlsfiles");
    let data = volume.join("..2026_01_01_00_00_00.000000001");
    fs::create_dir_all(&data)?;
    let app = authority.app()?;
    let files = [
        ("cert", app.certificate),
        ("key", app.key),
        ("cacert", authority.certificate()),
    ];
    for (name, content) in files {
        fs::write(data.join(name), content)?;
        symlink(Path::new("..data").join(name), volume.join(name))?;
    }
    symlink(data.file_name().unwrap_or_default(), volume.join("..data"))?;
    Ok(volume)
}
