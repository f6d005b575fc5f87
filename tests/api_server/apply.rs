//! Server-side apply: merging what a manager wants into what is there, and who owns which field.
//! Lists whose items all have a `name` are merged by it (`listType=map`), others are one field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A leaf field: the keys from the root to it.
type Path = Vec<Step>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    Item(String),
}

/// Which manager owns which fields of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners(BTreeMap<String, BTreeSet<Path>>);

impl Owners {
    pub(crate) fn paths_of(&self, manager: &str) -> Vec<String> {
        self.0
            .get(manager)
            .into_iter()
            .flatten()
            .map(shown)
            .collect()
    }

    /// An update makes its author the owner of every field that it changed.
    pub(crate) fn updated(&mut self, manager: &str, before: &Value, after: &Value) {
        let (before, after) = (leaves(before), leaves(after));
        let changed: BTreeSet<Path> = after
            .iter()
            .filter(|(path, value)| before.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        for paths in self.0.values_mut() {
            paths.retain(|path| after.contains_key(path) && !changed.contains(path));
        }
        self.0
            .entry(manager.to_owned())
            .or_default()
            .extend(changed);
    }
}

/// Applies a configuration; returns the object and who owns what from now on.
///
/// Without `force`, a field that another manager owns with another value is a conflict.
pub(crate) fn apply(
    live: &Value,
    config: &Value,
    owners: &Owners,
    manager: &str,
    force: bool,
) -> Result<(Value, Owners), String> {
    let mut owners = owners.clone();
    let (is, wanted) = (leaves(live), leaves(config));
    for (path, value) in &wanted {
        if is.get(path).is_none_or(|is| is == value) {
            continue;
        }
        for (other, paths) in &mut owners.0 {
            if other != manager && paths.contains(path) {
                if !force {
                    return Err(format!("conflict with \"{other}\": {}", shown(path)));
                }
                paths.remove(path);
            }
        }
    }
    let mut object = live.clone();
    merge(&mut object, config);
    let given_up: Vec<Path> = owners
        .0
        .remove(manager)
        .unwrap_or_default()
        .into_iter()
        .collect();
    for path in given_up {
        let owned_by_others = owners.0.values().any(|paths| paths.contains(&path));
        if !wanted.contains_key(&path) && !owned_by_others {
            remove(&mut object, &path);
        }
    }
    owners
        .0
        .insert(manager.to_owned(), wanted.into_keys().collect());
    Ok((object, owners))
}

/// All leaf fields of an object but those that name it.
fn leaves(object: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    collect(object, &mut Vec::new(), &mut found);
    let naming = ["apiVersion", "kind", "metadata"].map(|key| Step::Field(key.to_owned()));
    found.retain(|path, _| !path.first().is_some_and(|first| naming.contains(first)));
    found
}

fn collect(value: &Value, path: &mut Path, found: &mut BTreeMap<Path, Value>) {
    let mut descend = |step: Step, value: &Value| {
        path.push(step);
        collect(value, path, found);
        path.pop();
    };
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, value)| descend(Step::Field(key.clone()), value));
        }
        Value::Array(items)
            if !items.is_empty() && items.iter().all(|item| name(item).is_some()) =>
        {
            for item in items {
                descend(Step::Item(name(item).unwrap().to_owned()), item);
            }
        }
        leaf => {
            found.insert(path.clone(), leaf.clone());
        }
    }
}

fn merge(live: &mut Value, config: &Value) {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => merge_fields(live, config),
        (Value::Array(live), Value::Array(config))
            if config.iter().all(|item| name(item).is_some()) =>
        {
            for item in config {
                match live.iter_mut().find(|old| name(old) == name(item)) {
                    Some(old) => merge(old, item),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, config) => *live = config.clone(),
    }
}

fn merge_fields(live: &mut Map<String, Value>, config: &Map<String, Value>) {
    for (key, value) in config {
        if key == "resourceVersion" {
            continue;
        }
        match live.get_mut(key) {
            Some(old) => merge(old, value),
            None => {
                live.insert(key.clone(), value.clone());
            }
        }
    }
}

fn remove(object: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    match (step, object) {
        (Step::Field(key), Value::Object(fields)) if rest.is_empty() => {
            fields.remove(key);
        }
        (Step::Field(key), Value::Object(fields)) => {
            if let Some(child) = fields.get_mut(key) {
                remove(child, rest);
            }
        }
        (Step::Item(wanted), Value::Array(items)) => {
            if let Some(child) = items.iter_mut().find(|item| name(item) == Some(wanted)) {
                remove(child, rest);
            }
        }
        _ => {}
    }
}

fn name(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

fn shown(path: &Path) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Field(key) => format!(".{key}"),
        Step::Item(name) => format!("[name={name}]"),
    });
    steps.collect()
}
