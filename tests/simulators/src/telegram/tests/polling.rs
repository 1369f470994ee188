//! `getUpdates`.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn unconfirmed_updates_are_kept_and_an_offset_confirms() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    let told: Vec<_> = ["one", "two", "three"]
        .into_iter()
        .map(|text| user.says(text))
        .collect();
    let known: Vec<_> = told.iter().filter_map(|told| told.update_id).collect();
    assert_eq!(known, [700_100_001, 700_100_002, 700_100_003]);

    let first = bench.result("getUpdates", json!({"limit": 2})).await;
    assert_eq!(ids(&first), known[..2]);
    assert_eq!(first[0]["message"]["text"], "one");
    assert_eq!(first[0]["message"]["chat"]["id"], CHAT);
    assert_eq!(first[0]["message"]["message_id"], told[0].message_id);
    assert_eq!(
        ids(&bench.result("getUpdates", json!({})).await),
        known,
        "nothing was confirmed"
    );

    let rest = bench
        .result("getUpdates", json!({"offset": known[2]}))
        .await;
    assert_eq!(ids(&rest), known[2..]);
    assert_eq!(bench.simulator.counters().updates_pending(), 1);
    assert_eq!(
        ids(&bench
            .result("getUpdates", json!({"offset": known[2] + 1}))
            .await),
        [0; 0]
    );
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("all are confirmed");
    assert_eq!(bench.simulator.first_bot().pending(), 0);
}

#[tokio::test]
async fn a_long_poll_waits_and_is_woken() {
    let bench = Bench::start().await;
    let began = Instant::now();
    let poll = bench.in_background("getUpdates", json!({"timeout": 30}));
    bench.until_polls_wait(1).await;
    bench.simulator.user(CHAT).starts(Some("order_991"));
    let (status, body) = poll.await.expect("the call ended");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(status, 200);
    let message = &body["result"][0]["message"];
    assert_eq!(message["text"], "/start order_991");
    assert_eq!(
        message["entities"],
        json!([{"offset": 0, "length": 6, "type": "bot_command"}])
    );
    assert_eq!(message["from"]["language_code"], "uk");
    assert_eq!(bench.simulator.counters().polls_waiting, 0);
}

#[tokio::test]
async fn a_long_poll_without_updates_ends_empty_after_its_timeout() {
    let bench = Bench::start().await;
    let began = Instant::now();
    assert_eq!(
        bench.result("getUpdates", json!({"timeout": 1})).await,
        json!([])
    );
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_second_poller_ends_the_first_one() {
    let bench = Bench::start().await;
    let first = bench.in_background("getUpdates", json!({"timeout": 30}));
    bench.until_polls_wait(1).await;
    let second = bench.in_background("getUpdates", json!({"timeout": 30}));
    let (status, body) = first.await.expect("the call ended");
    assert_eq!(status, 409);
    assert_eq!(
        body["description"],
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
    );
    bench.simulator.user(CHAT).says("to the second");
    assert_eq!(
        ids(&second.await.expect("the call ended").1["result"]).len(),
        1
    );
}

#[tokio::test]
async fn polling_and_a_webhook_exclude_each_other() {
    let bench = Bench::start().await;
    let poll = bench.in_background("getUpdates", json!({"timeout": 30}));
    bench.until_polls_wait(1).await;
    bench
        .result("setWebhook", json!({"url": "http://127.0.0.1:9/hook"}))
        .await;
    let (status, body) = poll.await.expect("the call ended");
    assert_eq!(
        (status, &body["description"]),
        (409, &json!("Conflict: terminated by setWebhook request"))
    );
    let (status, reason) = bench.failure("getUpdates", json!({})).await;
    assert_eq!(status, 409);
    assert!(reason.starts_with("Conflict: can't use getUpdates method while webhook is active"));

    bench.simulator.user(CHAT).says("before the switch");
    bench.result("deleteWebhook", json!({})).await;
    assert_eq!(
        ids(&bench.result("getUpdates", json!({})).await).len(),
        1,
        "it was kept"
    );
}

#[tokio::test]
async fn only_allowed_updates_are_made() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    let message = user.says("hello").message_id;
    assert_eq!(user.reacts(message, "👍").update_id, None);
    let allowed = json!({"allowed_updates": ["message_reaction", "edited_message"]});
    bench.result("getUpdates", allowed).await;
    assert!(user.reacts(message, "👍").update_id.is_some());
    assert!(user.edits(message, "hello!").update_id.is_some());
    assert_eq!(user.says("unwanted").update_id, None);
    let updates = bench.result("getUpdates", json!({"offset": -2})).await;
    assert_eq!(
        updates[0]["message_reaction"]["new_reaction"][0]["emoji"],
        "👍"
    );
    assert_eq!(updates[1]["edited_message"]["message_id"], message);
    assert!(updates[1]["edited_message"]["edit_date"].is_i64());
    let info = bench.result("getWebhookInfo", json!({})).await;
    assert_eq!(
        info["allowed_updates"],
        json!(["edited_message", "message_reaction"])
    );
}

#[tokio::test]
async fn all_kinds_of_updates_can_be_made() {
    let bench = Bench::start().await;
    let bot = bench.simulator.first_bot();
    let user = bot.user(Person {
        username: Some("olena_k".into()),
        ..Person::from(CHAT)
    });
    user.sends_photo(Some("Broken screen"));
    user.sends_sticker();
    user.sends_dice();
    user.replies(1, "about this");
    user.presses(1, "ord:991");
    user.blocks();
    user.unblocks();
    bot.update(json!({"channel_post": {"message_id": 8, "chat": {"id": -100, "type": "channel"}, "date": 1}}));
    bot.update(json!({"update_id": 1, "kind_of_next_year": {"x": 1}}));
    let updates = bench.result("getUpdates", json!({})).await;
    assert_eq!(ids(&updates).len(), 9);
    assert_eq!(updates[0]["message"]["caption"], "Broken screen");
    assert_eq!(updates[1]["message"]["sticker"]["emoji"], "😂");
    assert_eq!(updates[2]["message"]["dice"]["value"], 4);
    assert_eq!(
        updates[3]["message"]["reply_to_message"]["caption"],
        "Broken screen"
    );
    assert_eq!(updates[4]["callback_query"]["data"], "ord:991");
    assert_eq!(updates[4]["callback_query"]["message"]["message_id"], 1);
    assert_eq!(
        updates[5]["my_chat_member"]["new_chat_member"]["status"],
        "kicked"
    );
    assert_eq!(
        updates[6]["my_chat_member"]["new_chat_member"]["status"],
        "member"
    );
    assert_eq!(updates[7]["channel_post"]["chat"]["id"], -100);
    assert_eq!(
        updates[8],
        json!({"update_id": 700_100_009, "kind_of_next_year": {"x": 1}})
    );
}

#[tokio::test]
async fn stopping_cuts_what_waits_and_keeps_the_records() {
    let bench = Bench::start().await;
    let poll = bench
        .client
        .get(format!("{}?timeout=30", bench.url("getUpdates")))
        .send();
    let poll = tokio::spawn(poll);
    bench.until_polls_wait(1).await;
    bench.simulator.stop().await;
    poll.await
        .expect("the task ended")
        .expect_err("the connection was cut");
    bench
        .try_call("getMe", json!({}))
        .await
        .expect_err("nobody listens");
    assert_eq!(bench.simulator.calls().len(), 1);
    assert_eq!(bench.simulator.counters().calls_of("getUpdates"), 1);
}
