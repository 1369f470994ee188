//! `delivered` and `read`.

use serde_json::json;
use tributary_bus::{
    BusState, MessageId,
    message::{Content, Status},
};

use super::{
    stage::{Stage, context},
    visitor::Visitor,
};
use crate::{SendContext, testing::Kind};

/// A visitor who has written and has been sent replies.
async fn answered(stage: &mut Stage, replies: usize) -> (Visitor, Vec<MessageId>) {
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    stage.message().await;
    let mut ids = Vec::new();
    for n in 0..replies {
        let sent = stage.reply(0, &visitor.address(), &n.to_string()).await;
        ids.push(sent.expect("sent").0);
        visitor.next().await;
    }
    (visitor, ids)
}

#[tokio::test]
async fn each_status_is_published_once() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut stage = Stage::on(kind, "").await;
        let (mut visitor, ids) = answered(&mut stage, 3).await;
        for upto in [2, 2, 1] {
            visitor.frame(json!({"t": "delivered", "upto": upto})).await;
        }
        assert_eq!(stage.status().await, (ids[0], Status::Delivered));
        visitor.frame(json!({"t": "delivered", "upto": 4})).await;
        assert_eq!(stage.status().await, (ids[1], Status::Delivered));
        assert_eq!(stage.status().await, (ids[2], Status::Delivered));
        visitor.frame(json!({"t": "read", "upto": 3})).await;
        assert_eq!(stage.status().await, (ids[0], Status::Read));
        assert_eq!(stage.status().await, (ids[1], Status::Read));
        visitor.frame(json!({"t": "read", "upto": 4})).await;
        assert_eq!(stage.status().await, (ids[2], Status::Read));

        visitor.nothing_but_pong().await;
        // Again on a new connection, as the script does.
        let mut back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
        assert_eq!(back.welcome["read"], 4);
        back.frame(json!({"t": "delivered", "upto": 4})).await;
        back.frame(json!({"t": "read", "upto": 4})).await;
        back.nothing_but_pong().await;
        assert!(stage.is_quiet().await);
    }
}

#[tokio::test]
async fn what_is_read_was_delivered() {
    let mut stage = Stage::new("").await;
    let (mut visitor, ids) = answered(&mut stage, 2).await;
    visitor.frame(json!({"t": "read", "upto": 3})).await;
    for id in ids {
        assert_eq!(stage.status().await, (id, Status::Delivered));
        assert_eq!(stage.status().await, (id, Status::Read));
    }
    visitor.nothing_but_pong().await;
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn nobody_can_have_seen_what_was_not_pushed() {
    let mut stage = Stage::new("").await;
    let (mut visitor, ids) = answered(&mut stage, 1).await;
    visitor.frame(json!({"t": "read", "upto": i64::MAX})).await;
    visitor.frame(json!({"t": "delivered", "upto": -7})).await;
    assert_eq!(stage.status().await, (ids[0], Status::Delivered));
    assert_eq!(stage.status().await, (ids[0], Status::Read));
    let to = visitor.address();
    let (later, _) = stage.reply(0, &to, "later").await.expect("sent");
    visitor.next().await;
    visitor.nothing_but_pong().await;
    assert!(stage.is_quiet().await, "the later reply is not seen yet");
    visitor.frame(json!({"t": "read", "upto": 3})).await;
    assert_eq!(stage.status().await, (later, Status::Delivered));
}

/// The visitor is there and says at once, of each part, that it came and was read: as the script does in an open panel.
#[tokio::test]
async fn a_message_in_parts_is_delivered_and_read_with_its_last() {
    const PARTS: u32 = 13;
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut stage = Stage::on(kind, "").await;
        let (mut visitor, _) = answered(&mut stage, 0).await;
        let id = MessageId::generate();
        for index in 0..PARTS {
            let context = SendContext {
                parts: PARTS,
                ..context(&visitor.address(), id, index)
            };
            let sent = stage.send_with(0, index, Content::text("part"), &context);
            sent.await.expect("sent");
            let place = visitor.next().await["seq"].as_i64().expect("a place");
            if index + 1 == PARTS {
                assert!(stage.is_quiet().await, "not before the last part");
            }
            for frame in ["delivered", "read"] {
                visitor.frame(json!({"t": frame, "upto": place})).await;
            }
            visitor.nothing_but_pong().await;
        }
        assert_eq!(stage.status().await, (id, Status::Delivered));
        assert_eq!(stage.status().await, (id, Status::Read));
        assert!(stage.is_quiet().await, "once");
    }
}

#[tokio::test]
async fn other_tabs_learn_what_was_read_in_one() {
    let mut stage = Stage::new("").await;
    stage.add_worker().await;
    let (mut one, _) = answered(&mut stage, 1).await;
    let mut two = stage.visitor_at(1, json!({"token": one.token()})).await;
    one.frame(json!({"t": "read", "upto": 2})).await;
    assert_eq!(
        two.next().await,
        json!({"t": "status", "state": "read", "upto": 2})
    );
    one.nothing_but_pong().await;
}

#[tokio::test]
async fn without_the_bus_what_was_seen_waits_for_a_ping() {
    let mut stage = Stage::new("").await;
    let (mut visitor, ids) = answered(&mut stage, 1).await;
    stage.bus.set_state(BusState::Away {
        reason: "test".to_owned(),
    });
    visitor.frame(json!({"t": "delivered", "upto": 2})).await;
    visitor.nothing_but_pong().await;
    assert!(stage.is_quiet().await);
    stage.bus.set_state(BusState::Ready);
    visitor.nothing_but_pong().await;
    assert_eq!(stage.status().await, (ids[0], Status::Delivered));
}
