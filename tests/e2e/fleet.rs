//! Separate processes on RabbitMQ and PostgreSQL: how they share lanes while workers come and go.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use sqlx::Row as _;
use tempfile::TempDir;
use tributary_bus::{AmqpBus, Bus as _, BusState, ChannelId, Lane};
use tributary_config::{Secret, load_text};
use tributary_simulators::telegram::{Options, TelegramSimulator};

use crate::support::{
    Api, Database, PrivateServer, Program, Spawn, Visitor, eventually, fetch, fresh_database_on,
    nothing_held, within,
};

/// A worker's place in the fleet; the program in it may be killed and started again.
pub struct Slot {
    pub spawn: Spawn,
    pub folder: TempDir,
    pub program: Option<Program>,
    /// Of the ingress or API, once known.
    pub address: Option<String>,
    pub operations: String,
}

/// Every role as processes of its own.
pub struct Fleet {
    // Dropped in this order: workers before their servers.
    pub slots: BTreeMap<String, Slot>,
    pub database: Database,
    pub rabbitmq: PrivateServer,
    pub postgres: PrivateServer,
    pub api: Api,
}

const ORGANIZATION: &str = "acme";

impl Fleet {
    /// `each` workers of every role (one API), on servers of their own, with a widget `chat` and a bot `telegram`.
    pub async fn start(telegram: &TelegramSimulator, each: usize) -> Self {
        let (rabbitmq, postgres) =
            tokio::task::spawn_blocking(|| (PrivateServer::rabbitmq(), PrivateServer::postgres()))
                .await
                .expect("servers start");
        let database = fresh_database_on(&postgres.url).await;
        let config = config(telegram);
        let spawn = |arguments: &[&str]| {
            Spawn::new(arguments)
                .config(&config)
                .free_ports()
                .set("TRIBUTARY_BUS__URL", &rabbitmq.url)
                .set("TRIBUTARY_STORE__URL", &database.url)
        };
        let folder = TempDir::new().expect("temporary folder");
        let run = |arguments: &[&str]| {
            let (status, out, err) = spawn(arguments).output(folder.path());
            assert!(status.success(), "{arguments:?}: {out}{err}");
            out
        };
        run(&["migrate"]);
        let key = run(&[
            "key",
            "create",
            "--organization",
            ORGANIZATION,
            "--name",
            "test",
        ]);

        let mut slots = BTreeMap::new();
        for n in 0..each {
            for role in [
                "router",
                "connector telegram",
                "connector widget",
                "webhooks",
            ] {
                let arguments: Vec<&str> = ["run"].into_iter().chain(role.split(' ')).collect();
                slots.insert(format!("{role} {n}"), Slot::new(spawn(&arguments)));
            }
        }
        slots.insert("api 0".to_owned(), Slot::new(spawn(&["run", "api"])));
        for slot in slots.values_mut() {
            slot.start();
        }
        for (name, slot) in &mut slots {
            slot.learn(name).await;
        }
        let address = slots["api 0"].address.clone().expect("the API's address");
        let api = Api::new(&address, key.trim());
        api.post(
            "/v1/agents",
            json!({"name": "Iryna", "available": true, "capacity": 1_000}),
        )
        .await;
        Self {
            slots,
            database,
            rabbitmq,
            postgres,
            api,
        }
    }

    /// Where visitors connect.
    pub fn ingresses(&self) -> Vec<String> {
        self.slots
            .iter()
            .filter(|(name, _)| name.starts_with("connector widget"))
            .filter_map(|(_, slot)| slot.address.clone())
            .collect()
    }

    /// Waits until nothing is left to do, nothing is held by anybody, and nothing is dead.
    pub async fn assert_quiet(&self) {
        let settings = load_text("test", "", &[]).expect("defaults");
        let bus = AmqpBus::connect(&tributary_config::Bus {
            url: Secret::new(self.rabbitmq.url.clone()),
            ..settings.bus.clone()
        });
        let mut state = bus.state();
        tokio::time::timeout(
            Duration::from_secs(30),
            state.wait_for(|state| *state == BusState::Ready),
        )
        .await
        .expect("the broker answers")
        .expect("the bus lives");
        let mut lanes: Vec<Lane> = (0..settings.bus.inbound_lanes).map(Lane::Inbound).collect();
        lanes.extend(["chat", "telegram"].map(|id| Lane::Delivery(ChannelId::from(id))));
        let endpoints: Vec<uuid::Uuid> =
            sqlx::query_scalar("SELECT id FROM endpoints WHERE deleted_at IS NULL")
                .fetch_all(&self.database.pool)
                .await
                .expect("endpoints");
        lanes.extend(
            endpoints
                .into_iter()
                .map(|id| Lane::Endpoint(tributary_bus::EndpointId(id))),
        );
        within(
            Duration::from_secs(120),
            "every lane and the outbox are empty",
            || async {
                for lane in &lanes {
                    if bus.depth(lane).await.ok()? > 0 {
                        return None;
                    }
                }
                let row = sqlx::query("SELECT count(*) FROM outbox")
                    .fetch_one(&self.database.pool)
                    .await
                    .ok()?;
                (row.get::<i64, _>(0) == 0).then_some(())
            },
        )
        .await;
        let dead = bus.dead(10).await.expect("dead letters can be listed");
        assert!(
            dead.is_empty(),
            "{:#?}",
            dead.iter()
                .map(|d| (&d.lane, &d.reason))
                .collect::<Vec<_>>()
        );
        bus.close().await;
        for slot in self.slots.values() {
            // One that was started again listens somewhere else.
            if let Some(program) = &slot.program {
                nothing_held(&program.printed("operations ").await).await;
            }
        }
    }

    /// SIGTERM to everybody; each stops by itself and cleanly.
    pub async fn terminate(mut self) {
        for (name, slot) in &mut self.slots {
            if let Some(program) = &mut slot.program {
                let status = program.terminate().await;
                assert!(status.success(), "{name}: {status} {:#?}", program.output());
            }
        }
    }

    /// How many lanes each running worker of a group says that it owns.
    pub async fn owned(&self, role: &str, group: &str) -> Vec<u64> {
        let mut owned = Vec::new();
        for (name, slot) in &self.slots {
            if name.starts_with(role) && slot.program.is_some() {
                owned.push(
                    lanes_owned(&slot.operations, group)
                        .await
                        .unwrap_or_default(),
                );
            }
        }
        owned
    }
}

/// The gauge of `/metrics`.
async fn lanes_owned(operations: &str, group: &str) -> Option<u64> {
    let (_, text) = fetch(&format!("{operations}/metrics")).await?;
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("tributary_lanes_owned{{group=\"{group}\"")))?;
    line.rsplit(' ')
        .next()?
        .parse::<f64>()
        .ok()
        .map(|value| value.round() as u64)
}

impl Slot {
    pub fn new(spawn: Spawn) -> Self {
        Self {
            spawn,
            folder: TempDir::new().expect("temporary folder"),
            program: None,
            address: None,
            operations: String::new(),
        }
    }

    /// Starts the program; on the same port as before, if it had one.
    pub fn start(&mut self) {
        self.program = Some(self.spawn.start(self.folder.path()));
    }

    /// Reads the addresses that the program printed, and keeps them for its next life.
    pub async fn learn(&mut self, name: &str) {
        let program = self.program.as_ref().expect("started");
        self.operations = program.printed("operations ").await;
        let kind = match name {
            _ if name.starts_with("api") => "api ",
            _ if name.starts_with("connector") => "ingress ",
            _ => return,
        };
        let address = program.printed(kind).await;
        let listen = address.trim_start_matches("http://").to_owned();
        let key = if kind == "api " {
            "TRIBUTARY_API__LISTEN"
        } else {
            "TRIBUTARY_INGRESS__LISTEN"
        };
        self.spawn.environment.insert(key.to_owned(), listen);
        self.address = Some(address);
    }

    pub fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
        }
    }
}

fn config(telegram: &TelegramSimulator) -> String {
    format!(
        r#"
        [demo]
        enabled = false
        [organizations.{ORGANIZATION}]
        name = "Acme"
        [channels.chat]
        kind = "widget"
        visitors_per_minute = 10000
        visitors_per_hour = 10000
        messages_per_10s = 10000
        messages_per_10m = 10000
        [channels.telegram]
        rate_per_second = 1000
        chat_rate_per_second = 100
        token = "{}"
        api_url = "{}"
        [webhooks]
        allow_internal = ["127.0.0.0/8"]
        retry_base = "200ms"
        retry_cap = "2s"
        [delivery]
        retry_base = "200ms"
        retry_cap = "2s"
        send_deadline = "5s"
        "#,
        telegram.token(),
        telegram.base_url()
    )
}

#[tokio::test]
async fn lanes_move_to_a_fair_share_while_messages_flow() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("simulator");
    let mut fleet = Fleet::start(&telegram, 1).await;
    eventually("one router owns all", || async {
        (fleet.owned("router", "router").await == [16]).then_some(())
    })
    .await;

    let ingresses = fleet.ingresses();
    let talking = tokio::spawn(async move {
        let mut visitor = Visitor::new(&ingresses, "chat", 0);
        for n in 0..40 {
            visitor.say(&format!("message {n}")).await;
            // People write slowly; this is the pace of the load, not a wait for something.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });

    for n in 1..3 {
        let mut slot = Slot::new(fleet.slots["router 0"].spawn.clone());
        slot.start();
        slot.learn("router").await;
        fleet.slots.insert(format!("router {n}"), slot);
    }
    let fair = |owned: Vec<u64>| {
        let mut owned = owned;
        owned.sort_unstable();
        (owned.iter().sum::<u64>() == 16 && owned.iter().all(|count| *count <= 6)).then_some(())
    };
    within(
        Duration::from_secs(10),
        "three routers share the lanes",
        || async { fair(fleet.owned("router", "router").await) },
    )
    .await;

    let mut leaving = fleet.slots.remove("router 1").expect("a router");
    assert!(
        leaving
            .program
            .take()
            .expect("it runs")
            .terminate()
            .await
            .success()
    );
    within(
        Duration::from_secs(10),
        "two routers share the lanes",
        || async {
            let owned = fleet.owned("router", "router").await;
            (owned == [8, 8]).then_some(())
        },
    )
    .await;

    talking.await.expect("the visitor is served");
    fleet.assert_quiet().await;
    let texts: Vec<String> =
        sqlx::query_scalar("SELECT content::jsonb->>'text' FROM messages WHERE direction = 'inbound' ORDER BY conversation_id, seq")
            .fetch_all(&fleet.database.pool)
            .await
            .expect("messages");
    assert_eq!(
        texts,
        (0..40).map(|n| format!("message {n}")).collect::<Vec<_>>()
    );
    fleet.terminate().await;
}
