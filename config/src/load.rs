//! Merging the three sources and reading them into [`Settings`], with every mistake reported at once.

use std::{collections::BTreeMap, path::Path};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{
    Invalid, Organization, Problem, Settings,
    channel::{self, Channel},
    check::check_together,
};

/// The complete, commented defaults.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

const PREFIX: &str = "TRIBUTARY_";
/// Variables of ours that are not settings: the path of the config file.
const NOT_SETTINGS: [&str; 1] = ["TRIBUTARY_CONFIG"];

/// Where the settings come from, besides the defaults.
pub struct Source<'a> {
    /// The config file's path, if one was given.
    pub file: Option<&'a Path>,
    /// Environment variables; those that start with `TRIBUTARY_` are read.
    pub environment: Vec<(String, String)>,
}

/// What was read, when nothing is wrong with it.
pub type Loaded = Settings;

/// Reads defaults, file and environment.
///
/// # Errors
/// Every mistake at once: unreadable file, unknown keys, wrong types, unresolvable secrets, contradictions.
pub fn load(source: &Source<'_>) -> Result<Loaded, Invalid> {
    load_with(source, |_| Vec::new())
}

/// [`load`] with a check of the caller's own, e.g. of what connectors make of their accounts. It is asked even when there are
/// mistakes already (broken tables then hold their defaults), so that all of them show at once.
///
/// # Errors
/// As [`load`], and what `check` found.
pub fn load_with(
    source: &Source<'_>,
    check: impl FnOnce(&Settings) -> Vec<Problem>,
) -> Result<Loaded, Invalid> {
    let text = match source.file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|reason| {
            Invalid(vec![Problem::new(
                path.display().to_string(),
                format!("cannot read: {reason}"),
            )])
        })?,
    };
    let name = source
        .file
        .map_or_else(|| "config".to_owned(), |path| path.display().to_string());
    let (settings, mut problems) = examine(&name, &text, &source.environment)?;
    problems.extend(check(&settings));
    finish(settings, problems)
}

fn finish(settings: Settings, problems: Vec<Problem>) -> Result<Loaded, Invalid> {
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(Invalid(problems))
    }
}

/// [`load`] with the file's content at hand; `name` is used in errors.
pub fn load_text(
    name: &str,
    text: &str,
    environment: &[(String, String)],
) -> Result<Loaded, Invalid> {
    let (settings, problems) = examine(name, text, environment)?;
    finish(settings, problems)
}

/// What can be read, and everything that is wrong with the rest.
fn examine(
    name: &str,
    text: &str,
    environment: &[(String, String)],
) -> Result<(Settings, Vec<Problem>), Invalid> {
    let mut merged: Table = toml::from_str(DEFAULT_TOML)
        .map_err(|reason| Invalid(vec![Problem::new("default.toml", reason.to_string())]))?;
    let file: Table = toml::from_str(text).map_err(|reason| {
        Invalid(vec![Problem::new(
            name,
            format!("not valid TOML: {}", reason.to_string().trim_end()),
        )])
    })?;
    merge(&mut merged, file);
    let mut raw = BTreeMap::new();
    let mut problems = Vec::new();
    for (variable, value) in environment {
        overlay(&mut merged, variable, value, &mut raw, &mut problems);
    }
    read(merged, &raw, problems)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Applies one environment variable. Its text is read as a TOML value where it is one (`8`, `true`, `["a"]`)
/// and kept in `raw`, for the setting may want a string all the same.
fn overlay(
    table: &mut Table,
    variable: &str,
    text: &str,
    raw: &mut BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    let Some(name) = variable.strip_prefix(PREFIX) else {
        return;
    };
    if NOT_SETTINGS.contains(&variable) {
        return;
    }
    if !name.contains("__") {
        let message = "unknown variable; a setting is written TRIBUTARY_TABLE__KEY with two underscores between";
        problems.push(Problem::new(variable, message));
        return;
    }
    let path: Vec<String> = name.split("__").map(str::to_lowercase).collect();
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    raw.insert(path.join("."), text.to_owned());
    set(table, &path, value);
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let entry = table
                .entry(first.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            if let Value::Table(inner) = entry {
                set(inner, rest, value);
            }
        }
    }
}

/// Reads one table into `T`, reporting every unknown key and every value of a wrong type below `prefix`.
///
/// After a mistake the offending key is taken out and reading goes on, so that the next mistake shows as well.
pub fn parse<T: DeserializeOwned>(table: Table, prefix: &str) -> Result<T, Invalid> {
    parse_with(table, prefix, &BTreeMap::new())
}

fn parse_with<T: DeserializeOwned>(
    table: Table,
    prefix: &str,
    raw: &BTreeMap<String, String>,
) -> Result<T, Invalid> {
    match parse_all(table, prefix, raw) {
        (Some(value), problems) if problems.is_empty() => Ok(value),
        (_, problems) => Err(Invalid(problems)),
    }
}

/// Reads what can be read, with defaults in the place of what is broken, and says what that is.
fn parse_all<T: DeserializeOwned>(
    mut table: Table,
    prefix: &str,
    raw: &BTreeMap<String, String>,
) -> (Option<T>, Vec<Problem>) {
    let mut problems: Vec<Problem> = Vec::new();
    let mut swapped: Vec<String> = Vec::new();
    loop {
        let mut unknown: Vec<String> = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string());
        let input = serde_ignored::Deserializer::new(Value::Table(table.clone()), &mut note);
        let error = match serde_path_to_error::deserialize::<_, T>(input) {
            Ok(value) => {
                for key in unknown {
                    let message = "unknown key; see default.toml for the keys there are";
                    problems.push(Problem::new(join(prefix, &key), message));
                }
                return (Some(value), problems);
            }
            Err(error) => error,
        };
        let path = error.path().to_string();
        let key = join(prefix, &path);
        let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
        if let Some(text) = raw.get(&key)
            && !swapped.contains(&key)
        {
            set(&mut table, &steps, Value::String(text.clone()));
            swapped.push(key);
            continue;
        }
        let message = error.inner().to_string();
        // TOML adds a line that names the key, which is said already.
        let message = message.lines().next().unwrap_or_default().to_owned();
        let seen = problems.iter().any(|problem| problem.key == key);
        if !seen {
            problems.push(Problem::new(&key, message));
        }
        if seen || !repair(&mut table, &steps, prefix) {
            return (None, problems);
        }
    }
}

/// Puts the default in the place of a broken value, or removes the key. `false`: there was nothing to repair.
fn repair(table: &mut Table, steps: &[String], prefix: &str) -> bool {
    let mut path: Vec<String> = prefix
        .split('.')
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect();
    path.extend(steps.iter().cloned());
    if let Some(default) = default_of(&path) {
        set(table, steps, default);
        return true;
    }
    let Some((last, parents)) = steps.split_last() else {
        return false;
    };
    let mut at = table;
    for step in parents {
        match at.get_mut(step) {
            Some(Value::Table(inner)) => at = inner,
            _ => return false,
        }
    }
    at.remove(last).is_some()
}

fn default_of(path: &[String]) -> Option<Value> {
    let table: Table = toml::from_str(DEFAULT_TOML).ok()?;
    let mut at = Value::Table(table);
    for step in path {
        at = at.as_table()?.get(step)?.clone();
    }
    Some(at)
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "" | ".") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}.{path}"),
    }
}

/// Takes the table apart section by section.
fn read(
    mut table: Table,
    raw: &BTreeMap<String, String>,
    mut problems: Vec<Problem>,
) -> Result<(Settings, Vec<Problem>), Invalid> {
    let channels = take_map(&mut table, "channels", &mut problems);
    let organizations = take_map(&mut table, "organizations", &mut problems);

    macro_rules! section {
        ($name:literal) => {{
            let table = match table.remove($name) {
                Some(Value::Table(table)) => table,
                _ => {
                    problems.push(Problem::new($name, "must be a table"));
                    Table::new()
                }
            };
            {
                let (section, mut found) = parse_all(table, $name, raw);
                problems.append(&mut found);
                section.or_else(|| default_section($name))
            }
        }};
    }
    let demo: Option<crate::Demo> = section!("demo");
    let settings = (|| {
        // Each section is read even when an earlier one failed, so that all mistakes show.
        let data = section!("data");
        let bus = section!("bus");
        let store = section!("store");
        let ingress = section!("ingress");
        let api = section!("api");
        let operations = section!("operations");
        let lanes = section!("lanes");
        let router = section!("router");
        let delivery = section!("delivery");
        let webhooks = section!("webhooks");
        let media = section!("media");
        let shutdown = section!("shutdown");
        let log = section!("log");
        Some(Settings {
            data: data?,
            demo: demo.clone()?,
            bus: bus?,
            store: store?,
            ingress: ingress?,
            api: api?,
            operations: operations?,
            lanes: lanes?,
            router: router?,
            delivery: delivery?,
            webhooks: webhooks?,
            media: media?,
            shutdown: shutdown?,
            log: log?,
            organizations: BTreeMap::new(),
            channels: BTreeMap::new(),
        })
    })();
    for key in table.keys() {
        let message = "unknown table; see default.toml for the tables there are";
        problems.push(Problem::new(key, message));
    }

    let with_demo = demo.is_some_and(|demo| demo.enabled);
    let organizations = read_organizations(organizations, with_demo, raw, &mut problems);
    let channels = read_channels(channels, &organizations, with_demo, &mut problems);
    let Some(mut settings) = settings else {
        return Err(Invalid(problems));
    };
    settings.organizations = organizations;
    settings.channels = channels;
    check_together(&settings, &mut problems);
    Ok((settings, problems))
}

/// A table as it is when nobody changes it.
fn default_section<T: DeserializeOwned>(name: &str) -> Option<T> {
    match default_of(&[name.to_owned()])? {
        Value::Table(table) => parse(table, name).ok(),
        _ => None,
    }
}

fn take_map(table: &mut Table, name: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, Table> {
    let mut map = BTreeMap::new();
    match table.remove(name) {
        None => {}
        Some(Value::Table(entries)) => {
            for (id, value) in entries {
                match value {
                    Value::Table(inner) => {
                        map.insert(id, inner);
                    }
                    _ => problems.push(Problem::new(
                        format!("{name}.{id}"),
                        format!("must be a table: [{name}.{id}]"),
                    )),
                }
            }
        }
        Some(_) => problems.push(Problem::new(name, "must be a table of tables")),
    }
    map
}

fn read_organizations(
    tables: BTreeMap<String, Table>,
    with_demo: bool,
    raw: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Organization> {
    let mut organizations = BTreeMap::new();
    if with_demo {
        organizations.insert(
            "demo".to_owned(),
            Organization {
                name: "Demo".to_owned(),
            },
        );
    }
    for (id, table) in tables {
        let path = format!("organizations.{id}");
        if !channel::valid_id(&id) {
            problems.push(Problem::new(
                &path,
                "an organization id is 1 to 48 lower-case letters, digits and \"-\"",
            ));
            continue;
        }
        let organization =
            parse_with::<Organization>(table, &path, raw).unwrap_or_else(|mut invalid| {
                problems.append(&mut invalid.0);
                // Known all the same: its channels are not to blame.
                Organization { name: id.clone() }
            });
        organizations.insert(id, organization);
    }
    organizations
}

fn read_channels(
    mut tables: BTreeMap<String, Table>,
    organizations: &BTreeMap<String, Organization>,
    with_demo: bool,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Channel> {
    if with_demo {
        let table = tables.entry("demo".to_owned()).or_default();
        for (key, value) in [
            ("kind", "widget"),
            ("organization", "demo"),
            ("name", "Demo widget"),
        ] {
            table
                .entry(key.to_owned())
                .or_insert_with(|| Value::String(value.to_owned()));
        }
        table
            .entry("demo_page".to_owned())
            .or_insert(Value::Boolean(true));
    }
    let ids: Vec<&str> = organizations.keys().map(String::as_str).collect();
    let mut channels = BTreeMap::new();
    for (id, table) in tables {
        if let Some(channel) = channel::read(&id, table, &ids, problems) {
            channels.insert(id, channel);
        }
    }
    channels
}
