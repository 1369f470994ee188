//! Defaults, file and environment; and what a person is told who got something wrong.

use std::{io::Write, time::Duration};

use tributary_config::{Invalid, Settings, load_text};

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Invalid> {
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    load_text("test.toml", text, &environment)
}

fn keys(result: Result<Settings, Invalid>) -> Vec<String> {
    result
        .expect_err("must be refused")
        .0
        .into_iter()
        .map(|problem| problem.key)
        .collect()
}

#[test]
fn defaults_are_complete_and_start_the_demo() {
    let settings = load("", &[]).expect("defaults");
    assert!(settings.bus.is_embedded() && settings.store.is_embedded());
    assert_eq!(settings.shutdown.deadline, Duration::from_secs(30));
    assert_eq!(settings.channels["demo"].kind, "widget");
    assert_eq!(settings.organizations["demo"].name, "Demo");
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "[bus]\nheartbeat = \"7s\"\npublish_window = 9\n";
    let settings = load(
        file,
        &[("TRIBUTARY_BUS__PUBLISH_WINDOW", "11"), ("PATH", "/bin")],
    )
    .expect("valid");
    assert_eq!(settings.bus.heartbeat, Duration::from_secs(7));
    assert_eq!(settings.bus.publish_window, 11);
    assert_eq!(settings.bus.inbound_lanes, 16);
}

#[test]
fn a_channel_can_come_from_the_environment_alone() {
    let settings = load("", &[("TRIBUTARY_CHANNELS__TELEGRAM__TOKEN", "123:abc")]).expect("valid");
    let channel = &settings.channels["telegram"];
    assert_eq!(
        (channel.kind.as_str(), channel.organization.as_str()),
        ("telegram", "demo")
    );
    assert_eq!(channel.settings["token"].as_str(), Some("123:abc"));
}

#[test]
fn a_number_in_the_environment_may_be_a_text() {
    let settings = load("", &[("TRIBUTARY_LOG__FILTER", "7")]).expect("valid");
    assert_eq!(settings.log.filter, "7");
}

#[test]
fn every_mistake_is_reported_at_once_with_its_key() {
    let file = r#"
        typo = 1
        [bus]
        url = "mqtt://nowhere"
        heartbeat = "soon"
        publish_window = "many"
        [ingress]
        listen = "not an address"
        bodylimit = 5
        [channels.Shop]
        kind = "telegram"
        [channels.bot]
        kind = "telegram"
        organization = "nobody"
    "#;
    let mut found = keys(load(file, &[("TRIBUTARY_BUSURL", "x")]));
    found.sort();
    assert_eq!(
        found,
        [
            "TRIBUTARY_BUSURL",
            "bus.heartbeat",
            "bus.publish_window",
            "bus.url",
            "channels.Shop",
            "channels.bot.organization",
            "ingress.bodylimit",
            "ingress.listen",
            "typo"
        ]
    );
}

#[test]
fn contradictions_are_reported_with_what_to_do() {
    let error = load(
        "[bus]\nurl = \"mqtt://nowhere\"\n[lanes]\nprefetch = 0\n",
        &[],
    )
    .expect_err("must be refused");
    let text = error.to_string();
    assert!(
        text.contains("bus.url: must be \"embedded\" or start with amqp://"),
        "{text}"
    );
    assert!(
        text.contains("lanes.prefetch: must be at least 1"),
        "{text}"
    );
}

#[test]
fn secrets_come_from_files_and_never_print() {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    writeln!(file, "amqp://u:hunter2@h/").expect("write");
    let path = format!("file:{}", file.path().display());
    let settings = load("", &[("TRIBUTARY_BUS__URL", &path)]).expect("valid");
    assert_eq!(settings.bus.url.expose(), "amqp://u:hunter2@h/");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn a_secret_that_cannot_be_resolved_names_its_key_and_its_source() {
    let error =
        load("[bus]\nurl = \"env:NO_SUCH_VARIABLE_HERE\"\n", &[]).expect_err("must be refused");
    let text = error.to_string();
    assert!(
        text.contains("bus.url") && text.contains("NO_SUCH_VARIABLE_HERE is not set"),
        "{text}"
    );
}

#[test]
fn broken_toml_is_one_clear_error() {
    assert_eq!(keys(load("[bus\n", &[])), ["test.toml"]);
}

#[test]
fn without_the_demo_nothing_of_it_is_left() {
    let settings = load("[demo]\nenabled = false\n[organizations.acme]\nname = \"Acme\"\n[channels.chat]\nkind = \"widget\"\n", &[])
        .expect("valid");
    assert_eq!(settings.channels.keys().collect::<Vec<_>>(), ["chat"]);
    assert_eq!(settings.channels["chat"].organization, "acme");
}

#[test]
fn the_bus_has_one_address_or_several() {
    let several = [
        (
            "[bus]\nurl = [\"amqp://u:p@a/\", \"amqps://u:p@b:5671/\"]",
            None,
        ),
        ("[bus]\nurl = \"amqp://u:p@a/ amqps://u:p@b:5671/\"", None),
        ("", Some("amqp://u:p@a/ amqps://u:p@b:5671/")),
        ("", Some("[\"amqp://u:p@a/\", \"amqps://u:p@b:5671/\"]")),
    ];
    for (file, variable) in several {
        let environment: Vec<_> = variable
            .map(|url| ("TRIBUTARY_BUS__URL", url))
            .into_iter()
            .collect();
        let settings = load(file, &environment).expect("valid");
        let addresses: Vec<&str> = settings.bus.addresses().collect();
        assert_eq!(
            addresses,
            ["amqp://u:p@a/", "amqps://u:p@b:5671/"],
            "{file} {variable:?}"
        );
        assert!(!settings.bus.is_embedded());
    }
    assert!(load("", &[]).expect("valid").bus.is_embedded());
}

#[test]
fn each_bad_address_of_the_bus_is_reported() {
    let file = "[bus]\nurl = [\"amqp://u:hunter2@a/\", \"embedded\", \"http://u:hunter2@b\", \"amqp://\", \"env:NOT_THERE\"]";
    let text = load(file, &[]).expect_err("must be refused").to_string();
    assert!(text.contains("NOT_THERE is not set"), "{text}");
    let file = file.replace(", \"env:NOT_THERE\"", "");
    let text = load(&file, &[]).expect_err("must be refused").to_string();
    for place in [
        "bus.url: address 2 must",
        "bus.url: address 3 must",
        "bus.url: address 4 ",
    ] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert!(!text.contains("address 1"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    for (file, reason) in [
        ("[bus]\nurl = []", "bus.url: must be"),
        ("[bus]\nurl = 5", "bus.url: "),
    ] {
        let text = load(file, &[]).expect_err("must be refused").to_string();
        assert!(text.contains(reason), "{text}");
    }
}
