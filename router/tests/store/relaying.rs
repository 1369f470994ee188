//! From the outbox to the bus.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tributary_bus::{
    Bus, EndpointId, Envelope, EventFilter, EventId, Group, Lane, LaneSpec, Notice,
    message::{DeliverySend, Status},
};
use tributary_router::{
    RouterAttendant,
    store::{Position, PublishedEvent, Store},
};

use crate::{
    receiving::reply,
    support::{
        Beside, FaultyBus, Kind, PATIENCE, World, acme, brief, envelope, message, status, work,
    },
};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

fn deliveries() -> Lane {
    Lane::Delivery("shop".into())
}

/// Everything beside every lane, as a single worker has it.
fn relays(world: &World) -> Vec<Beside> {
    let lanes = 0..world.settings.bus.inbound_lanes;
    lanes
        .map(|lane| world.alongside(world.router(&world.store), lane))
        .collect()
}

async fn end(relays: Vec<Beside>) -> Result<()> {
    for relay in relays {
        relay.end().await?;
    }
    Ok(())
}

async fn outbox_empties(world: &World) -> Result<()> {
    world
        .eventually("the outbox is empty", || async {
            Ok(world.number("SELECT COUNT(*) FROM outbox").await? == 0)
        })
        .await
}

/// An endpoint's lane with all events of acme.
async fn endpoint(world: &World) -> Result<Lane> {
    let lane = Lane::Endpoint(EndpointId::generate());
    let spec = LaneSpec {
        lane: lane.clone(),
        filter: Some(EventFilter {
            organization: acme(),
            patterns: vec!["*".to_owned()],
        }),
    };
    world.bus.declare(&[spec]).await?;
    Ok(lane)
}

/// What is in a lane.
async fn content(world: &World, lane: &Lane) -> Result<Vec<Envelope>> {
    let depth = world.bus.depth(lane).await?;
    let member = world.bus.join(&Group::Webhooks).await?;
    let mut claim = member
        .claim(lane)
        .await?
        .context("somebody owns the lane")?;
    let mut intake = claim.take(10_000).await?;
    let mut envelopes = Vec::new();
    for _ in 0..depth {
        let taken = tokio::time::timeout(PATIENCE, intake.next()).await??;
        envelopes.push(taken.envelope?);
    }
    intake.close().await;
    claim.release().await?;
    member.leave().await;
    Ok(envelopes)
}

pub fn what_is_written_is_published_in_order_and_cleared(world: &World) -> Ran<'_> {
    Box::pin(async {
        let endpoint = endpoint(world).await?;
        let relays = relays(world);
        for address in ["ada", "bob"] {
            world.take_in(vec![message(address, address)?]).await?;
            let conversation = world.conversation_of(address).await?.id;
            for n in 0..20 {
                world
                    .store
                    .send_message(reply(conversation, &n.to_string()))
                    .await?;
            }
        }
        outbox_empties(world).await?;
        end(relays).await?;

        let sent = content(world, &deliveries()).await?;
        assert_eq!(sent.len(), 40);
        let mut latest: HashMap<String, i64> = HashMap::new();
        for envelope in &sent {
            let delivery: DeliverySend = envelope.payload()?;
            let before = latest.insert(delivery.to.as_str().to_owned(), delivery.seq);
            ensure!(before.is_none_or(|before| before < delivery.seq));
        }
        let told = content(world, &endpoint).await?;
        let mut places: HashMap<String, i64> = HashMap::new();
        for envelope in &told {
            let subject = envelope.subject.clone().context("subject")?;
            let place = places.entry(subject).or_default();
            *place += 1;
            assert_eq!(envelope.place(), Some(*place), "{}", brief(envelope));
        }
        // 3 and 20 for each, and that nobody is there.
        assert_eq!(told.len(), 2 * 24);
        let kept = world.store.events_after(&acme(), Position(0), 1000).await?;
        let kept: Vec<Envelope> = kept
            .iter()
            .map(|event| Envelope::parse(event.envelope.as_bytes()))
            .collect::<Result<_, _>>()?;
        assert_eq!(kept.len(), told.len());
        let ids = |events: &[Envelope]| events.iter().map(|e| e.id).collect::<BTreeSet<_>>();
        assert_eq!(ids(&kept), ids(&told));
        Ok(())
    })
}

/// A trigger keeps the rows in the outbox: the relay publishes, and dies before it could clear.
pub fn a_crash_before_clearing_publishes_again(world: &World) -> Ran<'_> {
    Box::pin(async {
        world
            .execute(match world.kind {
                Kind::Postgres => "CREATE FUNCTION keep() RETURNS trigger AS $$ BEGIN \
                     RAISE EXCEPTION 'kept'; END $$ LANGUAGE plpgsql; \
                     CREATE TRIGGER keep BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION keep()"
                    .to_owned(),
                Kind::Sqlite => "CREATE TRIGGER keep BEFORE DELETE ON outbox \
                     BEGIN SELECT RAISE(ABORT, 'kept'); END"
                    .to_owned(),
            })
            .await?;
        let endpoint = endpoint(world).await?;
        world.take_in(vec![message("ada", "1")?]).await?;
        world.store.match_team(&acme()).await?;
        let first = relays(world);
        world
            .eventually("the events are published", || async {
                Ok(world.bus.depth(&endpoint).await? >= 3)
            })
            .await?;
        end(first).await?;
        let drop_trigger = match world.kind {
            Kind::Postgres => "DROP TRIGGER keep ON outbox",
            Kind::Sqlite => "DROP TRIGGER keep",
        };
        world.execute(drop_trigger.to_owned()).await?;
        let published = world.bus.depth(&endpoint).await?;
        let rows = u64::try_from(world.number("SELECT COUNT(*) FROM outbox").await?)?;
        let second = relays(world);
        outbox_empties(world).await?;
        end(second).await?;

        let told = content(world, &endpoint).await?;
        assert_eq!(
            told.len() as u64,
            published + rows,
            "each once more, and no more than that"
        );
        let ids: BTreeSet<_> = told.iter().map(|e| e.id).collect();
        let kept = world.store.events_after(&acme(), Position(0), 1000).await?;
        assert_eq!(kept.len(), ids.len(), "readers with a cursor see each once");
        Ok(())
    })
}

/// While a shard changes hands both relays may publish a row: here, or (on PostgreSQL) in another process.
pub fn readers_see_once_what_two_relays_published(world: &World) -> Ran<'_> {
    Box::pin(async {
        let elsewhere = match world.kind {
            Kind::Postgres => Store::open(&world.settings).await?,
            Kind::Sqlite => world.store.clone(),
        };
        for n in 0..10 {
            for address in ["ada", "bob"] {
                world
                    .take_in(vec![message(address, &format!("{address}-{n}"))?])
                    .await?;
            }
        }
        let written = usize::try_from(world.number("SELECT COUNT(*) FROM outbox").await?)?;
        let mut all = Vec::new();
        for lane in 0..world.settings.bus.inbound_lanes {
            for store in [&world.store, &world.store, &elsewhere] {
                all.push(world.alongside(world.router(store), lane));
            }
        }
        outbox_empties(world).await?;
        end(all).await?;

        let kept = world.store.events_after(&acme(), Position(0), 1000).await?;
        let kept: Vec<Envelope> = kept
            .iter()
            .map(|event| Envelope::parse(event.envelope.as_bytes()))
            .collect::<Result<_, _>>()?;
        let ids: BTreeSet<_> = kept.iter().map(|e| e.id).collect();
        // And what the relays' side told meanwhile: that nobody is there.
        ensure!(ids.len() >= written, "{} of {written} events", ids.len());
        assert_eq!(kept.len(), ids.len(), "each once");
        let mut latest: HashMap<String, i64> = HashMap::new();
        for envelope in &kept {
            let place: i64 = envelope.sequence.as_deref().unwrap_or("0").parse()?;
            let conversation = envelope.subject.clone().context("subject")?;
            let before = latest.insert(conversation, place);
            ensure!(
                before.is_none_or(|before| before < place),
                "{}",
                brief(envelope)
            );
        }
        Ok(())
    })
}

/// Many relays give positions at once, and a reader follows closely.
pub fn positions_never_appear_behind_a_reader(world: &World) -> Ran<'_> {
    Box::pin(async {
        const WRITERS: usize = 4;
        const MESSAGES: usize = 100;
        let relays = relays(world);
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (handler, lease) = (world.handler(0).await?, world.lease());
            writers.spawn(async move {
                for n in 0..MESSAGES {
                    let contact = format!("{writer}-{n}");
                    let works = vec![work(message(&contact, &contact)?)];
                    handler.handle(works, &lease).await;
                }
                Ok::<(), anyhow::Error>(())
            });
        }
        // contact.created, conversation.created, message.created, conversation.queued
        let expected = WRITERS * MESSAGES * 4;
        let mut seen = BTreeSet::new();
        let mut cursor = Position(0);
        let deadline = Instant::now() + PATIENCE * 2;
        while seen.len() < expected {
            ensure!(
                Instant::now() < deadline,
                "{} of {expected} events seen",
                seen.len()
            );
            let events = world.store.events_after(&acme(), cursor, 7).await?;
            for event in events {
                ensure!(event.position > cursor);
                cursor = event.position;
                let id = Envelope::parse(event.envelope.as_bytes())?.id;
                ensure!(seen.insert(id), "an event has two positions");
            }
        }
        while let Some(ended) = writers.join_next().await {
            ended??;
        }
        end(relays).await
    })
}

pub fn a_channel_that_is_gone_blocks_nobody(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let lost = world
            .store
            .send_message(reply(conversation, "hello"))
            .await?;
        let gone = "UPDATE channels SET removed_at = created_at WHERE id = 'shop'";
        world.execute(gone.to_owned()).await?;
        let relays = relays(world);
        outbox_empties(world).await?;
        world
            .eventually("the message failed, and that was told", || async {
                let message = world
                    .store
                    .message(&acme(), lost.id)
                    .await?
                    .context("message")?;
                let told = world.store.events_after(&acme(), Position(0), 100).await?;
                let told = told
                    .iter()
                    .any(|e| e.envelope.contains("message.status_changed.v1"));
                Ok(told && message.status == Status::Failed && message.failure.is_some())
            })
            .await?;
        outbox_empties(world).await?;
        end(relays).await?;
        let dead = world.bus.dead(10).await?;
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].lane, deliveries());
        assert_eq!(Envelope::parse(&dead[0].body)?.id.0, lost.id.0);
        Ok(())
    })
}

pub fn a_lane_that_fails_holds_up_nobody_else(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?;
        for n in 0..12 {
            world
                .store
                .send_message(reply(conversation.id, &n.to_string()))
                .await?;
        }
        let bus: Arc<dyn Bus> = Arc::clone(&world.bus) as Arc<dyn Bus>;
        let faulty = FaultyBus::new(bus, deliveries());
        let mut settings = world.settings.clone();
        // Fewer than there are deliveries that fail.
        settings.router.relay_batch = 5;
        let shared: Arc<dyn Bus> = Arc::clone(&faulty) as Arc<dyn Bus>;
        let shard = world
            .number("SELECT CAST(shard AS BIGINT) FROM conversations")
            .await?;
        let router = RouterAttendant::new(world.store.clone(), shared, &settings);
        let relay = world.alongside(router, u16::try_from(shard)?);
        world
            .eventually("all events are told", || async {
                let events = "SELECT COUNT(*) FROM outbox WHERE lane IS NULL";
                Ok(world.number(events).await? == 0)
            })
            .await?;
        let waiting = "SELECT COUNT(*) FROM outbox WHERE lane IS NOT NULL";
        assert_eq!(world.number(waiting).await?, 12);
        faulty.heal();
        outbox_empties(world).await?;
        relay.end().await?;
        let sent = content(world, &deliveries()).await?;
        let places: Result<Vec<i64>> = sent
            .iter()
            .map(|e| Ok(e.payload::<DeliverySend>()?.seq))
            .collect();
        let places = places?;
        assert_eq!(places.len(), 12);
        assert!(places.is_sorted(), "{places:?}");
        Ok(())
    })
}

/// A connector found its lane missing, and tells it.
pub fn what_a_renewed_delivery_lane_held_is_emitted_again(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?;
        for n in 0..4 {
            let sent = world
                .store
                .send_message(reply(conversation.id, &n.to_string()))
                .await?;
            if n == 0 {
                let report = status("ada", sent.id, Status::Sent);
                world
                    .take_in(vec![envelope(EventId::generate(), &report)?])
                    .await?;
            }
        }
        let relays = relays(world);
        outbox_empties(world).await?;
        world.bus.remove(&deliveries()).await?;
        world
            .eventually("they are in the lane again", || async {
                let notice = Notice {
                    topic: "delivery.redeclared".to_owned(),
                    body: deliveries().to_string().into(),
                };
                world.bus.announce(notice).await?;
                Ok(world.bus.depth(&deliveries()).await? >= 3)
            })
            .await?;
        end(relays).await?;
        let emitted = content(world, &deliveries()).await?;
        let places: Result<Vec<i64>> = emitted
            .iter()
            .map(|e| Ok(e.payload::<DeliverySend>()?.seq))
            .collect();
        let places: Vec<i64> = places?.into_iter().take(3).collect();
        assert!(places.is_sorted() && places[0] > 0, "{places:?}");
        assert!(emitted.len() >= 3, "the one that was sent is left out");
        Ok(())
    })
}

pub fn rows_of_lanes_that_are_no_more_are_relayed(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let lanes = world.settings.bus.inbound_lanes;
        world
            .execute(format!("UPDATE outbox SET shard = {}", lanes + 7))
            .await?;
        let relays = relays(world);
        outbox_empties(world).await?;
        end(relays).await
    })
}

/// One shard that is always full must not keep the others of its kind waiting.
pub fn lanes_that_are_no_more_take_turns(world: &World) -> Ran<'_> {
    Box::pin(async {
        const ROWS: usize = 60;
        let lanes = world.settings.bus.inbound_lanes;
        let batch: Result<Vec<Envelope>> =
            (0..ROWS).map(|n| message("ada", &n.to_string())).collect();
        world.take_in(batch?).await?;
        world.take_in(vec![message("bob", "1")?]).await?;
        let late = world.number("SELECT MAX(id) FROM outbox").await?;
        let last = world.outbox().await?.pop().context("a row")?;
        world
            .execute(format!(
                "UPDATE outbox SET shard = CASE WHEN id = {late} THEN {} ELSE {} END",
                lanes + 7,
                lanes + 1
            ))
            .await?;
        let mut settings = world.settings.clone();
        settings.router.relay_batch = 5;
        let bus: Arc<dyn Bus> = Arc::clone(&world.bus) as Arc<dyn Bus>;
        let router = RouterAttendant::new(world.store.clone(), bus, &settings);
        let relay = world.alongside(router, 0);
        // What matching tells meanwhile is for the relays of other shards.
        world
            .eventually("they are relayed", || async {
                let left = "SELECT COUNT(*) FROM outbox WHERE shard > 16";
                Ok(world.number(left).await? == 0)
            })
            .await?;
        relay.end().await?;
        let events = world.store.events_after(&acme(), Position(0), 1000).await?;
        let of_last = |event: &PublishedEvent| event.envelope.contains(&last.id.to_string());
        let place = events.iter().position(of_last).context("the last event")?;
        let behind = events.len() - place;
        ensure!(
            behind > ROWS / 2,
            "{behind} rows of the full shard came after it"
        );
        Ok(())
    })
}

/// Slow polls alone would take about a second for each.
pub fn a_relay_is_woken_from_another_process(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let relays = relays(world);
        // On PostgreSQL the writer is another process; SQLite has only one.
        let elsewhere = match world.kind {
            Kind::Postgres => Store::open(&world.settings).await?,
            Kind::Sqlite => world.store.clone(),
        };
        let mut took = Vec::new();
        for n in 0..9 {
            outbox_empties(world).await?;
            let begun = Instant::now();
            elsewhere
                .send_message(reply(conversation, &n.to_string()))
                .await?;
            outbox_empties(world).await?;
            took.push(begun.elapsed());
        }
        took.sort();
        assert!(took[4].as_millis() < 500, "{took:?}");
        end(relays).await
    })
}
