//! Updates, by their fixtures.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tributary_bus::{
    ChannelId, EventId, MessageId,
    message::{Content, Inbound},
};

use super::{
    super::{
        config::Listen,
        inbound::{Ignored, Move, to_events},
        wire::ALLOWED_UPDATES,
    },
    fixtures, now, reader, shown, translate, translated,
};
use crate::event_id::event_id;

/// What we sent ourselves, and Telegram repeats to us.
const ECHO: &str = "49_business_echo.json";

/// What names no chat and no person.
const NOBODYS: [&str; 2] = ["38_poll_without_person.json", "46_not_an_object.json"];

#[test]
fn every_known_update() {
    let mut text = String::new();
    for (name, raw) in fixtures("updates") {
        let translated = translated(&raw);
        text.push_str(&written(&name, &translated.events));
        if let Some(ignored) = translated.ignored {
            text.push_str(&format!("ignored: {}\n", ignored.as_str()));
        }
    }
    insta::assert_snapshot!("updates", text);
}

/// Those that are told otherwise where the account listens to groups and channels.
#[test]
fn groups_and_channels_where_they_are_wanted() {
    let mut text = String::new();
    for (name, raw) in fixtures("updates") {
        let events = to_events(&reader(Listen::On), &raw, now()).events;
        if events != translate(&raw) {
            text.push_str(&written(&name, &events));
        }
    }
    insta::assert_snapshot!("groups", text);
}

fn written(name: &str, events: &[Inbound]) -> String {
    let mut text = format!("## {name}\n");
    for event in events {
        let json = serde_json::to_string_pretty(&shown(event)).expect("JSON");
        text.push_str(&json);
        text.push('\n');
    }
    text
}

#[test]
fn the_raw_payload_travels_once_and_whole() {
    for (name, raw) in fixtures("updates") {
        if name == ECHO {
            continue;
        }
        let events = to_events(&reader(Listen::On), &raw, now()).events;
        if NOBODYS.contains(&name.as_str()) {
            assert!(events.is_empty(), "{name}");
            continue;
        }
        let raws: Vec<&str> = events
            .iter()
            .filter_map(|event| Some(event.origin().raw.as_ref()?.body.as_str()))
            .collect();
        assert_eq!(raws, [raw.as_str()], "{name}");
    }
}

#[test]
fn a_message_polled_and_one_posted_have_the_same_id() {
    let id = |raw: &str| match translate(raw).pop() {
        Some(Inbound::Received(message)) => message.message_id,
        other => panic!("not a message: {other:?}"),
    };
    let raw = &fixtures("updates")["01_text.json"];
    let spaced = raw.replace(':', " : ").replace("https : ", "https:");
    assert_eq!(id(raw), id(&spaced));
    assert_eq!(
        id(raw),
        MessageId::derived(&ChannelId::from("shop"), "5550001111:51")
    );
}

/// Telegram's times are whole seconds: what a person does twice in one is two things, and what Telegram
/// repeats is one.
#[test]
fn everything_done_in_one_second_counts() {
    let id = |update: &Value| {
        let events = translate(&update.to_string());
        event_id(&ChannelId::from("shop"), events.last().expect("an event"))
    };
    let thumb = json!([{"type": "emoji", "emoji": "👍"}]);
    let reacted = |update_id: u32, reactions: &Value| {
        json!({"update_id": update_id, "message_reaction": {
            "chat": {"id": 7, "type": "private"}, "message_id": 49, "user": {"id": 7},
            "date": 1_767_225_620, "old_reaction": [], "new_reaction": reactions,
        }})
    };
    let wrote = |update_id: u32, kind: &str, text: &str| {
        json!({"update_id": update_id, kind: {
            "chat": {"id": 7, "type": "private"}, "message_id": 51, "from": {"id": 7},
            "date": 1_767_225_600, "edit_date": 1_767_225_660, "text": text,
        }})
    };
    let blocked = |update_id: u32, old: &str, new: &str| {
        json!({"update_id": update_id, "my_chat_member": {
            "chat": {"id": 7, "type": "private"}, "from": {"id": 7}, "date": 1_767_225_700,
            "old_chat_member": {"status": old}, "new_chat_member": {"status": new},
        }})
    };
    let all = [
        reacted(1, &thumb),
        reacted(2, &json!([])),
        reacted(3, &thumb),
        wrote(4, "edited_message", "v1"),
        wrote(5, "edited_message", "v2"),
        wrote(6, "edited_message", "v1"),
        wrote(7, "edited_business_message", "v1"),
        blocked(8, "member", "kicked"),
        blocked(9, "kicked", "member"),
        blocked(10, "member", "kicked"),
    ];
    let ids: BTreeSet<EventId> = all.iter().map(id).collect();
    assert_eq!(ids.len(), all.len());
    let again: BTreeSet<EventId> = all.iter().map(id).collect();
    assert_eq!(again, ids, "what Telegram repeats has the same id");
    let starts = [11, 12].map(|update| {
        let events = translate(&wrote(update, "message", "/start").to_string());
        event_id(&ChannelId::from("shop"), &events[0])
    });
    assert_ne!(starts[0], starts[1]);
}

#[test]
fn a_pressed_button_is_answered() {
    let translated = translated(&fixtures("updates")["20_callback_query.json"]);
    let answer = translated.answer.expect("an answer");
    assert_eq!(answer.callback_query_id, "2383000000000000001");
}

#[test]
fn only_what_we_sent_ourselves_leaves_no_trace() {
    for listen in [Listen::Ignore, Listen::On] {
        for (name, raw) in fixtures("updates") {
            let translated = to_events(&reader(listen), &raw, now());
            let silent = translated.events.is_empty() && translated.ignored.is_none();
            assert_eq!(silent, name == ECHO, "{name}");
        }
    }
}

/// Anybody may add a bot to a group: nothing that happens there may fill a tenant with conversations.
#[test]
fn groups_and_channels_are_not_heard_unless_they_are_wanted() {
    let (group, channel) = (Some(Ignored::Group), Some(Ignored::Channel));
    let wanted = [
        ("25_migrate_to.json", group),
        ("27_channel_post.json", channel),
        ("35_group_text.json", group),
        ("42_bot_added_to_group.json", group),
        ("44_edited_channel_post.json", channel),
        ("67_topic_first.json", group),
        ("69_start_in_group.json", group),
        ("71_group_members_added.json", group),
        ("72_bot_removed_from_group.json", group),
        ("74_callback_in_group.json", group),
        ("75_group_reaction.json", group),
        ("76_channel_photo_signed.json", channel),
        ("38_poll_without_person.json", Some(Ignored::Nobody)),
        ("46_not_an_object.json", Some(Ignored::Unreadable)),
        ("01_text.json", None),
        ("30_business_message.json", None),
    ];
    for (name, ignored) in wanted {
        let translated = translated(&fixtures("updates")[name]);
        assert_eq!(translated.ignored, ignored, "{name}");
        assert_eq!(translated.events.is_empty(), ignored.is_some(), "{name}");
    }
    let pressed = translated(&fixtures("updates")["74_callback_in_group.json"]);
    assert!(pressed.answer.is_some(), "the button stops spinning");
}

#[test]
fn both_sides_of_a_migration_tell_the_same() {
    let expected = Move {
        from: -4_000_111_222,
        to: -1_002_000_333_444,
    };
    for name in ["25_migrate_to.json", "26_migrate_from.json"] {
        let moved = translated(&fixtures("updates")[name]).moved;
        assert_eq!(moved, Some(expected), "{name}");
    }
}

#[test]
fn what_is_asked_for_is_understood() {
    for kind in ALLOWED_UPDATES {
        let known = fixtures("updates").into_values().any(|raw| {
            raw.contains(&format!("\"{kind}\":{{")) && {
                let events = to_events(&reader(Listen::On), &raw, now()).events;
                events.iter().any(|event| match event {
                    Inbound::Received(message) => match &message.content {
                        // It is told in words.
                        Content::Unsupported(_) => kind == "business_connection",
                        _ => true,
                    },
                    _ => true,
                })
            }
        });
        assert!(known, "{kind}");
    }
}
