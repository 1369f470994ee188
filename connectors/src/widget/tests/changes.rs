//! Messages that change, and what passes without a message: typing, reading.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tributary_bus::{
    Address, MessageId,
    message::{Content, Inbound},
};

use super::{stage::Stage, visitor::Visitor};
use crate::{Action, Part, SendError, testing::Kind};

async fn answered(stage: &mut Stage) -> (Visitor, MessageId, String) {
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    stage.message().await;
    let hello = json!({"type": "text", "text": "Helo"});
    let (id, provider_id) = stage.offer(&visitor.address(), hello).await;
    visitor.next().await;
    (visitor, id, provider_id)
}

fn edit(provider_id: &str, text: &str) -> Action {
    let content = Content::text(text);
    Action::Edit {
        parts: vec![(provider_id.to_owned(), Part { index: 0, content })],
    }
}

fn delete(provider_id: &str) -> Action {
    Action::Delete {
        provider_ids: vec![provider_id.to_owned()],
    }
}

#[tokio::test]
async fn a_changed_message_is_shown_changed_also_later() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut stage = Stage::on(kind, "").await;
        stage.add_worker().await;
        let (mut visitor, id, name) = answered(&mut stage).await;
        let mut other = stage.visitor_at(1, json!({"token": visitor.token()})).await;
        let to = visitor.address();
        stage
            .act(&to, id, edit(&name, "Hello"))
            .await
            .expect("edited");
        for tab in [&mut visitor, &mut other] {
            let changed = tab.next().await;
            assert_eq!(
                (&changed["t"], &changed["changes"]),
                (&json!("changed"), &json!(1))
            );
            let event = &changed["events"][0];
            assert_eq!((&event["seq"], &event["edited"]), (&json!(2), &json!(true)));
            assert_eq!(event["body"], json!({"type": "text", "text": "Hello"}));
        }
        // Again: nothing happens.
        stage
            .act(&to, id, edit(&name, "Hello"))
            .await
            .expect("no change");
        visitor.nothing_but_pong().await;
        let back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
        assert_eq!(back.welcome["events"][1]["edited"], true);
        assert_eq!(back.welcome["changes"], 1);

        stage.act(&to, id, delete(&name)).await.expect("deleted");
        let changed = visitor.next().await;
        assert_eq!(changed["events"][0]["body"], json!({"type": "deleted"}));
        stage.act(&to, id, delete(&name)).await.expect("no change");
        visitor.nothing_but_pong().await;
        let refused = stage.act(&to, id, edit(&name, "No")).await;
        assert!(matches!(refused, Err(SendError::Rejected { code, .. }) if code == "deleted"));
        let back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
        let gone = &back.welcome["events"][1];
        assert_eq!(gone["body"], json!({"type": "deleted"}));
        // Sent once more by a lane that did not hear of it: it stays gone.
        let again = stage.send(0, &to, id, 0, Content::text("Helo")).await;
        assert_eq!(again.expect("kept").provider_id, name);
        assert!(stage.is_quiet().await);
    }
}

#[tokio::test]
async fn what_changed_while_one_was_away_is_told_after_the_greeting() {
    let mut stage = Stage::new("").await;
    let (visitor, id, name) = answered(&mut stage).await;
    let (to, token) = (visitor.address(), visitor.token());
    drop(visitor);
    stage
        .act(&to, id, edit(&name, "Hello"))
        .await
        .expect("edited");
    let (later, later_name) = stage.offer(&to, json!({"type": "text", "text": "x"})).await;
    stage
        .act(&to, later, edit(&later_name, "y"))
        .await
        .expect("edited");

    let mut back = stage
        .visitor_at(0, json!({"token": token, "since": 2, "changes": 0}))
        .await;
    assert_eq!(back.welcome["events"][0]["body"]["text"], "y");
    let changed = back.next().await;
    assert_eq!(changed["t"], "changed");
    let texts: Vec<&Value> = changed["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["body"]["text"])
        .collect();
    assert_eq!(texts, ["Hello", "y"]);
    assert_eq!(changed["changes"], 2);
    back.nothing_but_pong().await;

    let mut knowing = stage
        .visitor_at(0, json!({"token": token, "since": 3, "changes": 2}))
        .await;
    knowing.nothing_but_pong().await;
    // A number from nowhere does no harm.
    for changes in [-5, i64::MAX] {
        let hello = json!({"token": token, "since": 3, "changes": changes});
        let mut strange = stage.visitor_at(0, hello).await;
        if changes < 0 {
            assert_eq!(strange.next().await["t"], "changed");
        }
        strange.nothing_but_pong().await;
    }
}

#[tokio::test]
async fn a_lost_call_of_a_change_is_made_up_for_by_the_next_ping() {
    let mut stage = Stage::new("").await;
    let (mut visitor, id, name) = answered(&mut stage).await;
    stage.bus.deaf.store(true, Ordering::Release);
    let to = visitor.address();
    stage
        .act(&to, id, edit(&name, "Hello"))
        .await
        .expect("edited");
    let read = Action::Read {
        provider_id: format!("{}:c1", to.as_str()),
    };
    stage.act(&to, id, read).await.expect("read");
    visitor.frame(json!({"t": "ping"})).await;
    assert_eq!(visitor.next().await["t"], "pong");
    assert_eq!(visitor.next().await["t"], "changed");
    assert_eq!(
        visitor.next().await,
        json!({"t": "status", "state": "seen", "upto": 1})
    );
}

#[tokio::test]
async fn nobody_changes_what_is_not_theirs() {
    let mut stage = Stage::new("").await;
    let (mut visitor, id, name) = answered(&mut stage).await;
    let (other, other_id, other_name) = answered(&mut stage).await;
    let to = visitor.address();
    let own = format!("{}:c1", to.as_str());
    let nowhere = format!("{}/77", to.as_str());
    for (id, name) in [
        (other_id, other_name.as_str()),
        (id, other_name.as_str()),
        (other_id, name.as_str()),
        (id, own.as_str()),
        (id, nowhere.as_str()),
        (id, "rubbish"),
    ] {
        for action in [edit(name, "Mine"), delete(name)] {
            let result = stage.act(&to, id, action).await;
            assert!(
                matches!(&result, Err(SendError::Rejected { code, .. }) if code == "unknown_message"),
                "{name}: {result:?}"
            );
        }
    }
    let nobody = Address::from("+380501112233");
    let result = stage.act(&nobody, id, Action::Typing).await;
    assert!(matches!(result, Err(SendError::Unreachable { .. })));
    let react = Action::React {
        provider_id: name,
        reactions: vec!["👍".to_owned()],
    };
    let result = stage.act(&to, id, react).await;
    assert!(matches!(result, Err(SendError::Rejected { .. })));
    visitor.nothing_but_pong().await;
    drop(other);
}

#[tokio::test]
async fn typing_passes_both_ways_and_is_kept_nowhere() {
    let mut stage = Stage::new("").await;
    stage.add_worker().await;
    let (visitor, id, _) = answered(&mut stage).await;
    let mut elsewhere = stage.visitor_at(1, json!({"token": visitor.token()})).await;
    let to = visitor.address();
    stage.act(&to, id, Action::Typing).await.expect("shown");
    assert_eq!(elsewhere.next().await, json!({"t": "typing", "on": true}));
    elsewhere.nothing_but_pong().await;
    let mut back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
    back.nothing_but_pong().await;

    // Many frames within three seconds are one event.
    for on in [true, true, false, true] {
        back.frame(json!({"t": "typing", "on": on})).await;
    }
    back.nothing_but_pong().await;
    let (_, event) = stage.event().await;
    assert!(matches!(&event, Inbound::Typing(typing) if typing.origin.address == to));
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn who_never_wrote_does_not_type_either() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.frame(json!({"t": "typing", "on": true})).await;
    visitor.nothing_but_pong().await;
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn what_we_have_read_is_told_and_only_moves_forward() {
    let mut stage = Stage::new("").await;
    let (mut visitor, id, _) = answered(&mut stage).await;
    visitor.said("c2", "Are you there?").await;
    stage.message().await;
    let to = visitor.address();
    let read = |client_id: &str| Action::Read {
        provider_id: format!("{}:{client_id}", to.as_str()),
    };
    stage.act(&to, id, read("c2")).await.expect("read");
    assert_eq!(
        visitor.next().await,
        json!({"t": "status", "state": "seen", "upto": 3})
    );
    stage.act(&to, id, read("c1")).await.expect("read");
    visitor.nothing_but_pong().await;
    let back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
    assert_eq!(back.welcome["seen"], 3);
    let result = stage.act(&to, id, read("c9")).await;
    assert!(matches!(result, Err(SendError::Rejected { .. })));
}
