//! Istio's resources against the configuration that follows from them. Each file of
//! `fixtures/istio` is a stream of cases: resources as a user would write them, and the routes, ports
//! and findings expected for one pod, in the form of the annotations.

use std::fs;
use std::path::{Path, PathBuf};

use mtls_injector::istio::{Declared, Finding, Labels, Resources, Workload};
use mtls_proxy::config::{Config, EgressRoute, InboundPort, Port};
use serde_json::Value;

/// One document of a fixture.
pub(crate) struct Case {
    name: String,
    document: Value,
}

#[test]
fn resources_become_what_each_case_expects() {
    let cases = cases();
    let wrong: Vec<_> = cases.iter().filter_map(|case| case.check().err()).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n\n")
    );
    assert!(cases.len() >= 60, "only {} cases were found", cases.len());
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<_> = cases().into_iter().map(|case| case.name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn no_object_makes_reading_panic() {
    for case in cases() {
        for resource in case.list("resources") {
            for mangled in mangle(&resource) {
                let labels = case.labels();
                let workload = case.workload(&labels);
                let resources = Resources::read([&mangled], "shop");
                let _ = (resources.egress(&workload), resources.edge(&workload));
                let _ = resources.inbound(&workload, &[], &[]);
            }
        }
    }
}

impl Case {
    fn check(&self) -> Result<(), String> {
        let labels = self.labels();
        let workload = self.workload(&labels);
        let objects = self.list("resources");
        let resources = Resources::read(&objects, "shop");
        let mut findings: Vec<Finding>;
        let (egress, inbound) = if self.document.get("edge").is_some() {
            let edge = resources.edge(&workload);
            findings = edge.findings;
            (edge.egress, edge.inbound)
        } else {
            let egress = resources.egress(&workload);
            let inbound = resources.inbound(&workload, &self.declared(), &self.app_ports());
            findings = egress.findings;
            findings.extend(inbound.findings);
            (egress.routes, inbound.ports)
        };
        self.same("egress", &shown(&egress), &shown(&self.routes("egress")))?;
        self.same("inbound", &shown(&inbound), &shown(&self.ports("inbound")))?;
        let said: Vec<_> = findings.iter().map(said).collect();
        let expected: Vec<String> = self.list("findings").iter().map(text).collect();
        self.same("findings", &said, &expected)?;
        read_back(&egress, &inbound).map_err(|why| format!("{}: {why}", self.name))
    }

    fn same(&self, what: &str, got: &[String], expected: &[String]) -> Result<(), String> {
        if got == expected {
            return Ok(());
        }
        let (got, expected) = (got.join("\n  "), expected.join("\n  "));
        Err(format!(
            "{}: {what}\n got\n  {got}\n expected\n  {expected}",
            self.name
        ))
    }

    pub(crate) fn list(&self, key: &str) -> Vec<Value> {
        let list = self.document.get(key).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    }

    fn labels(&self) -> Labels {
        let labels = self.document.pointer("/pod/labels");
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        labels
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    }

    fn workload<'a>(&'a self, labels: &'a Labels) -> Workload<'a> {
        let namespace = self.document.pointer("/pod/namespace");
        Workload {
            namespace: namespace.and_then(Value::as_str).unwrap_or("shop"),
            labels,
        }
    }

    fn declared(&self) -> Vec<Declared> {
        let items = self.list("declared");
        let ports = self.ports("declared").into_iter().zip(&items);
        ports
            .map(|(port, item)| Declared {
                port,
                mode_is_written: item.get("mode").is_some(),
            })
            .collect()
    }

    fn app_ports(&self) -> Vec<Port> {
        let ports = self.list("appPorts");
        ports
            .iter()
            .map(|port| text(port).parse().unwrap())
            .collect()
    }

    fn routes(&self, key: &str) -> Vec<EgressRoute> {
        let list = Value::Array(self.list(key)).to_string();
        EgressRoute::parse_list(&list, key).unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    fn ports(&self, key: &str) -> Vec<InboundPort> {
        let list = Value::Array(self.list(key)).to_string();
        InboundPort::parse_list(&list, key).unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }
}

/// What is made here is what the proxy reads.
fn read_back(egress: &[EgressRoute], inbound: &[InboundPort]) -> Result<(), String> {
    for (index, route) in egress.iter().enumerate() {
        let config = Config {
            egress: vec![route.clone()],
            inbound: inbound.get(index).cloned().into_iter().collect(),
            ..Config::default()
        };
        let again = Config::parse(&config.render()).map_err(|why| why.to_string())?;
        if again != config {
            return Err("is not read back as it was rendered".to_owned());
        }
    }
    Ok(())
}

pub(crate) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/istio");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let documents = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).unwrap();
        let parsed = serde_saphyr::from_multiple::<Value>(&text);
        parsed.unwrap_or_else(|why| panic!("{}: {why}", file.display()))
    });
    documents
        .map(|document| Case {
            name: text(&document["case"]),
            document,
        })
        .collect()
}

/// The same object with each of its fields replaced by something of another form.
fn mangle(object: &Value) -> Vec<Value> {
    let mut paths = Vec::new();
    pointers(object, "", &mut paths);
    let junk = [
        Value::Null,
        Value::from("\u{0}~/*"),
        Value::from(-1),
        serde_json::json!([{}]),
        serde_json::json!({"a": []}),
    ];
    paths
        .iter()
        .flat_map(|path| {
            junk.iter().map(|junk| {
                let mut mangled = object.clone();
                *mangled.pointer_mut(path).unwrap() = junk.clone();
                mangled
            })
        })
        .collect()
}

fn pointers(value: &Value, path: &str, into: &mut Vec<String>) {
    into.push(path.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{path}/{key}"), into);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, &format!("{path}/{index}"), into);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn shown<T: serde::Serialize>(items: &[T]) -> Vec<String> {
    items
        .iter()
        .map(|item| serde_json::to_string(item).unwrap())
        .collect()
}

fn said(finding: &Finding) -> String {
    format!("{}: {finding}", finding.severity)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
