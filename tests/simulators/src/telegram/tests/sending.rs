//! `sendMessage` and the small methods around it.

use super::*;

#[tokio::test]
async fn get_me_answers_however_it_is_asked() {
    let bench = Bench::start().await;
    let me = bench.result("getMe", json!({})).await;
    assert_eq!(
        (me["id"].as_i64(), me["is_bot"].as_bool()),
        (Some(123_456_789), Some(true))
    );
    let by_get = bench
        .client
        .get(bench.url("GETME"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        read(by_get).await.1["result"],
        me,
        "any HTTP method, any case"
    );
}

#[tokio::test]
async fn wrong_tokens_and_methods() {
    let bench = Bench::start().await;
    assert_eq!(bench.failure("sendFlowers", json!({})).await.0, 404);
    for (path, status) in [
        ("bot123456789:wrong/getMe", 401),
        ("botnonsense/getMe", 404),
        ("", 404),
    ] {
        let url = format!("{}/{path}", bench.simulator.base_url());
        let response = bench.client.get(url).send().await.expect("an answer");
        assert_eq!(read(response).await.0, status, "{path}");
    }
    bench.simulator.first_bot().revoke();
    assert_eq!(
        bench.failure("getMe", json!({})).await,
        (401, "Unauthorized".to_owned())
    );
}

#[tokio::test]
async fn an_accepted_message_is_answered_and_recorded() {
    let bench = Bench::start().await;
    let asked = bench.simulator.user(CHAT).says("where is it?");
    let arguments = json!({
        "chat_id": CHAT,
        "text": "Order <b>991</b> is ready",
        "parse_mode": "HTML",
        "reply_parameters": {"message_id": asked.message_id},
        "reply_markup": {"inline_keyboard": [[{"text": "Track", "callback_data": "t:991"}]]},
    });
    let message = bench.result("sendMessage", arguments).await;
    assert_eq!(
        message["message_id"],
        asked.message_id + 1,
        "one count per chat"
    );
    assert_eq!(message["text"], "Order 991 is ready");
    assert_eq!(
        message["entities"],
        json!([{"offset": 6, "length": 3, "type": "bold"}])
    );
    assert_eq!(message["reply_to_message"]["text"], "where is it?");
    assert_eq!(message["from"]["username"], "shop_bot");

    let form = bench.client.post(bench.url("sendMessage"));
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let response = form
        .body(format!("chat_id={CHAT}&text=by+form"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(read(response).await.0, 200);

    let sent = bench.simulator.sent();
    assert_eq!(sent.iter().map(|s| s.order).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(
        (sent[0].chat_id, sent[0].text.as_str()),
        (CHAT, "Order 991 is ready")
    );
    assert_eq!(sent[0].parameters.get("parse_mode"), Some("HTML"));
    assert_eq!(
        (sent[1].text.as_str(), sent[1].message_id),
        ("by form", asked.message_id + 2)
    );
    assert!(sent[1].at >= sent[0].at);
    assert_eq!(bench.simulator.calls_of("sendmessage").len(), 2);
    assert_eq!(bench.simulator.counters().answers[&200], 2);
}

#[tokio::test]
async fn what_the_provider_refuses_is_refused() {
    let bench = Bench::start().await;
    let _known = bench.simulator.user(CHAT).known();
    let long = "😂".repeat(2049);
    for (arguments, reason) in [
        (
            json!({"chat_id": CHAT, "text": ""}),
            "message text is empty",
        ),
        (
            json!({"chat_id": CHAT, "text": " <b> </b>\n", "parse_mode": "HTML"}),
            "message text is empty",
        ),
        (
            json!({"chat_id": CHAT, "text": long}),
            "message is too long",
        ),
        (json!({"text": "x"}), "chat_id is empty"),
        (json!({"chat_id": 77, "text": "x"}), "chat not found"),
        (
            json!({"chat_id": CHAT, "text": "<x>", "parse_mode": "html"}),
            "can't parse entities: Unsupported start tag \"x\" at byte offset 0",
        ),
        (
            json!({"chat_id": CHAT, "text": "x", "reply_parameters": {"message_id": 9}}),
            "message to be replied not found",
        ),
        (
            json!({"chat_id": CHAT, "text": "x", "reply_markup": {"inline_keyboard": [[{"text": "t", "callback_data": "x".repeat(65)}]]}}),
            "BUTTON_DATA_INVALID",
        ),
    ] {
        assert_eq!(
            bench.failure("sendMessage", arguments).await,
            (400, format!("Bad Request: {reason}"))
        );
    }
    assert!(bench.simulator.sent().is_empty());
    let reply = json!({"message_id": 9, "allow_sending_without_reply": true});
    let fits = json!({"chat_id": CHAT, "text": "😂".repeat(2048), "reply_parameters": reply});
    assert_eq!(bench.result("sendMessage", fits).await["message_id"], 1);
}

#[tokio::test]
async fn who_cannot_be_written_to() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    for (standing, code, reason) in [
        (
            Standing::Blocked,
            403,
            "Forbidden: bot was blocked by the user",
        ),
        (Standing::Deactivated, 403, "Forbidden: user is deactivated"),
        (
            Standing::NotStarted,
            403,
            "Forbidden: bot can't initiate conversation with a user",
        ),
        (
            Standing::Migrated { to: -100 },
            400,
            "Bad Request: group chat was upgraded to a supergroup chat",
        ),
    ] {
        user.set_standing(standing);
        let (status, body) = bench.says(CHAT, "hello?").await;
        assert_eq!((status, &body["description"]), (code, &json!(reason)));
        if let Standing::Migrated { to } = standing {
            assert_eq!(body["parameters"]["migrate_to_chat_id"], to);
        }
    }
    user.starts(None);
    assert_eq!(bench.says(CHAT, "hello!").await.0, 200);
    user.blocks();
    assert_eq!(bench.says(CHAT, "hello?").await.0, 403);
    user.unblocks();
    assert_eq!(bench.says(CHAT, "hello!").await.0, 200);
    assert_eq!(bench.simulator.sent_to(CHAT).len(), 2);
}

#[tokio::test]
async fn buttons_and_actions() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    let (_, sent) = bench.says(CHAT, "991 or 992?").await;
    let message_id = sent["result"]["message_id"].as_i64().expect("it was sent");
    user.presses(message_id, "ord:991");
    let updates = bench.result("getUpdates", json!({})).await;
    let query = &updates[0]["callback_query"];
    assert_eq!(query["message"]["text"], "991 or 992?");
    bench
        .result(
            "answerCallbackQuery",
            json!({"callback_query_id": query["id"]}),
        )
        .await;
    let (status, reason) = bench
        .failure("answerCallbackQuery", json!({"callback_query_id": "1"}))
        .await;
    assert!(
        status == 400 && reason.contains("query ID is invalid"),
        "{reason}"
    );

    let typing = |chat_id: i64, action: &str| json!({"chat_id": chat_id, "action": action});
    assert_eq!(
        bench.result("sendChatAction", typing(CHAT, "typing")).await,
        json!(true)
    );
    assert_eq!(
        bench
            .failure("sendChatAction", typing(CHAT, "dancing"))
            .await
            .0,
        400
    );
    assert_eq!(
        bench.failure("sendChatAction", typing(1, "typing")).await.0,
        400
    );
}

#[tokio::test]
async fn bots_do_not_share_chats_or_updates() {
    let tokens = ["1:first", "2:second"];
    let bench = Bench::with(Options::quick().with_bots(tokens.map(BotProfile::new))).await;
    let second = bench
        .simulator
        .bot("2:second")
        .expect("it is in the options");
    second.user(CHAT).says("to the second");
    assert_eq!(bench.result("getUpdates", json!({})).await, json!([]));
    assert_eq!(bench.says(CHAT, "from the first").await.0, 400);
    assert_eq!(second.pending(), 1);
    let third = bench.simulator.add_bot(BotProfile::new("3:third"));
    assert_eq!((third.token(), third.pending()), ("3:third", 0));
}

#[tokio::test]
async fn thousands_of_messages_do_not_slow_it_down() {
    let bench = Bench::start().await;
    let began = std::time::Instant::now();
    let bot = bench.simulator.first_bot();
    for n in 0..5_000 {
        bot.user(i64::from(n % 200) + 1).says("hello");
    }
    let mut offset = 0;
    let mut read = 0;
    while read < 5_000 {
        let updates = ids(&bench.result("getUpdates", json!({"offset": offset})).await);
        read += updates.len();
        offset = updates.last().expect("there are more") + 1;
    }
    let waiting = bench
        .simulator
        .wait_for_sent(2_000, Duration::from_secs(30));
    let sending = async {
        for n in 0..2_000_i64 {
            assert_eq!(bench.says(n % 200 + 1, "hello").await.0, 200);
        }
    };
    let (reached, ()) = tokio::join!(waiting, sending);
    reached.expect("all were sent");
    // An unoptimised build on a busy machine; quadratic work takes minutes.
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "took {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn rates_are_limited_where_a_test_wants_it() {
    let rates = RateLimits {
        bot_per_second: 1_000,
        private_per_minute: 6,
        private_burst: 2,
        group_per_minute: 3,
    };
    let options = Options {
        rates: Some(rates),
        ..Options::quick()
    };
    let bench = Bench::with(options).await;
    let _known = bench.simulator.user(CHAT).known();
    let group = bench.simulator.first_bot().group(-7, "Team");
    for (chat_id, most, wait) in [(CHAT, 2, 10), (group.id(), 3, 20)] {
        for _ in 0..most {
            assert_eq!(bench.says(chat_id, "x").await.0, 200);
        }
        let (status, body) = bench.says(chat_id, "x").await;
        let seconds = body["parameters"]["retry_after"].as_u64().expect("seconds");
        assert!(status == 429 && (1..=wait).contains(&seconds), "{body}");
    }
    assert_eq!(bench.simulator.sent().len(), 5);
}
