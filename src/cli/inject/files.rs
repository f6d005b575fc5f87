//! The files that were named. In: paths, of files and directories, and `-`. Out: their text.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::cli::Failure;
use crate::manifest::File;

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads all of them, those of a directory in the order of their names.
///
/// A path that cannot be read, or a directory without manifests, is wrong usage.
pub(in crate::cli) fn read(paths: &[PathBuf], recursive: bool) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(stdin()?);
        } else if path.is_dir() {
            let before = files.len();
            let found = directory(path, recursive).map_err(Failure::Usage)?;
            files.extend(found);
            if files.len() == before {
                let error = anyhow!("{} holds no .yaml, .yml or .json file", path.display());
                return Err(Failure::Usage(error));
            }
        } else {
            files.push(file(path).map_err(Failure::Usage)?);
        }
    }
    Ok(files)
}

fn stdin() -> Result<File, Failure> {
    let mut text = String::new();
    let read = io::stdin().read_to_string(&mut text);
    read.context("failed to read stdin")?;
    Ok(File {
        name: "stdin".to_owned(),
        text,
    })
}

fn file(path: &Path) -> anyhow::Result<File> {
    let text = fs::read_to_string(path);
    Ok(File {
        name: path.display().to_string(),
        text: text.with_context(|| format!("failed to read {}", path.display()))?,
    })
}

fn directory(path: &Path, recursive: bool) -> anyhow::Result<Vec<File>> {
    let failed = || format!("failed to list {}", path.display());
    let entries = fs::read_dir(path).with_context(failed)?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.with_context(failed)?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            if recursive {
                files.extend(directory(&path, recursive)?);
            }
        } else if is_manifest(&path) {
            files.push(file(&path)?);
        }
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}
