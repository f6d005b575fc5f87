//! Golden files: compared, rewritten with `UPDATE_GOLDEN=1`, and refused when no test makes them any
//! more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The golden files below one folder of `tests/goldens`, and what they should hold.
pub(crate) struct Goldens {
    folder: PathBuf,
    made: BTreeMap<PathBuf, String>,
}

impl Goldens {
    pub(crate) fn below(folder: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
        Self {
            folder: root.join(folder),
            made: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &str, content: String) {
        let earlier = self.made.insert(self.folder.join(name), content);
        assert!(earlier.is_none(), "two results for {name}");
    }

    /// Compares everything that was added with what is stored.
    pub(crate) fn check(self) {
        if std::env::vars_os().any(|(name, _)| name == "UPDATE_GOLDEN") {
            return self.rewrite();
        }
        let wrong = self.differences();
        assert!(
            wrong.is_empty(),
            "{}\nif this is meant, run the test again with UPDATE_GOLDEN=1",
            wrong.join("\n")
        );
    }

    fn differences(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (path, content) in &self.made {
            match fs::read_to_string(path) {
                Ok(stored) if stored == *content => {}
                Ok(stored) => {
                    let difference = first_difference(&stored, content);
                    wrong.push(format!("{}\n{difference}", path.display()));
                }
                Err(error) => wrong.push(format!("{}: {error}", path.display())),
            }
        }
        for path in files(&self.folder) {
            if !self.made.contains_key(&path) {
                wrong.push(format!("{}: stale, no test makes it", path.display()));
            }
        }
        wrong
    }

    fn rewrite(self) {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).unwrap();
        }
        for (path, content) in self.made {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

fn first_difference(stored: &str, made: &str) -> String {
    let mut pairs = stored.lines().zip(made.lines()).enumerate();
    match pairs.find(|(_, (stored, made))| stored != made) {
        Some((line, (stored, made))) => {
            format!("  line {}\n  - {stored}\n  + {made}", line + 1)
        }
        None => "  one is longer than the other".to_owned(),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn a_changed_and_a_stale_golden_fail() {
    let folder = tempfile::tempdir().unwrap();
    let differences = |content: &str| {
        let mut goldens = Goldens {
            folder: folder.path().to_owned(),
            made: BTreeMap::new(),
        };
        goldens.add("one", content.to_owned());
        goldens.differences().len()
    };
    fs::write(folder.path().join("one"), "1").unwrap();
    assert_eq!(differences("1"), 0);
    assert_eq!(differences("2"), 1);
    fs::write(folder.path().join("two"), "2").unwrap();
    assert_eq!(differences("1"), 1);
}
