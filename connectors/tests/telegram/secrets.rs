//! What never reaches a log, at any level: tokens, secrets, addresses, what people wrote.

use tributary_bus::message::Status;
use tributary_simulators::{
    script::Times,
    telegram::{CallAction, CallMatch, DeliveryAction, DeliveryMatch, Misbehave, When},
};

use crate::{
    stage::{Stage, Way},
    support::Log,
};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_a_log() {
    let log = Log::listen("trace");
    let contact = 5_550_009_876_543;
    let stage = Stage::new("secret_token = 'unmistakable_secret'").await;
    let worker = stage.worker(Way::Webhook).await;
    stage.telegram.misbehave(
        Misbehave::delivering(
            DeliveryMatch::any(),
            Times::Count(1),
            DeliveryAction::WrongSecret,
        )
        .and(failing(CallAction::ServerError {
            status: 502,
            when: When::AfterAccepting,
        }))
        .and(failing(CallAction::Drop(When::AfterAccepting)))
        .and(failing(CallAction::InvalidJson))
        .and(failing(CallAction::TooManyRequests { retry_after: 1 }))
        .and(failing(CallAction::Refuse {
            code: 418,
            description: "I'm a teapot".to_owned(),
            parameters: None,
        })),
    );
    let person = stage.telegram.user(contact);
    person.says("unmistakable question");
    stage.messages(1).await;
    let id = stage.reply(contact, "unmistakable answer").await;
    assert_eq!(stage.status(id).await.status, Status::Failed);
    let id = stage.reply(contact, "unmistakable answer").await;
    assert_eq!(stage.status(id).await.status, Status::Sent);
    let token = stage.telegram.token().to_owned();
    worker.stop().await;
    // Nobody answers any more.
    stage.telegram.stop().await;
    let worker = stage.worker(Way::Polling).await;
    for _ in 0..2 {
        stage.reply(contact, "unmistakable answer").await;
    }
    stage.health("down").await;
    worker.stop().await;

    assert!(
        log.tells("webhook set") && log.tells("not sent"),
        "it was logged"
    );
    let (_, secret_half) = token.split_once(':').expect("a token");
    log.hides([
        secret_half,
        "unmistakable_secret",
        "unmistakable question",
        "unmistakable answer",
        "5550009876543",
    ]);
}

fn failing(action: CallAction) -> Misbehave {
    Misbehave::on(CallMatch::method("sendMessage"), Times::Count(1), action)
}
