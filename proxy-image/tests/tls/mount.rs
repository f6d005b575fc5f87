//! A directory of a Secret, changed as kubelet changes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A mounted volume: `cert` is a link to `..data/cert`, `..data` one to a directory of this moment.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    moment: u32,
}

impl Mount {
    pub(crate) fn new(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        Self {
            path: path.to_owned(),
            moment: 0,
        }
    }

    /// Replaces all files at once: kubelet's AtomicWriter.
    pub(crate) fn swap(&mut self, files: &[(&str, String)]) {
        let before = self.path.join(format!("..2026_{}", self.moment));
        self.moment += 1;
        let directory = format!("..2026_{}", self.moment);
        fs::create_dir(self.path.join(&directory)).unwrap();
        for (name, content) in files {
            fs::write(self.path.join(&directory).join(name), content).unwrap();
        }
        let (temporary, data) = (self.path.join("..data_tmp"), self.path.join("..data"));
        symlink(&directory, &temporary).unwrap();
        fs::rename(&temporary, &data).unwrap();
        for (name, _) in files {
            let link = self.path.join(name);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        let _ = fs::remove_dir_all(before);
    }
}
