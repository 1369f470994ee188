//! What never reaches a log, at any level: secrets, addresses, what people wrote.

use tributary_bus::message::Status;
use tributary_simulators::{
    custom::{DeliveryAction, DeliveryMatch, Forged},
    script::Times,
};

use crate::{
    stage::{CONTACT, Stage, text},
    support::Log,
};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_a_log() {
    let log = Log::listen("trace");
    let stage = Stage::new("").await;
    let url = format!("{}/messages", stage.account);
    for (body, forged) in [
        ("{\"events\":[\"unmistakable question\"]}", Forged::No),
        ("unmistakable question", Forged::No),
        ("unmistakable question", Forged::WrongSecret),
    ] {
        let reply = stage.system.post(&url, body, forged).await;
        assert!(reply.expect("an answer").status >= 400);
    }
    let events = [text("m-1", "unmistakable question")];
    let reply = stage.system.send_events(&stage.account, &events).await;
    assert_eq!(reply.expect("an answer").status, 200);
    for action in [
        DeliveryAction::status(503),
        DeliveryAction::status(418),
        DeliveryAction::DropAfterTaking,
    ] {
        let fails = action == DeliveryAction::status(418);
        stage
            .system
            .misbehave(DeliveryMatch::any(), Times::Count(1), action);
        let id = stage.reply("unmistakable answer").await;
        let end = if fails { Status::Failed } else { Status::Sent };
        stage.status(id, end).await;
    }
    let secret = stage.system.secret();
    stage.ends_settled().await;

    assert!(
        log.tells("request refused") && log.tells("not sent"),
        "it was logged"
    );
    log.hides([
        &secret["whsec_".len()..],
        "shibboleth",
        "unmistakable",
        CONTACT,
    ]);
}
