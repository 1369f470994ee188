//! The committed JSON Schemas are those of the Rust types. `just schemas` (UPDATE_SCHEMAS=1) writes them anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tributary_bus::{Envelope, message};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// File name and content of every schema.
fn wanted() -> BTreeMap<String, String> {
    let mut schemas = message::schemas();
    schemas.push(("envelope", schemars::schema_for!(Envelope)));
    let text = |schema: &schemars::Schema| {
        serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n"
    };
    schemas
        .iter()
        .map(|(name, schema)| (format!("{name}.json"), text(schema)))
        .collect()
}

fn present() -> BTreeSet<String> {
    let files = std::fs::read_dir(folder()).expect("bus/schemas exists");
    files
        .map(|file| file.expect("readable").file_name())
        .map(|name| name.into_string().expect("plain names"))
        .collect()
}

fn update(wanted: &BTreeMap<String, String>) {
    std::fs::create_dir_all(folder()).expect("bus/schemas can be made");
    for name in present() {
        if !wanted.contains_key(&name) {
            std::fs::remove_file(folder().join(name)).expect("removable");
        }
    }
    for (name, text) in wanted {
        std::fs::write(folder().join(name), text).expect("writable");
    }
}

#[test]
fn the_committed_schemas_are_current() {
    let wanted = wanted();
    if std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1") {
        update(&wanted);
    }
    let names: BTreeSet<String> = wanted.keys().cloned().collect();
    assert_eq!(
        present(),
        names,
        "run `just schemas` and commit bus/schemas"
    );
    for (name, text) in &wanted {
        let committed = std::fs::read_to_string(folder().join(name)).expect("readable");
        // Not compared as a whole: a diff of the first line that differs says more.
        for (n, (is, should)) in committed.lines().zip(text.lines()).enumerate() {
            let line = n + 1;
            assert_eq!(
                is, should,
                "{name}:{line}: run `just schemas` and commit bus/schemas"
            );
        }
        assert_eq!(
            committed.len(),
            text.len(),
            "{name}: run `just schemas` and commit bus/schemas"
        );
    }
}

#[test]
fn every_event_type_has_a_version_and_a_schema() {
    let wanted = wanted();
    for (name, _) in message::schemas() {
        let (kind, version) = name.rsplit_once(".v").expect("a version");
        assert!(version.parse::<u32>().is_ok(), "{name}");
        assert!(kind.contains('.'), "{name}");
    }
    for kind in message::EVENT_TYPES {
        assert!(wanted.contains_key(&format!("{kind}.v1.json")), "{kind}");
    }
}
