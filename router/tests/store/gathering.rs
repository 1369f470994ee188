//! Lanes of one process that are taken in together.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tributary_base::{database::Tx, on};
use tributary_bus::{Attendant, Envelope, Lane, Lease, Outcome};

use crate::support::{Kind, World, message, work};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

/// Lanes that work at once.
const LANES: u16 = 12;
/// How long lanes get to come together while the store is held.
const GATHERING: Duration = Duration::from_millis(300);

/// Lanes of one router with one batch each, handed over at once; answers what became of each.
struct Handed(JoinSet<(u16, Vec<Outcome>)>);

impl Handed {
    fn new() -> Self {
        Self(JoinSet::new())
    }

    async fn hand(
        &mut self,
        world: &World,
        lane: u16,
        lease: Lease,
        batch: Vec<Envelope>,
    ) -> Result<()> {
        let handler = world.handler(lane).await?;
        let works = batch.into_iter().map(work).collect();
        self.0
            .spawn(async move { (lane, handler.handle(works, &lease).await) });
        Ok(())
    }

    async fn next(&mut self) -> Result<(u16, Vec<Outcome>)> {
        Ok(self.0.join_next().await.context("a lane")??)
    }

    async fn all(mut self) -> Result<BTreeMap<u16, Vec<Outcome>>> {
        let mut outcomes = BTreeMap::new();
        while !self.0.is_empty() {
            outcomes.extend([self.next().await?]);
        }
        Ok(outcomes)
    }
}

/// Keeps everybody from writing, until the transaction ends.
async fn hold_the_store(world: &World) -> Result<Tx> {
    let mut tx = world.database.begin().await?;
    if let Tx::Postgres(tx) = &mut tx {
        sqlx::query("LOCK TABLE channels IN ACCESS EXCLUSIVE MODE")
            .execute(&mut **tx)
            .await?;
    }
    Ok(tx)
}

/// Lets one lane wait for the store, so that all others come together behind it.
async fn first_in_line(world: &World, handed: &mut Handed) -> Result<()> {
    let batch = vec![message("first", "first")?];
    handed.hand(world, 0, world.lease(), batch).await?;
    tokio::time::sleep(GATHERING).await;
    Ok(())
}

/// Each transaction gives its rows one time.
async fn transactions(world: &World) -> Result<i64> {
    world
        .number("SELECT COUNT(DISTINCT created_at) FROM outbox")
        .await
}

fn done(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| *outcome == Outcome::Done)
}

pub fn lanes_that_wait_share_a_transaction(world: &World) -> Ran<'_> {
    Box::pin(async {
        let held = hold_the_store(world).await?;
        let mut handed = Handed::new();
        first_in_line(world, &mut handed).await?;
        for lane in 1..LANES {
            let contact = format!("contact-{lane}");
            let batch = vec![
                message(&contact, &format!("{lane}-1"))?,
                message(&contact, &format!("{lane}-2"))?,
            ];
            handed.hand(world, lane, world.lease(), batch).await?;
        }
        tokio::time::sleep(GATHERING).await;
        held.commit().await?;
        let outcomes = handed.all().await?;
        assert!(outcomes.values().all(|o| done(o)), "{outcomes:?}");
        let sizes: Vec<usize> = outcomes.values().map(Vec::len).collect();
        assert_eq!(sizes[0], 1);
        assert!(sizes[1..].iter().all(|size| *size == 2), "{sizes:?}");
        assert_eq!(
            world.number("SELECT COUNT(*) FROM messages").await?,
            1 + 2 * i64::from(LANES - 1)
        );
        let transactions = transactions(world).await?;
        assert!(
            transactions <= i64::from(LANES / 2),
            "{transactions} transactions for {LANES} lanes"
        );
        Ok(())
    })
}

pub fn every_lane_keeps_its_order(world: &World) -> Ran<'_> {
    Box::pin(async {
        const MESSAGES: usize = 40;
        let mut tasks = JoinSet::new();
        for lane in 0..LANES {
            let (handler, lease) = (world.handler(lane).await?, world.lease());
            tasks.spawn(async move {
                let contact = format!("contact-{lane}");
                let mut n = 0;
                while n < MESSAGES {
                    let size = (1 + (n + usize::from(lane)) % 5).min(MESSAGES - n);
                    let batch: Result<Vec<Envelope>> = (n..n + size)
                        .map(|n| message(&contact, &format!("{lane}-{n:03}")))
                        .collect();
                    let works = batch?.into_iter().map(work).collect();
                    let outcomes = handler.handle(works, &lease).await;
                    ensure!(done(&outcomes), "{outcomes:?}");
                    n += size;
                }
                Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let mut latest: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for event in world.outbox().await? {
            if event.kind != "message.created.v1" {
                continue;
            }
            let subject = event.subject.clone().context("subject")?;
            let place: i64 = event.sequence.clone().context("sequence")?.parse()?;
            let text = event.data.to_value()["message"]["content"]["text"].to_string();
            if let Some((before, earlier)) = latest.insert(subject, (place, text.clone())) {
                ensure!(place == before + 1, "{place} after {before}");
                ensure!(earlier < text, "{text} after {earlier}");
            }
        }
        assert_eq!(latest.len(), usize::from(LANES));
        let transactions = transactions(world).await?;
        assert!(transactions > 1, "nothing was told apart");
        Ok(())
    })
}

/// A trigger refuses one text, as a database would that cannot hold it.
pub fn one_that_cannot_be_stored_spoils_no_other_lane(world: &World) -> Ran<'_> {
    Box::pin(async {
        world
            .execute(match world.kind {
                Kind::Postgres => "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN \
                     RAISE EXCEPTION 'refused' USING ERRCODE = '22000'; END $$ LANGUAGE plpgsql; \
                     CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW \
                     WHEN (NEW.provider_id = 'poison') EXECUTE FUNCTION refuse()"
                    .to_owned(),
                Kind::Sqlite => "CREATE TRIGGER refuse BEFORE INSERT ON messages \
                     WHEN NEW.provider_id = 'poison' BEGIN SELECT RAISE(ABORT, 'refused'); END"
                    .to_owned(),
            })
            .await?;
        let held = hold_the_store(world).await?;
        let mut handed = Handed::new();
        first_in_line(world, &mut handed).await?;
        for lane in 1..LANES {
            let contact = format!("contact-{lane}");
            let id = match lane {
                5 => "poison".to_owned(),
                _ => format!("{lane}-2"),
            };
            let batch = vec![
                message(&contact, &format!("{lane}-1"))?,
                message(&contact, &id)?,
            ];
            handed.hand(world, lane, world.lease(), batch).await?;
        }
        tokio::time::sleep(GATHERING).await;
        held.commit().await?;
        let mut outcomes = handed.all().await?;
        let poisoned = outcomes.remove(&5).context("lane 5")?;
        assert!(outcomes.values().all(|o| done(o)), "{outcomes:?}");
        match world.kind {
            Kind::Postgres => assert!(
                matches!(poisoned[..], [Outcome::Done, Outcome::Dead { .. }]),
                "{poisoned:?}"
            ),
            Kind::Sqlite => assert!(
                matches!(poisoned[..], [Outcome::Done, Outcome::Retry { .. }]),
                "{poisoned:?}"
            ),
        }
        let stored = world.number("SELECT COUNT(*) FROM messages").await?;
        assert_eq!(stored, 2 * i64::from(LANES - 1));
        Ok(())
    })
}

/// One lease is lost while its lane waits for the shared transaction, and one within it, before the commit.
pub fn a_lane_that_was_lost_is_left_out(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("held", "before")?]).await?;
        let held = hold_the_store(world).await?;
        let mut handed = Handed::new();
        first_in_line(world, &mut handed).await?;
        let proofs = [3, 7].map(|lane| (lane, watch::Sender::new(Some(std::time::Instant::now()))));
        for lane in 1..LANES {
            let lease = match proofs.iter().find(|(lost, _)| *lost == lane) {
                Some((_, proof)) => Lease::new(proof.subscribe(), Duration::from_secs(3600)),
                None => world.lease(),
            };
            let contact = match lane {
                1 => "held".to_owned(),
                _ => format!("contact-{lane}"),
            };
            let batch = vec![message(&contact, &format!("{lane}-1"))?];
            handed.hand(world, lane, lease, batch).await?;
        }
        tokio::time::sleep(GATHERING).await;
        proofs[0].1.send_replace(None);
        // SQLite knows no locks of rows: there, the second is lost before the transaction as well.
        let row = match world.kind {
            Kind::Postgres => Some(hold_a_conversation(world, "held").await?),
            Kind::Sqlite => {
                proofs[1].1.send_replace(None);
                None
            }
        };
        held.commit().await?;
        if let Some(row) = row {
            world
                .eventually("the shared transaction waits for the row", || async {
                    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                         AND datname = current_database()";
                    Ok(world.number(waiting).await? > 0)
                })
                .await?;
            proofs[1].1.send_replace(None);
            row.commit().await?;
        }
        let outcomes = handed.all().await?;
        for (lane, outcomes) in &outcomes {
            if [3, 7].contains(lane) {
                assert!(
                    matches!(outcomes[..], [Outcome::Pause { .. }]),
                    "{lane}: {outcomes:?}"
                );
            } else {
                assert!(done(outcomes), "{lane}: {outcomes:?}");
            }
        }
        let stored = world.number("SELECT COUNT(*) FROM messages").await?;
        assert_eq!(stored, 1 + i64::from(LANES) - 2);
        let lost = "SELECT COUNT(*) FROM contacts WHERE address IN ('contact-3', 'contact-7')";
        assert_eq!(world.number(lost).await?, 0);
        Ok(())
    })
}

async fn hold_a_conversation(world: &World, address: &str) -> Result<Tx> {
    let conversation = world.conversation_of(address).await?.id;
    let mut tx = world.database.begin().await?;
    on!(&mut tx, db => {
        sqlx::query("UPDATE conversations SET queued = queued WHERE id = $1")
            .bind(conversation)
            .execute(db)
            .await
            .map(drop)
    })?;
    Ok(tx)
}

/// Somebody holds one conversation for long (only PostgreSQL lets others go on meanwhile).
pub fn a_conversation_that_is_held_holds_up_no_other_lane(world: &World) -> Ran<'_> {
    Box::pin(async {
        if world.kind == Kind::Sqlite {
            return Ok(());
        }
        world.take_in(vec![message("held", "before")?]).await?;
        let row = hold_a_conversation(world, "held").await?;
        let held = hold_the_store(world).await?;
        let mut handed = Handed::new();
        first_in_line(world, &mut handed).await?;
        for lane in 1..LANES {
            let contact = match lane {
                1 => "held".to_owned(),
                _ => format!("contact-{lane}"),
            };
            let batch = vec![message(&contact, &format!("{lane}-1"))?];
            handed.hand(world, lane, world.lease(), batch).await?;
        }
        tokio::time::sleep(GATHERING).await;
        held.commit().await?;
        let begun = Instant::now();
        for _ in 0..LANES - 1 {
            let (lane, outcomes) = handed.next().await?;
            ensure!(lane != 1, "its conversation is held");
            assert!(done(&outcomes), "{lane}: {outcomes:?}");
        }
        // Far from the statement deadline of ten seconds.
        assert!(begun.elapsed() < Duration::from_secs(5));
        // The lane that waited goes on, and stays with the others afterwards.
        row.commit().await?;
        let (lane, outcomes) = handed.next().await?;
        assert!(lane == 1 && done(&outcomes), "{outcomes:?}");
        Ok(())
    })
}

/// Within its lane as well: the others of the batch are taken in, in order, and only that contact waits.
pub fn a_conversation_that_is_held_holds_up_no_other_contact(world: &World) -> Ran<'_> {
    Box::pin(async {
        if world.kind == Kind::Sqlite {
            return Ok(());
        }
        world.take_in(vec![message("held", "before")?]).await?;
        let row = hold_a_conversation(world, "held").await?;
        let batch = || -> Result<Vec<Envelope>> {
            let mut batch = Vec::new();
            for n in 0..20 {
                for contact in ["held", "ada", "bob"] {
                    batch.push(message(contact, &format!("{contact}-{n:02}"))?);
                }
            }
            Ok(batch)
        };
        let begun = Instant::now();
        let outcomes = world.hand(batch()?).await?;
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "{:?}",
            begun.elapsed()
        );
        assert!(matches!(outcomes[0], Outcome::Pause { .. }), "{outcomes:?}");
        let of = "SELECT COUNT(*) FROM messages m JOIN contacts c ON c.id = m.contact_id";
        assert_eq!(world.number(of).await?, 1 + 40);
        row.commit().await?;
        world.take_in(batch()?).await?;
        assert_eq!(world.number(of).await?, 1 + 60);
        let disorder = "SELECT COUNT(*) FROM messages a JOIN messages b \
             ON a.conversation_id = b.conversation_id AND a.seq < b.seq \
             AND a.provider_id > b.provider_id AND a.provider_id <> 'before'";
        assert_eq!(world.number(disorder).await?, 0);
        Ok(())
    })
}

/// What a lane has to suffer alone it suffers alone from then on, until it succeeds.
pub fn a_lane_in_trouble_stays_apart(world: &World) -> Ran<'_> {
    Box::pin(async {
        let router = world.router(&world.store);
        let handler = router.attend(&Lane::Inbound(1)).await;
        let handler = handler.map_err(anyhow::Error::msg)?;
        let (proof, proven) = watch::channel(None);
        let lost = Lease::new(proven, Duration::from_secs(3600));
        let outcomes = handler
            .handle(vec![work(message("ada", "1")?)], &lost)
            .await;
        assert!(
            matches!(outcomes[..], [Outcome::Pause { .. }]),
            "{outcomes:?}"
        );
        drop(proof);
        // The desk is taken by others, and this lane does not queue up for it.
        let held = hold_the_store(world).await?;
        let mut handed = Handed::new();
        first_in_line(world, &mut handed).await?;
        handed
            .hand(world, 2, world.lease(), vec![message("bob", "2")?])
            .await?;
        let lease = world.lease();
        let apart = tokio::spawn(async move {
            let works = vec![work(message("ada", "1")?)];
            anyhow::Ok(handler.handle(works, &lease).await)
        });
        tokio::time::sleep(GATHERING).await;
        held.commit().await?;
        assert!(done(&apart.await??));
        let outcomes = handed.all().await?;
        assert!(outcomes.values().all(|o| done(o)), "{outcomes:?}");
        assert_eq!(transactions(world).await?, 3, "one of each");
        Ok(())
    })
}

/// Lanes are given up at any moment (a drain deadline, a lost claim), also by whoever has the turn and the batches of
/// others in hand: those go alone then.
pub fn whoever_is_given_up_with_the_turn_leaves_nobody_waiting(world: &World) -> Ran<'_> {
    Box::pin(async {
        const GIVEN_UP: u16 = 4;
        let held = hold_the_store(world).await?;
        let mut lanes = JoinSet::new();
        let mut given_up = Vec::new();
        for lane in 0..LANES {
            let (handler, lease) = (world.handler(lane).await?, world.lease());
            let contact = format!("contact-{lane}");
            let batch = vec![work(message(&contact, &format!("{lane}-1"))?)];
            let task = lanes.spawn(async move { (lane, handler.handle(batch, &lease).await) });
            if lane < GIVEN_UP {
                given_up.push(task);
            }
            if lane == 0 {
                tokio::time::sleep(GATHERING).await;
            }
        }
        tokio::time::sleep(GATHERING).await;
        // The first has the turn; the next takes it with all who wait, and is given up as well.
        for task in given_up {
            task.abort();
            tokio::time::sleep(GATHERING / 4).await;
        }
        held.commit().await?;
        let mut done_lanes = 0;
        while let Some(ended) = lanes.join_next().await {
            match ended {
                Ok((lane, outcomes)) => {
                    ensure!(lane >= GIVEN_UP && done(&outcomes), "{lane}: {outcomes:?}");
                    done_lanes += 1;
                }
                Err(error) => ensure!(error.is_cancelled(), "{error}"),
            }
        }
        assert_eq!(done_lanes, LANES - GIVEN_UP);
        // What was given up comes again, as the bus would bring it.
        for lane in 0..LANES {
            let contact = format!("contact-{lane}");
            let batch = vec![work(message(&contact, &format!("{lane}-1"))?)];
            let outcomes = world
                .handler(lane)
                .await?
                .handle(batch, &world.lease())
                .await;
            ensure!(done(&outcomes), "{outcomes:?}");
        }
        let stored = world.number("SELECT COUNT(*) FROM messages").await?;
        assert_eq!(stored, i64::from(LANES), "each once");
        Ok(())
    })
}
