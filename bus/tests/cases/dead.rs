//! Dead letters.

use bytes::Bytes;
use tributary_bus::{DeadId, DeadLetter, EndpointId, Lane};

use crate::support::{Test, declare, numbered, numbers, own, take, world::World};

const LANE: Lane = Lane::Inbound(3);

fn letter(lane: &Lane, body: impl Into<Bytes>) -> DeadLetter {
    DeadLetter {
        id: DeadId(uuid::Uuid::new_v4()),
        lane: lane.clone(),
        reason: "unknown event type".to_owned(),
        // Buses keep milliseconds.
        at: chrono::DateTime::from_timestamp_millis(1_753_000_000_123).unwrap_or_default(),
        body: body.into(),
    }
}

fn ids(letters: &[DeadLetter]) -> Vec<DeadId> {
    letters.iter().map(|letter| letter.id).collect()
}

pub async fn letters_stay_until_they_are_replayed(world: &World) -> Test {
    let process = world.process().await?;
    let bus = &*process.bus;
    declare(bus, &LANE).await?;
    assert!(bus.dead(10).await?.is_empty());
    bus.bury(Vec::new()).await?;
    let letters = (0..4)
        .map(|n| Ok(letter(&LANE, numbered(n).to_bytes()?)))
        .collect::<Result<Vec<_>, tributary_bus::EnvelopeError>>()?;
    bus.bury(letters[..1].to_vec()).await?;
    bus.bury(letters[1..].to_vec()).await?;
    assert_eq!(ids(&bus.dead(2).await?), ids(&letters[..2]));
    assert_eq!(ids(&bus.dead(10).await?), ids(&letters));
    assert!(bus.dead(0).await?.is_empty());

    let first = bus.dead(1).await?.remove(0);
    assert_eq!(first.lane, letters[0].lane);
    assert_eq!(first.reason, letters[0].reason);
    assert_eq!(first.at, letters[0].at);
    assert_eq!(first.body, letters[0].body);

    // They survive a crash, and go one by one.
    let process = world.crash(process, ()).await?;
    let bus = &*process.bus;
    assert_eq!(ids(&bus.dead(10).await?), ids(&letters));
    assert!(!bus.replay(DeadId(uuid::Uuid::new_v4())).await?);
    assert!(bus.replay(letters[2].id).await?);
    assert!(!bus.replay(letters[2].id).await?, "only once");
    let rest = [&letters[..2], &letters[3..]].concat();
    assert_eq!(ids(&bus.dead(10).await?), ids(&rest));
    let mut owner = own(bus, &LANE).await;
    let mut intake = owner.claim.take(10).await?;
    assert_eq!(numbers(&take(&mut *intake, 1).await?), [2]);
    Ok(())
}

pub async fn what_is_no_envelope_still_travels(world: &World) -> Test {
    let process = world.process().await?;
    let bus = &*process.bus;
    declare(bus, &LANE).await?;
    let bodies: [&'static [u8]; 4] = [
        b"{ not json",
        b"",
        b"\xff\x00",
        b"{\"specversion\":\"0.3\"}",
    ];
    let letters = bodies.map(|body| letter(&LANE, body));
    bus.bury(letters.to_vec()).await?;
    for letter in &letters {
        assert!(bus.replay(letter.id).await?);
    }
    let mut owner = own(bus, &LANE).await;
    let mut intake = owner.claim.take(10).await?;
    for (message, body) in take(&mut *intake, 4).await?.iter().zip(bodies) {
        assert!(message.envelope.is_err());
        assert_eq!(message.body, body);
    }
    Ok(())
}

pub async fn a_letter_for_a_lane_that_is_gone_stays(world: &World) -> Test {
    let process = world.process().await?;
    let bus = &*process.bus;
    let letters = [letter(&Lane::Endpoint(EndpointId::generate()), "x")];
    bus.bury(letters.to_vec()).await?;
    assert!(bus.replay(letters[0].id).await.is_err());
    assert_eq!(ids(&bus.dead(10).await?), ids(&letters));
    Ok(())
}

pub async fn a_letter_that_is_buried_twice_is_there_once(world: &World) -> Test {
    let process = world.process().await?;
    let bus = &*process.bus;
    declare(bus, &LANE).await?;
    let letters = [letter(&LANE, "a"), letter(&LANE, "b")];
    bus.bury(letters.to_vec()).await?;
    // The one who buried them ended before it could settle them, and the next one buries them again.
    bus.bury(letters.to_vec()).await?;
    assert_eq!(ids(&bus.dead(10).await?), ids(&letters));
    assert_eq!(ids(&bus.dead(1).await?), ids(&letters[..1]));
    assert!(bus.replay(letters[0].id).await?);
    assert!(!bus.replay(letters[0].id).await?, "only once");
    assert_eq!(ids(&bus.dead(10).await?), ids(&letters[1..]));
    assert_eq!(bus.depth(&LANE).await?, 1);
    Ok(())
}
