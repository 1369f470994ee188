//! What people do, and the updates that makes.

use super::*;

#[tokio::test]
async fn buttons_are_pressed_only_where_they_are() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    let inline = json!({"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}, {"text": "More", "url": "https://m.example.org"}]]});
    let arguments = json!({"chat_id": CHAT, "text": "?", "reply_markup": inline});
    let sent = bench.result("sendMessage", arguments).await;
    let id = sent["message_id"].as_i64().expect("an id");
    user.presses_button(id, "Yes").expect("it is there");
    let refused = user
        .presses_button(id, "More")
        .expect_err("a link tells nobody");
    assert_eq!(refused.there, ["Yes"]);
    let updates = bench.result("getUpdates", json!({})).await;
    let query = &updates[0]["callback_query"];
    assert_eq!(query["data"], "y");
    let answer = json!({"callback_query_id": query["id"], "text": "thanks"});
    bench.result("answerCallbackQuery", answer.clone()).await;
    let answered = bench.simulator.changes_of(ChangeKind::Answered);
    assert_eq!(
        answered[0].after.as_ref().expect("arguments")["text"],
        "thanks"
    );
    bench.simulator.first_bot().expire_callbacks();
    let (status, reason) = bench.failure("answerCallbackQuery", answer).await;
    assert!(
        status == 400 && reason.contains("query is too old"),
        "{reason}"
    );
}

#[tokio::test]
async fn keys_of_a_reply_keyboard() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    let keyboard = |once: bool| {
        json!({"chat_id": CHAT, "text": "?", "reply_markup": {
            "keyboard": [["Hello"], [{"text": "My number", "request_contact": true}, {"text": "Here", "request_location": true}]],
            "one_time_keyboard": once,
        }})
    };
    bench.result("sendMessage", keyboard(false)).await;
    assert_eq!(user.sees().keyboard.len(), 2);
    assert!(user.presses_key("Goodbye").is_err());
    for label in ["Hello", "My number", "Here"] {
        user.presses_key(label).expect("it is there");
    }
    bench.result("sendMessage", keyboard(true)).await;
    user.presses_key("Hello").expect("it is there");
    assert!(user.presses_key("Hello").is_err(), "it was for one time");
    bench.result("sendMessage", keyboard(false)).await;
    let remove = json!({"chat_id": CHAT, "text": "!", "reply_markup": {"remove_keyboard": true}});
    bench.result("sendMessage", remove).await;
    assert!(user.sees().keyboard.is_empty());
    let updates = bench.result("getUpdates", json!({})).await;
    assert_eq!(updates[0]["message"]["text"], "Hello");
    assert_eq!(updates[1]["message"]["contact"]["user_id"], CHAT);
    assert!(updates[2]["message"]["location"]["latitude"].is_f64());

    let group = bench.simulator.first_bot().group(-7, "Team");
    let mut asked = keyboard(false);
    asked["chat_id"] = json!(group.id());
    let (_, reason) = bench.failure("sendMessage", asked).await;
    assert_eq!(
        reason,
        "Bad Request: phone number can be requested in private chats only"
    );
}

#[tokio::test]
async fn albums_places_quotes_and_forwards() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    user.sends_album([
        Media::photo(sample::jpeg(20, 20, 1)).caption("two"),
        Media::video(sample::mp4(500, 1)),
    ]);
    let live = user.shares_location(50.0, 30.0, 900).message_id;
    user.moves(live, 50.1, 30.1);
    let (_, sent) = bench.says(CHAT, "Order 991 or 992?").await;
    let asked = sent["result"]["message_id"].as_i64().expect("an id");
    user.quotes(asked, "991", "this one");
    user.forwards(
        &Origin::Hidden {
            name: "Ivan".into(),
        },
        "look at https://a.example.org",
    );
    let caption = user.sends_photo(Some("before")).message_id;
    user.edits(caption, "after");
    let updates = bench.result("getUpdates", json!({})).await;
    let message = |n: usize| &updates[n]["message"];
    assert!(message(0)["media_group_id"].is_string());
    assert_eq!(message(0)["media_group_id"], message(1)["media_group_id"]);
    let moved = &updates[3]["edited_message"];
    assert_eq!(
        (&moved["message_id"], &moved["location"]["latitude"]),
        (&json!(live), &json!(50.1))
    );
    assert_eq!(moved["location"]["live_period"], 900);
    assert_eq!(
        message(4)["quote"],
        json!({"text": "991", "position": 6, "is_manual": true})
    );
    assert_eq!(message(4)["reply_to_message"]["from"]["is_bot"], true);
    assert_eq!(message(5)["forward_origin"]["sender_user_name"], "Ivan");
    assert_eq!(message(5)["entities"][0]["type"], "url");
    assert_eq!(updates[7]["edited_message"]["caption"], "after");
    assert!(updates[7]["edited_message"]["photo"].is_array());

    let quote = |text: &str| json!({"chat_id": CHAT, "text": "x", "reply_parameters": {"message_id": asked, "quote": text}});
    assert_eq!(
        bench.result("sendMessage", quote("992")).await["quote"]["position"],
        13
    );
    assert_eq!(
        bench.failure("sendMessage", quote("993")).await.1,
        "Bad Request: QUOTE_TEXT_INVALID"
    );
}

#[tokio::test]
async fn privacy_topics_and_migration_of_groups() {
    let bench = Bench::start().await;
    let group = bench.simulator.first_bot().supergroup(-1_001, "Team");
    let member = group.user(CHAT);
    assert_eq!(member.says("among ourselves").update_id, None);
    assert_eq!(member.says("/help@other_bot").update_id, None);
    assert!(member.says("/help@shop_bot").update_id.is_some());
    let (_, sent) = bench.says(group.id(), "hello").await;
    let id = sent["result"]["message_id"].as_i64().expect("an id");
    assert!(member.replies(id, "hi").update_id.is_some());
    let group = group.administered();
    let topic = group.topic(5);
    assert!(topic.user(CHAT).says("in a topic").update_id.is_some());
    let updates = bench.result("getUpdates", json!({})).await;
    assert_eq!(updates[2]["message"]["message_thread_id"], 5);
    let answer =
        |thread: i64| json!({"chat_id": group.id(), "message_thread_id": thread, "text": "x"});
    assert_eq!(
        bench.result("sendMessage", answer(5)).await["is_topic_message"],
        true
    );
    for (thread, reason) in [(6, "message thread not found"), (5, "TOPIC_CLOSED")] {
        topic.closes();
        let failure = bench.failure("sendMessage", answer(thread)).await;
        assert_eq!(failure, (400, format!("Bad Request: {reason}")));
    }

    let small = bench.simulator.first_bot().group(-4_000, "Small");
    let large = small.migrates(CHAT, -100_200);
    let (_, body) = bench.says(small.id(), "x").await;
    assert_eq!(body["parameters"]["migrate_to_chat_id"], large.id());
    assert_eq!(bench.says(large.id(), "x").await.0, 200);
    small.removes_bot(CHAT);
    assert_eq!(bench.says(small.id(), "x").await.0, 403);
    let updates = bench
        .result("getUpdates", json!({"offset": 700_100_004}))
        .await;
    assert_eq!(updates[0]["message"]["migrate_to_chat_id"], large.id());
    assert_eq!(updates[1]["message"]["migrate_from_chat_id"], small.id());
    assert_eq!(
        updates[2]["my_chat_member"]["new_chat_member"]["status"],
        "kicked"
    );
}

#[tokio::test]
async fn posts_of_a_channel_name_nobody() {
    let bench = Bench::start().await;
    let channel = bench
        .simulator
        .first_bot()
        .channel(-1_002, "News", "news_ex");
    let post = channel.user(CHAT).says("first");
    channel.user(CHAT).edits(post.message_id, "second");
    let updates = bench.result("getUpdates", json!({})).await;
    assert!(updates[0]["channel_post"].get("from").is_none());
    assert_eq!(updates[0]["channel_post"]["sender_chat"]["title"], "News");
    assert_eq!(updates[1]["edited_channel_post"]["text"], "second");
    let sent = bench
        .result(
            "sendMessage",
            json!({"chat_id": "@news_ex", "text": "third"}),
        )
        .await;
    assert_eq!(sent["chat"]["id"], channel.id());
    assert_eq!(channel.looks().texts(), ["second", "third"]);
}

#[tokio::test]
async fn a_bot_answers_for_a_business_account() {
    let bench = Bench::start().await;
    let owner = bench.simulator.first_bot().business(99);
    let customer = owner.customer(CHAT);
    let asked = customer.says("Hi owner");
    owner.owner_to(CHAT).says("Hi yourself");
    customer.edits(asked.message_id, "Hi, owner");
    let place =
        |id: &str| json!({"business_connection_id": id, "chat_id": CHAT, "text": "by the bot"});
    let sent = bench.result("sendMessage", place(owner.id())).await;
    assert_eq!(
        (&sent["from"]["id"], &sent["sender_business_bot"]["is_bot"]),
        (&json!(99), &json!(true))
    );
    assert_eq!(
        customer.sees().texts(),
        ["Hi, owner", "Hi yourself", "by the bot"]
    );
    assert_eq!(
        bench.says(CHAT, "in its own name").await.0,
        400,
        "they never met"
    );
    let read = json!({"business_connection_id": owner.id(), "chat_id": CHAT, "message_id": asked.message_id});
    bench.result("readBusinessMessage", read).await;
    assert_eq!(
        bench.simulator.changes_of(ChangeKind::Read)[0].message_id,
        asked.message_id
    );
    owner.deletes(CHAT, &[asked.message_id]);
    let updates = bench.result("getUpdates", json!({})).await;
    let kinds: Vec<_> = updates
        .as_array()
        .expect("a list")
        .iter()
        .map(|update| {
            update
                .as_object()
                .expect("an object")
                .keys()
                .find(|key| *key != "update_id")
                .expect("a kind")
                .clone()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "business_connection",
            "business_message",
            "business_message",
            "edited_business_message",
            "deleted_business_messages",
        ]
    );
    assert_eq!(updates[2]["business_message"]["from"]["id"], 99);
    let connection = json!({"business_connection_id": owner.id()});
    assert_eq!(
        bench.result("getBusinessConnection", connection).await["rights"]["can_reply"],
        true
    );
    owner.changes(json!({"is_enabled": false}));
    assert_eq!(bench.failure("sendMessage", place(owner.id())).await.0, 400);
    assert_eq!(
        bench.failure("sendMessage", place("bc_none")).await.1,
        "Bad Request: business connection not found"
    );
}
