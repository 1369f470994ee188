//! The number of inbound lanes: kept by the fleet, refused when it differs, changed by a command.

use tempfile::TempDir;
use tributary_bus::{
    Bus as _, Destination, EmbeddedBus, Envelope, EventId, Lane, OrganizationId, Publication,
    message::NoteCreated,
};

use crate::support::{Demo, PrivateServer, Spawn, Visitor, fresh_database_on};

const LANES: &str = "TRIBUTARY_BUS__INBOUND_LANES";

/// The servers need not even be there: the store says it first.
#[tokio::test]
async fn a_process_with_another_number_of_lanes_refuses_to_start() {
    let server = std::env::var("TEST_POSTGRES_URL").expect("run tests through tests/run");
    let (store, connectors) = (
        fresh_database_on(&server).await,
        fresh_database_on(&server).await,
    );
    let folder = TempDir::new().expect("temporary folder");
    let spawn = |arguments: &[&str], lanes: u16| {
        Spawn::new(arguments)
            .free_ports()
            .set("TRIBUTARY_BUS__URL", "amqp://guest:guest@127.0.0.1:1/%2f")
            .set("TRIBUTARY_STORE__URL", &store.url)
            .set("TRIBUTARY_STORE__CONNECTORS_URL", &connectors.url)
            .set(LANES, lanes)
            .output(folder.path())
    };
    let (status, out, err) = spawn(&["migrate"], 16);
    assert!(status.success(), "{out}{err}");
    let roles: [&[&str]; 5] = [
        &["run", "router"],
        &["run", "webhooks"],
        &["run", "api"],
        &["run", "connector", "widget"],
        &["migrate"],
    ];
    for role in roles {
        let (status, out, err) = spawn(role, 8);
        assert!(!status.success(), "{role:?}: {out}{err}");
        for part in [
            "bus.inbound_lanes is 8",
            "works with 16",
            "tributary lanes resize 8",
        ] {
            assert!(err.contains(part), "{role:?}: no {part:?} in {err}");
        }
    }
}

#[tokio::test]
async fn an_older_program_refuses_the_schema_of_a_newer_one() {
    let server = std::env::var("TEST_POSTGRES_URL").expect("run tests through tests/run");
    let database = fresh_database_on(&server).await;
    let folder = TempDir::new().expect("temporary folder");
    let spawn = |arguments: &[&str]| {
        Spawn::new(arguments)
            .free_ports()
            .set("TRIBUTARY_BUS__URL", "amqp://guest:guest@127.0.0.1:1/%2f")
            .set("TRIBUTARY_STORE__URL", &database.url)
            .output(folder.path())
    };
    let (status, out, err) = spawn(&["migrate"]);
    assert!(status.success(), "{out}{err}");
    for table in ["_sqlx_migrations", "connectors_migrations"] {
        let statement = format!(
            "INSERT INTO {table} (version, description, success, checksum, execution_time) \
             VALUES (9000, 'of a later version', TRUE, '', 0)"
        );
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&database.pool)
            .await
            .expect("a migration of a later version");
    }
    let roles: [&[&str]; 3] = [
        &["run", "router"],
        &["run", "connector", "widget"],
        &["migrate"],
    ];
    for role in roles {
        let (status, out, err) = spawn(role);
        assert!(!status.success(), "{role:?}: {out}{err}");
        assert!(
            err.contains("schema of a newer version (migration 9000)"),
            "{role:?}: {err}"
        );
    }
}

#[tokio::test]
async fn the_number_of_lanes_is_changed_by_a_command_and_conversations_go_on() {
    for (before, after) in [(16_u16, 5_u16), (5, 16)] {
        let mut demo = Demo::start(Spawn::default().set(LANES, before)).await;
        let mut visitor = Visitor::arrive(&demo.ingress, "demo").await;
        visitor.say("before").await;
        let conversation = demo.conversation().await;
        let (environment, folder) = (demo.environment(), demo.folder.clone());
        let command = |arguments: &[&str], lanes: u16| {
            let mut spawn = Spawn::new(arguments);
            spawn.environment = environment.clone();
            spawn.set(LANES, lanes).output(&folder)
        };
        let resize = after.to_string();
        let (status, out, err) = command(&["lanes", "resize", &resize], before);
        assert!(!status.success(), "it runs: {out}{err}");
        assert!(err.contains("another tributary process"), "{err}");
        assert!(demo.program.terminate().await.success());

        let (status, out, err) = command(&["up"], after);
        assert!(!status.success(), "{out}{err}");
        assert!(err.contains("lanes resize"), "{err}");

        // One message waits in a lane: nothing may move it.
        let bus = EmbeddedBus::open(&demo.folder.join("data/bus.db"))
            .await
            .expect("the bus opens");
        let lane = Lane::Inbound(before - 1);
        publish(bus.as_ref(), lane.clone()).await;
        bus.close().await;
        let (status, out, err) = command(&["lanes", "resize", &resize], before);
        assert!(!status.success(), "{out}{err}");
        assert!(err.contains("1 message(s) wait"), "{err}");
        let bus = EmbeddedBus::open(&demo.folder.join("data/bus.db"))
            .await
            .expect("the bus opens");
        bus.remove(&lane).await.expect("the lane is removed");
        bus.close().await;

        let (status, out, err) = command(&["lanes", "resize", &resize], before);
        assert!(status.success(), "{out}{err}");
        let (status, out, _) = command(&["lanes", "show"], after);
        assert!(
            status.success() && out.matches(&resize).count() == 3,
            "{out}"
        );

        demo.set(LANES, after);
        demo.restart().await;
        demo.api.reply(&conversation, "after").await;
        visitor
            .until("the answer", |history| {
                history
                    .values()
                    .any(|item| item.to_string().contains("after"))
            })
            .await;
        visitor.say("and again").await;
        assert_eq!(demo.conversation().await, conversation);
    }
}

/// Something that no router of this test takes in.
async fn publish(bus: &EmbeddedBus, lane: Lane) {
    let note = NoteCreated {
        conversation_id: tributary_bus::ConversationId::generate(),
        author: tributary_bus::message::Author::Api,
        text: "waits".to_owned(),
    };
    let organization = OrganizationId::from("demo");
    let envelope = Envelope::wrap(
        EventId::generate(),
        "/test".to_owned(),
        organization,
        None,
        &note,
    )
    .expect("an envelope");
    let spec = tributary_bus::LaneSpec {
        lane: lane.clone(),
        filter: None,
    };
    bus.declare(&[spec]).await.expect("the lane is declared");
    let publication = Publication {
        to: Destination::Lane(lane),
        envelope: envelope.seal().expect("it is small"),
    };
    for result in bus.publish(vec![publication]).await {
        result.expect("it is published");
    }
}

/// A fleet on real servers: while a worker runs the number cannot change.
#[tokio::test]
async fn the_number_of_lanes_stays_while_a_worker_runs() {
    let rabbitmq = PrivateServer::rabbitmq();
    let server = std::env::var("TEST_POSTGRES_URL").expect("run tests through tests/run");
    let database = fresh_database_on(&server).await;
    let folder = TempDir::new().expect("temporary folder");
    let spawn = |arguments: &[&str]| {
        Spawn::new(arguments)
            .free_ports()
            .set("TRIBUTARY_BUS__URL", &rabbitmq.url)
            .set("TRIBUTARY_STORE__URL", &database.url)
    };
    let (status, out, err) = spawn(&["migrate"]).output(folder.path());
    assert!(status.success(), "{out}{err}");
    for role in [vec!["run", "router"], vec!["run", "connector", "widget"]] {
        let mut worker = spawn(&role).start(folder.path());
        worker.printed("ready").await;
        // A worker joins its group just after it says that it is ready.
        crate::support::eventually("the command sees the worker", || async {
            let (status, _, err) = spawn(&["lanes", "resize", "8"]).output(folder.path());
            (!status.success() && err.contains("worker(s) of the group")).then_some(())
        })
        .await;
        assert!(worker.terminate().await.success());
        // Once it was missed, the number is as before.
        let (status, out, err) = spawn(&["lanes", "resize", "16"]).output(folder.path());
        assert!(status.success(), "{out}{err}");
    }
}
