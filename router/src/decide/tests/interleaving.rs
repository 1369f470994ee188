//! Everything that can happen to one message of ours, in any order and in any batches, ends alike; and whoever follows the
//! events ends with what the store has.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tributary_bus::message::{ContactRead, MessageReacted};

use super::support::*;

/// Orders that are tried.
const ORDERS: u32 = 1500;
const STEPS: usize = 10;

fn step(number: usize, ours: &Message) -> Arrival {
    let report = |to| Inbound::Status(status(ours, to));
    let edited = |text: &str, second: i64| {
        let mut origin = origin("ada");
        origin.occurred_at = now() - TimeDelta::seconds(second);
        Inbound::Edited(MessageEdited {
            origin,
            message_id: MessageId::derived(&shop(), "p-hi"),
            content: Content::text(text),
            extra: Map::new(),
        })
    };
    let inbound = match number {
        0 => {
            let mut sent = status(ours, Status::Sent);
            sent.provider_ids = vec!["p-hi".to_owned()];
            Inbound::Status(sent)
        }
        1 => report(Status::Delivered),
        2 => report(Status::Read),
        3 => Inbound::Read(ContactRead {
            origin: origin("ada"),
            up_to: now(),
            extra: Map::new(),
        }),
        4 => edited("better", 4),
        5 => edited("best", 2),
        6 => Inbound::Reacted(MessageReacted {
            origin: origin("ada"),
            provider_id: "p-hi".to_owned(),
            reactions: vec!["👍".to_owned()],
            extra: Map::new(),
        }),
        7 => return answer(),
        // The echo, and the echo again.
        _ => return echo(),
    };
    arrival(&number.to_string(), inbound)
}

fn echo() -> Arrival {
    let mut message = received("ada", "hi");
    if let Inbound::Received(event) = &mut message.inbound {
        event.sent_by = SentBy::Account;
        event.message_id = MessageId::derived(&shop(), "p-hi");
    }
    message
}

fn answer() -> Arrival {
    let mut message = received("ada", "yes");
    if let Inbound::Received(event) = &mut message.inbound {
        event.reply_to = Some("p-hi".to_owned());
    }
    message
}

/// What an integrator knows who follows the events.
#[derive(Default)]
struct Follower {
    messages: BTreeMap<String, Value>,
    place: i64,
}

impl Follower {
    fn follow(&mut self, changes: &Changes) {
        for outgoing in &changes.outgoing {
            let envelope = &outgoing.envelope;
            let place = envelope.sequence.as_deref().and_then(|s| s.parse().ok());
            let place: i64 = place.expect("a place in the conversation");
            assert!(place > self.place, "{place} after {}", self.place);
            self.place = place;
            let data = envelope.data.to_value();
            let id = |pointer: &str| data.pointer(pointer).and_then(Value::as_str);
            if let Some(merged) = id("/merged_id") {
                let known = self.messages.remove(merged);
                assert!(known.is_some(), "what was merged was never reported");
            }
            if let Some(message) = id("/message/id") {
                self.messages
                    .insert(message.to_owned(), data["message"].clone());
            }
        }
    }
}

#[test]
fn every_order_in_any_batches_ends_alike() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: ORDERS,
            failure_persistence: None,
            ..Config::default()
        },
        rng,
    );
    let orders = Just((0..STEPS).collect::<Vec<_>>()).prop_shuffle();
    let cuts = prop::collection::vec(any::<bool>(), STEPS);
    let outcome = runner.run(&(orders, cuts), |(order, cuts)| {
        let mut snapshot = with_ada();
        let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
        let mut follower = Follower::default();
        let mut batch = Vec::new();
        for (number, cut) in order.iter().zip(&cuts) {
            batch.push(step(*number, &ours));
            if *cut {
                follower.follow(&decided(&std::mem::take(&mut batch), &mut snapshot));
                for entry in snapshot.messages.values_mut() {
                    entry.change = Change::None;
                }
            }
        }
        follower.follow(&decided(&batch, &mut snapshot));

        prop_assert_eq!(snapshot.messages.len(), 2);
        prop_assert!(snapshot.early.is_empty());
        let view = &snapshot.messages[&ours.view.id].value.view;
        prop_assert_eq!(view.status, Status::Read);
        prop_assert!(view.content == Content::text("best"), "{}", json!(view));
        prop_assert_eq!(&view.reactions, &["👍"]);
        let yes = MessageId::derived(&shop(), "ada:yes");
        let yes = &snapshot.messages[&yes].value.view;
        prop_assert_eq!(yes.reply_to, Some(ours.view.id));
        let stored: BTreeMap<String, Value> = snapshot
            .messages
            .values()
            .map(|entry| (entry.value.view.id.to_string(), json!(entry.value.shown())))
            .collect();
        prop_assert_eq!(stored, follower.messages);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
