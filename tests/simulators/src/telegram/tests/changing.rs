//! Edits, deletions, reactions, and what a person sees of them.

use super::*;

#[tokio::test]
async fn edits_are_what_a_person_sees() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    let keyboard = json!({"inline_keyboard": [[{"text": "A", "callback_data": "a"}, {"text": "B", "url": "https://b.example.org"}]]});
    let sent = bench
        .result(
            "sendMessage",
            json!({"chat_id": CHAT, "text": "one", "reply_markup": keyboard}),
        )
        .await;
    let id = sent["message_id"].as_i64().expect("an id");
    let edit = json!({"chat_id": CHAT, "message_id": id, "text": "<i>two</i>", "parse_mode": "HTML", "reply_markup": keyboard});
    let edited = bench.result("editMessageText", edit.clone()).await;
    assert_eq!(
        (&edited["text"], &edited["message_id"]),
        (&json!("two"), &json!(id))
    );
    assert!(edited["edit_date"].is_i64());
    let (status, reason) = bench.failure("editMessageText", edit).await;
    assert!(
        status == 400 && reason.contains("message is not modified"),
        "{reason}"
    );
    let shown = user.sees();
    let message = shown.message(id).expect("it is there");
    assert_eq!((message.text.as_str(), message.edited), ("two", true));
    assert_eq!(message.buttons, [["A", "B"]]);
    assert_eq!(message.entities[0]["type"], "italic");

    let bare = json!({"chat_id": CHAT, "message_id": id});
    bench.result("editMessageReplyMarkup", bare).await;
    assert!(user.sees().messages[0].buttons.is_empty());
    let changes = bench.simulator.changes_of(ChangeKind::Edited);
    assert_eq!(changes.len(), 2);
    assert_eq!(
        changes[0].before.as_ref().expect("a message")["text"],
        "one"
    );

    let theirs = user.says("mine").message_id;
    for (message_id, reason) in [
        (theirs, "message can't be edited"),
        (999, "message to edit not found"),
        (0, "message identifier is not specified"),
    ] {
        let edit = json!({"chat_id": CHAT, "message_id": message_id, "text": "x"});
        let failure = bench.failure("editMessageText", edit).await;
        assert_eq!(failure, (400, format!("Bad Request: {reason}")));
    }
}

#[tokio::test]
async fn captions_and_media_can_be_edited() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    let bot = bench.simulator.first_bot();
    let first = bot.file(Media::photo(sample::jpeg(20, 20, 1)));
    let sent = bench
        .result(
            "sendPhoto",
            json!({"chat_id": CHAT, "photo": first, "caption": "old"}),
        )
        .await;
    let id = &sent["message_id"];
    let edit = json!({"chat_id": CHAT, "message_id": id, "caption": "new"});
    assert_eq!(
        bench.result("editMessageCaption", edit).await["caption"],
        "new"
    );
    let text = json!({"chat_id": CHAT, "message_id": id, "text": "new"});
    let (_, reason) = bench.failure("editMessageText", text).await;
    assert_eq!(
        reason,
        "Bad Request: there is no text in the message to edit"
    );
    let second = bot.file(Media::video(sample::mp4(500, 1)));
    let media = json!({"type": "video", "media": second, "caption": "moving"});
    bench
        .result(
            "editMessageMedia",
            json!({"chat_id": CHAT, "message_id": id, "media": media}),
        )
        .await;
    let shown = user.sees();
    let message = &shown.messages[0];
    assert_eq!(message.text, "moving");
    assert_eq!(
        message.file.as_ref().map(|file| file.kind),
        Some(FileKind::Video)
    );
    assert!(message.message.get("photo").is_none());
    let long = json!({"chat_id": CHAT, "message_id": id, "caption": "x".repeat(1025)});
    let (_, reason) = bench.failure("editMessageCaption", long).await;
    assert_eq!(reason, "Bad Request: message caption is too long");
}

#[tokio::test]
async fn deleted_messages_are_gone() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    let theirs = user.says("one").message_id;
    for text in ["two", "three"] {
        bench.says(CHAT, text).await;
    }
    let delete = |id: i64| json!({"chat_id": CHAT, "message_id": id});
    bench.result("deleteMessage", delete(theirs)).await;
    assert_eq!(user.sees().texts(), ["two", "three"]);
    assert_eq!(
        bench.failure("deleteMessage", delete(theirs)).await,
        (400, "Bad Request: message to delete not found".to_owned())
    );
    let ids = json!({"chat_id": CHAT, "message_ids": [1, 2, 3, 99]});
    bench.result("deleteMessages", ids).await;
    assert!(user.sees().messages.is_empty());
    assert_eq!(bench.simulator.changes_of(ChangeKind::Deleted).len(), 3);
    let reply = json!({"chat_id": CHAT, "text": "x", "reply_parameters": {"message_id": 2}});
    assert_eq!(bench.failure("sendMessage", reply).await.0, 400);

    let options = Options {
        delete_within: Duration::ZERO,
        ..Options::quick()
    };
    let bench = Bench::with(options).await;
    let theirs = bench.simulator.user(CHAT).says("old").message_id;
    assert_eq!(
        bench.failure("deleteMessage", delete(theirs)).await.1,
        "Bad Request: message can't be deleted"
    );
}

#[tokio::test]
async fn reactions_of_both_sides() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    let id = user.says("hello").message_id;
    let react = |reaction: Value| json!({"chat_id": CHAT, "message_id": id, "reaction": reaction});
    let heart = json!([{"type": "emoji", "emoji": "❤️"}]);
    bench.result("setMessageReaction", react(heart)).await;
    bench
        .result(
            "getUpdates",
            json!({"allowed_updates": ["message_reaction"]}),
        )
        .await;
    assert_eq!(user.reacts(id, "👍").update_id, Some(700_100_002));
    assert_eq!(
        user.sees().messages[0].reactions,
        [(123_456_789, "❤️".to_owned()), (CHAT, "👍".to_owned())]
    );
    user.reacts(id, "🔥");
    user.unreacts(id);
    bench.result("setMessageReaction", react(json!([]))).await;
    assert!(user.sees().messages[0].reactions.is_empty());
    let updates = bench
        .result("getUpdates", json!({"offset": 700_100_002}))
        .await;
    let change = |n: usize, side: &str| updates[n]["message_reaction"][side].clone();
    assert_eq!(change(0, "old_reaction"), json!([]));
    assert_eq!(change(1, "old_reaction"), change(0, "new_reaction"));
    assert_eq!(change(2, "new_reaction"), json!([]));

    for (reaction, reason) in [
        (
            json!([{"type": "emoji", "emoji": "🪑"}]),
            "REACTION_INVALID",
        ),
        (
            json!([{"type": "emoji", "emoji": "👍"}, {"type": "emoji", "emoji": "👎"}]),
            "REACTIONS_TOO_MANY",
        ),
    ] {
        let failure = bench.failure("setMessageReaction", react(reaction)).await;
        assert_eq!(failure, (400, format!("Bad Request: {reason}")));
    }
    let other = json!({"chat_id": CHAT, "message_id": 77, "reaction": []});
    let (_, reason) = bench.failure("setMessageReaction", other).await;
    assert_eq!(reason, "Bad Request: message to react not found");
}

#[tokio::test]
async fn typing_and_waiting_for_what_is_seen() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    bench
        .result(
            "sendChatAction",
            json!({"chat_id": CHAT, "action": "typing"}),
        )
        .await;
    let acted = bench.simulator.changes_of(ChangeKind::Acted);
    assert_eq!(
        (acted[0].chat_id, acted[0].after.as_deref()),
        (CHAT, Some(&json!("typing")))
    );
    let waiting = user.wait_until_sees(WITHIN, |chat| chat.texts() == ["later"]);
    let (seen, _) = tokio::join!(waiting, bench.says(CHAT, "later"));
    assert_eq!(seen.expect("it was seen").messages.len(), 1);
    let never = user.wait_until_sees(Duration::from_millis(1), |chat| chat.texts().is_empty());
    assert!(never.await.is_err());
}
