//! Who gets whom, on the real locks.

use std::{num::NonZeroU32, pin::Pin};

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use tokio::task::JoinSet;
use tributary_bus::{MessageId, message::ConversationState};
use tributary_router::store::{Agent, Availability, NewAgent, StoreError};

use crate::support::{Kind, World, acme, envelope, field, message, received, rival};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

pub async fn agent(world: &World, capacity: u32) -> Result<Agent> {
    let new = NewAgent {
        organization: acme(),
        name: "Kim".to_owned(),
        availability: Availability::Available,
        capacity: NonZeroU32::new(capacity).context("capacity")?,
    };
    Ok(world.store.create_agent(new).await?)
}

async fn states(world: &World, contacts: &[&str]) -> Result<Vec<ConversationState>> {
    let mut states = Vec::new();
    for address in contacts {
        states.push(world.conversation_of(address).await?.state);
    }
    Ok(states)
}

pub fn who_waits_gets_whoever_comes(world: &World) -> Ran<'_> {
    Box::pin(async {
        use ConversationState::{Assigned, Waiting};
        for address in ["ada", "bob", "cyd"] {
            world.take_in(vec![message(address, address)?]).await?;
        }
        world.store.match_team(&acme()).await?;
        world.store.match_team(&acme()).await?;
        let told = world.told().await?;
        let queued = told.iter().filter(|t| t.ends_with("conversation.queued"));
        assert_eq!(queued.count(), 3, "each is told once");

        let kim = agent(world, 2).await?;
        assert_eq!(
            states(world, &["ada", "bob", "cyd"]).await?,
            [Assigned, Assigned, Waiting]
        );
        assert_eq!(world.conversation_of("ada").await?.agent_id, Some(kim.id));
        let away = Availability::Away;
        world.store.set_availability(&acme(), kim.id, away).await?;
        let lee = agent(world, 1).await?;
        assert_eq!(world.conversation_of("cyd").await?.agent_id, Some(lee.id));
        let told = world.told().await?;
        let assigned = told
            .iter()
            .filter(|t| t.ends_with("5 conversation.assigned"));
        assert_eq!(assigned.count(), 3);
        Ok(())
    })
}

pub fn a_freed_agent_takes_the_next(world: &World) -> Ran<'_> {
    Box::pin(async {
        let kim = agent(world, 1).await?;
        for address in ["ada", "bob"] {
            world.take_in(vec![message(address, address)?]).await?;
            world.store.match_team(&acme()).await?;
        }
        let ada = world.conversation_of("ada").await?;
        assert_eq!(ada.agent_id, Some(kim.id));
        assert_eq!(
            world.conversation_of("bob").await?.state,
            ConversationState::Waiting
        );
        world.store.close_conversation(&acme(), ada.id).await?;
        assert_eq!(world.conversation_of("bob").await?.agent_id, Some(kim.id));
        // Away: whoever writes waits, until the agent is back.
        let store = &world.store;
        store
            .set_availability(&acme(), kim.id, Availability::Away)
            .await?;
        store
            .close_conversation(&acme(), world.conversation_of("bob").await?.id)
            .await?;
        world.take_in(vec![message("cyd", "cyd")?]).await?;
        store.match_team(&acme()).await?;
        assert_eq!(
            world.conversation_of("cyd").await?.state,
            ConversationState::Waiting
        );
        store
            .set_availability(&acme(), kim.id, Availability::Available)
            .await?;
        assert_eq!(world.conversation_of("cyd").await?.agent_id, Some(kim.id));
        Ok(())
    })
}

/// Lanes, matchers, people who close and agents who come and go, all at once.
pub fn capacity_is_never_exceeded(world: &World) -> Ran<'_> {
    Box::pin(async {
        const LANES: u16 = 4;
        const ROUNDS: usize = 12;
        let mut agents = Vec::new();
        for capacity in [1, 2, 3] {
            agents.push(agent(world, capacity).await?);
        }
        let mut tasks = JoinSet::new();
        for lane in 0..LANES {
            let (handler, lease, store) = (
                world.handler(lane).await?,
                world.lease(),
                world.store.clone(),
            );
            tasks.spawn(async move {
                for round in 0..ROUNDS {
                    let contact = format!("{lane}-{round}");
                    let works = vec![crate::support::work(message(&contact, &contact)?)];
                    handler.handle(works, &lease).await;
                    store.match_team(&acme()).await?;
                }
                Ok::<(), anyhow::Error>(())
            });
        }
        for kim in agents.clone() {
            let store = world.store.clone();
            tasks.spawn(async move {
                for _ in 0..ROUNDS {
                    for availability in [Availability::Away, Availability::Available] {
                        store
                            .set_availability(&acme(), kim.id, availability)
                            .await?;
                    }
                }
                Ok(())
            });
        }
        let total = i64::from(LANES) * i64::try_from(ROUNDS)?;
        // Ends when everybody had an agent and was closed.
        let closing = async {
            loop {
                let over = world
                    .number(
                        "SELECT COUNT(*) FROM agents a WHERE a.capacity < (SELECT COUNT(*) FROM conversations c \
                         WHERE c.agent_id = a.id AND c.state = 'assigned')",
                    )
                    .await?;
                ensure!(over == 0, "an agent has more than the capacity");
                let open = world.open_assigned().await?;
                for id in open.iter().take(2) {
                    world.store.close_conversation(&acme(), *id).await?;
                }
                let closed = "SELECT COUNT(*) FROM conversations WHERE state = 'closed'";
                if world.number(closed).await? == total {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::support::PATIENCE * 2, closing).await??;
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    })
}

pub fn the_sweep_finds_who_waits_in_vain(world: &World) -> Ran<'_> {
    Box::pin(async {
        agent(world, 5).await?;
        // Nothing runs beside a lane: nobody is matched.
        world.take_in(vec![message("ada", "ada")?]).await?;
        assert_eq!(
            world.conversation_of("ada").await?.state,
            ConversationState::Waiting
        );
        assert_eq!(world.store.organizations_to_match().await?, [acme()]);
        // Another process, which was not told.
        let other = tributary_router::store::Store::open(&world.settings).await?;
        let beside = world.alongside(world.router(&other), 0);
        world
            .eventually("ada is assigned", || async {
                Ok(world.conversation_of("ada").await?.state == ConversationState::Assigned)
            })
            .await?;
        beside.end().await?;
        assert!(world.store.organizations_to_match().await?.is_empty());
        other.close().await;
        Ok(())
    })
}

/// One organization whose conversations cannot be written must not keep the sweep from the others.
pub fn an_organization_that_fails_holds_up_no_other(world: &World) -> Ran<'_> {
    Box::pin(async {
        agent(world, 5).await?;
        world
            .store
            .create_agent(NewAgent {
                organization: rival(),
                name: "Rob".to_owned(),
                availability: Availability::Available,
                capacity: NonZeroU32::new(5).context("capacity")?,
            })
            .await?;
        world.take_in(vec![message("ada", "ada")?]).await?;
        let mut of_rival = received("zoe", "zoe");
        of_rival.origin.channel_id = "rival-bot".into();
        of_rival.message_id = MessageId::derived(&of_rival.origin.channel_id, "zoe");
        let mut of_rival = envelope(of_rival.message_id.into(), &of_rival)?;
        of_rival.orgid = rival();
        world.take_in(vec![of_rival]).await?;
        assert_eq!(
            world.store.organizations_to_match().await?,
            [acme(), rival()]
        );
        world
            .execute(match world.kind {
                Kind::Postgres => "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN \
                     RAISE EXCEPTION 'refused'; END $$ LANGUAGE plpgsql; \
                     CREATE TRIGGER refuse BEFORE UPDATE ON conversations FOR EACH ROW \
                     WHEN (NEW.organization = 'acme') EXECUTE FUNCTION refuse()"
                    .to_owned(),
                Kind::Sqlite => "CREATE TRIGGER refuse BEFORE UPDATE ON conversations \
                     WHEN NEW.organization = 'acme' BEGIN SELECT RAISE(ABORT, 'refused'); END"
                    .to_owned(),
            })
            .await?;
        // Another process, which was not told.
        let other = tributary_router::store::Store::open(&world.settings).await?;
        let beside = world.alongside(world.router(&other), 0);
        world
            .eventually("zoe is assigned", || async {
                Ok(world.conversation_of("zoe").await?.state == ConversationState::Assigned)
            })
            .await?;
        beside.end().await?;
        other.close().await;
        assert_eq!(
            world.conversation_of("ada").await?.state,
            ConversationState::Waiting
        );
        Ok(())
    })
}

pub fn a_person_may_assign_beyond_capacity(world: &World) -> Ran<'_> {
    Box::pin(async {
        let kim = agent(world, 1).await?;
        for address in ["ada", "bob", "cyd"] {
            world.take_in(vec![message(address, address)?]).await?;
        }
        world.store.match_team(&acme()).await?;
        let bob = world.conversation_of("bob").await?;
        let view = world
            .store
            .assign_conversation(&acme(), bob.id, kim.id)
            .await?;
        assert_eq!(
            (view.state, view.agent_id),
            (ConversationState::Assigned, Some(kim.id))
        );
        let again = world
            .store
            .assign_conversation(&acme(), bob.id, kim.id)
            .await?;
        assert_eq!(again.seq, view.seq);
        // Two of one: the next is free only when both are closed.
        let ada = world.conversation_of("ada").await?.id;
        world.store.close_conversation(&acme(), ada).await?;
        assert_eq!(
            world.conversation_of("cyd").await?.state,
            ConversationState::Waiting
        );
        world.store.close_conversation(&acme(), bob.id).await?;
        assert_eq!(world.conversation_of("cyd").await?.agent_id, Some(kim.id));
        Ok(())
    })
}

impl World {
    async fn open_assigned(&self) -> Result<Vec<tributary_bus::ConversationId>> {
        Ok(tributary_base::on!(read &self.database, db => {
            sqlx::query_scalar("SELECT id FROM conversations WHERE state = 'assigned'").fetch_all(db).await
        })?)
    }
}

/// Why the status of a conversation changed, in the order of the outbox.
async fn reasons(world: &World) -> Result<Vec<String>> {
    let mut reasons = Vec::new();
    for envelope in world.outbox().await? {
        if envelope.kind == "conversation.status_changed.v1" {
            let (previous, reason) = (field(&envelope, "/previous")?, field(&envelope, "/reason")?);
            reasons.push(format!("{previous} {reason}").replace('"', ""));
        }
    }
    Ok(reasons)
}

pub fn a_conversation_goes_back_to_those_who_wait(world: &World) -> Ran<'_> {
    Box::pin(async {
        let (store, kim) = (&world.store, agent(world, 1).await?);
        for address in ["ada", "bob"] {
            world.take_in(vec![message(address, address)?]).await?;
            store.match_team(&acme()).await?;
        }
        let ada = world.conversation_of("ada").await?;
        assert_eq!(ada.agent_id, Some(kim.id));
        // Bob waited first: he is next, and Ada waits behind him.
        let back = store.release_conversation(&acme(), ada.id).await?;
        assert_eq!(
            (back.state, back.agent_id),
            (ConversationState::Waiting, None)
        );
        assert_eq!(world.conversation_of("bob").await?.agent_id, Some(kim.id));
        let told = world.told().await?.len();
        let again = store.release_conversation(&acme(), ada.id).await?;
        assert_eq!((again, world.told().await?.len()), (back, told));
        assert_eq!(reasons(world).await?, ["assigned requested"]);
        // Alone, she gets the same agent again.
        let bob = world.conversation_of("bob").await?.id;
        store.close_conversation(&acme(), bob).await?;
        let given = store.release_conversation(&acme(), ada.id).await?;
        assert_eq!(given.agent_id, Some(kim.id));
        let foreign = store.release_conversation(&rival(), ada.id).await;
        ensure!(foreign.is_err(), "{foreign:?}");
        store.close_conversation(&acme(), ada.id).await?;
        let closed = store.release_conversation(&acme(), ada.id).await;
        ensure!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
        Ok(())
    })
}

pub fn who_waits_for_an_absent_agent_waits_for_another(world: &World) -> Ran<'_> {
    Box::pin(async {
        let (store, kim) = (&world.store, agent(world, 2).await?);
        for address in ["ada", "bob"] {
            world.take_in(vec![message(address, address)?]).await?;
            store.match_team(&acme()).await?;
        }
        let bob = world.conversation_of("bob").await?;
        store.close_conversation(&acme(), bob.id).await?;
        let grace = std::time::Duration::from_secs(600);
        let long = || Utc::now() + TimeDelta::seconds(601);
        assert_eq!(
            store.release_absent(grace, long()).await?,
            0,
            "she is there"
        );
        let away = Availability::Away;
        store.set_availability(&acme(), kim.id, away).await?;
        // Said again, it is no later.
        store.set_availability(&acme(), kim.id, away).await?;
        assert_eq!(
            store.release_absent(grace, Utc::now()).await?,
            0,
            "not for long"
        );
        let lee = agent(world, 1).await?;
        // Two workers at once: it happens once.
        let (first, second) = tokio::join!(
            store.release_absent(grace, long()),
            store.release_absent(grace, long())
        );
        assert_eq!(first? + second?, 1);
        let ada = world.conversation_of("ada").await?;
        assert_eq!(ada.agent_id, Some(lee.id));
        let told = reasons(world).await?;
        assert_eq!(told, ["assigned requested", "assigned agent_absent"]);
        let bob = world.conversation_of("bob").await?;
        assert_eq!(bob.state, ConversationState::Closed, "closed ones stay");
        // Given to somebody who is away, by a person: the time counts from then.
        store.assign_conversation(&acme(), ada.id, kim.id).await?;
        world
            .execute("UPDATE agents SET away_since = created_at".to_owned())
            .await?;
        assert_eq!(store.release_absent(grace, Utc::now()).await?, 0);
        // Back in time: it stays.
        store
            .set_availability(&acme(), kim.id, Availability::Available)
            .await?;
        assert_eq!(store.release_absent(grace, long()).await?, 0);
        Ok(())
    })
}

/// The settings say so, and the first lane's owner does it.
pub fn the_chores_release_the_conversations_of_absent_agents(world: &World) -> Ran<'_> {
    Box::pin(async {
        let (store, kim) = (&world.store, agent(world, 1).await?);
        world.take_in(vec![message("ada", "ada")?]).await?;
        store.match_team(&acme()).await?;
        store
            .set_availability(&acme(), kim.id, Availability::Away)
            .await?;
        let mut settings = world.settings.clone();
        settings.router.release_absent_after = std::time::Duration::from_millis(1);
        let bus = std::sync::Arc::<tributary_bus::EmbeddedBus>::clone(&world.bus);
        let router = tributary_router::RouterAttendant::new(store.clone(), bus, &settings);
        let beside = world.alongside(router, 0);
        world
            .eventually("she waits again", async || {
                let ada = world.conversation_of("ada").await?;
                Ok(ada.state == ConversationState::Waiting && ada.agent_id.is_none())
            })
            .await?;
        beside.end().await
    })
}
