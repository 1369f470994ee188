//! What the operator of a fleet sees: check, tail, dead, health, and waiting for servers that are missing.

use tempfile::TempDir;

use crate::support::{Demo, PrivateServer, Spawn, Visitor, eventually, fetch, free_port};

#[test]
fn check_reports_every_mistake_with_its_key_and_what_to_do() {
    let folder = TempDir::new().expect("temporary folder");
    let config = r#"
        [bus]
        url = "mqtt://nowhere"
        [lanes]
        prefetch = "lots"
        [channels.chat]
        kind = "widget"
        colour = "red"
        [channels.bot]
        kind = "carrier-pigeon"
    "#;
    let (status, out, err) = Spawn::new(&["check"]).config(config).output(folder.path());
    assert_eq!(status.code(), Some(2), "{out}{err}");
    for mistake in [
        "bus.url: must be \"embedded\" or start with amqp://",
        "lanes.prefetch: invalid type",
        "channels.chat.colour: unknown key",
        "channels.bot.kind",
        "4 problem(s)",
    ] {
        assert!(err.contains(mistake), "no {mistake:?} in {err}");
    }
}

#[test]
fn check_says_what_valid_settings_mean_and_prints_no_secret() {
    let folder = TempDir::new().expect("temporary folder");
    let (status, out, err) = Spawn::new(&["check"])
        .set(
            "TRIBUTARY_CHANNELS__TELEGRAM__TOKEN",
            "123456789:AAExampleSecret",
        )
        .set("TRIBUTARY_BUS__URL", "amqp://guest:hunter2@127.0.0.1:1/")
        .output(folder.path());
    assert!(status.success(), "{out}{err}");
    assert!(
        out.contains("RabbitMQ") && out.contains("telegram"),
        "{out}"
    );
    assert!(
        !format!("{out}{err}").contains("AAExampleSecret"),
        "{out}{err}"
    );
    assert!(!format!("{out}{err}").contains("hunter2"), "{out}{err}");
}

#[test]
fn an_address_in_use_is_said_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let folder = TempDir::new().expect("temporary folder");
    let (status, _, err) = Spawn::new(&["up"])
        .free_ports()
        .set("TRIBUTARY_API__LISTEN", address)
        .output(folder.path());
    assert!(!status.success());
    assert!(
        err.contains(&address.to_string()) && err.contains("api.listen"),
        "{err}"
    );
    assert!(!folder.path().join("data").exists(), "nothing was started");
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let demo = Demo::start(Spawn::default()).await;
    let (status, _, err) = Spawn::new(&["up"]).free_ports().output(&demo.folder);
    assert!(!status.success());
    assert!(err.contains("another tributary process"), "{err}");
}

#[tokio::test]
async fn tail_shows_what_moves_and_hides_what_people_wrote() {
    let demo = Demo::start(Spawn::default()).await;
    let quiet = Spawn::new(&["tail", "--colour", "never"]).start(&demo.folder);
    let open = Spawn::new(&["tail", "--content", "--json"]).start(&demo.folder);
    let mut visitor = Visitor::arrive(&demo.ingress, "demo").await;
    // The first message may pass before the watchers are in place; later ones must show.
    for n in 0.. {
        visitor.say(&format!("pineapple {n}")).await;
        let seen = |program: &crate::support::Program, text: &str| {
            program.output().iter().any(|line| line.contains(text))
        };
        if seen(&quiet, "message.received.v1")
            && seen(&quiet, "message.created.v1")
            && seen(&open, "pineapple")
        {
            break;
        }
        assert!(
            n < 100,
            "tail shows nothing: {:#?} {:#?}",
            quiet.output(),
            open.output()
        );
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    assert!(
        quiet
            .output()
            .iter()
            .all(|line| !line.contains("pineapple")),
        "{:#?}",
        quiet.output()
    );
}

#[tokio::test]
async fn health_says_what_is_missing_until_it_is_there() {
    let rabbitmq = PrivateServer::rabbitmq();
    let postgres = PrivateServer::postgres();
    rabbitmq.kill();
    postgres.kill();
    let folder = TempDir::new().expect("temporary folder");
    let spawn = |arguments: &[&str]| {
        Spawn::new(arguments)
            .free_ports()
            .set("TRIBUTARY_BUS__URL", &rabbitmq.url)
            .set("TRIBUTARY_STORE__URL", &postgres.url)
            .set("TRIBUTARY_STORE__STATEMENT_DEADLINE", "2s")
    };
    let roles: [(&[&str], &str); 4] = [
        (&["run", "router"], "store"),
        (&["run", "api"], "store"),
        (&["run", "webhooks"], "store"),
        (&["run", "connector", "widget"], "connectors' store"),
    ];
    let mut running = Vec::new();
    for (arguments, needed) in roles {
        let folder = TempDir::new().expect("temporary folder");
        // It is printed only when all is there.
        let operations = format!("127.0.0.1:{}", free_port());
        let spawn = spawn(arguments).set("TRIBUTARY_OPERATIONS__LISTEN", &operations);
        running.push((spawn.start(folder.path()), operations, needed, folder));
    }
    for (program, operations, needed, _) in &running {
        let health = |path: &'static str| {
            let url = format!("http://{operations}{path}");
            async move { fetch(&url).await }
        };
        let (live, _) = eventually("an answer", || health("/livez")).await;
        assert_eq!(live, 200);
        let text = eventually("what is missing", || async {
            let (status, text) = health("/readyz").await?;
            assert_eq!(status, 503, "{text}");
            (text.contains("bus") && text.contains(needed)).then_some(text)
        })
        .await;
        assert!(!text.contains("guest:guest"), "{text}");
        let line = format!("waiting for the {needed}");
        eventually("a line in the log", || async {
            program.logged(&line).then_some(())
        })
        .await;
    }

    rabbitmq.start_again();
    postgres.start_again();
    let migrated = tokio::task::spawn_blocking({
        let (spawn, folder) = (spawn(&["migrate"]), folder.path().to_owned());
        move || spawn.output(&folder)
    })
    .await
    .expect("migrate runs");
    assert!(migrated.0.success(), "{migrated:?}");
    for (_, operations, ..) in &running {
        let url = format!("http://{operations}/readyz");
        eventually("ready", || async {
            (fetch(&url).await?.0 == 200).then_some(())
        })
        .await;
    }
}
