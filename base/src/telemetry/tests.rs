//! The metrics are those that are described, to Prometheus and to operators.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The metrics that the programs write, with what is done with them.
fn written() -> BTreeMap<String, Kind> {
    let mut files = Vec::new();
    for folder in ["base", "bus", "connectors", "router", "."] {
        sources(&root().join(folder).join("src"), &mut files);
    }
    let mut found = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        for (call, kind) in [
            ("counter!(", Kind::Counter),
            ("gauge!(", Kind::Gauge),
            ("histogram!(", Kind::Histogram),
        ] {
            let places = text.match_indices(call);
            for rest in places.map(|(at, _)| text[at + call.len()..].trim_start()) {
                let name = rest
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next());
                if let Some(name) = name.filter(|name| name.starts_with("tributary_")) {
                    found.insert(name.to_owned(), kind);
                }
            }
        }
    }
    found
}

#[test]
fn every_metric_is_described() {
    let described: BTreeMap<String, Kind> = FAMILIES
        .iter()
        .map(|family| (family.name.to_owned(), family.kind))
        .collect();
    assert_eq!(written(), described);
    assert_eq!(described.len(), FAMILIES.len(), "one is there twice");
}

#[test]
fn operators_find_every_metric() {
    let page = fs::read_to_string(root().join("docs/operators.md")).expect("readable");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `tributary_"));
    let told: BTreeSet<String> = rows
        .filter_map(|row| row.split(['{', '`']).next())
        .map(|name| format!("tributary_{name}"))
        .collect();
    let known: BTreeSet<String> = FAMILIES
        .iter()
        .map(|family| family.name.to_owned())
        .collect();
    assert_eq!(told, known);
}

/// A page of metrics with a series of each family.
fn page() -> String {
    let recorder = recorder().expect("buckets").build_recorder();
    metrics::with_local_recorder(&recorder, || {
        families::describe();
        for family in FAMILIES {
            match family.kind {
                Kind::Counter => metrics::counter!(family.name).increment(1),
                Kind::Gauge => metrics::gauge!(family.name).set(1.0),
                Kind::Histogram => metrics::histogram!(family.name).record(1.0),
            }
        }
    });
    recorder.handle().render()
}

#[test]
fn no_distribution_is_a_summary() {
    let page = page();
    assert!(!page.contains(" summary"), "{page}");
    for family in FAMILIES {
        assert!(
            page.contains(&format!("# HELP {} ", family.name)),
            "{}",
            family.name
        );
        if family.kind == Kind::Histogram {
            assert!(
                page.contains(&format!("{}_bucket{{le=", family.name)),
                "{}",
                family.name
            );
        }
    }
}

/// `promtool check metrics` of Prometheus itself.
fn check(promtool: &Path, page: &str) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), page).expect("writable");
    let checked = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(fs::File::open(file.path()).expect("readable"))
        .output()
        .expect("promtool runs");
    match checked.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}{}",
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        )),
    }
}

#[test]
fn prometheus_finds_no_fault() {
    let tools = tempfile::tempdir().expect("a folder");
    let installed = Command::new(root().join("tests/foreign/install"))
        .arg("promtool")
        .arg(tools.path())
        .stdin(Stdio::null())
        .output()
        .expect("installs");
    let reason = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "{reason}");
    let promtool = tools.path().join("usr/bin/promtool");
    check(&promtool, &page()).expect("no fault");
    let unhelpful = "# TYPE tributary_outbox_rows gauge\ntributary_outbox_rows 1\n";
    let fault = check(&promtool, unhelpful).expect_err("a fault");
    assert!(fault.contains("help"), "{fault}");
}
