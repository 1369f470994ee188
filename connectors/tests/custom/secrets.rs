//! What never reaches a log, at any level: secrets, addresses, what people wrote.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;
use tributary_bus::message::Status;
use tributary_simulators::{
    custom::{DeliveryAction, DeliveryMatch, Forged},
    script::Times,
};

use crate::stage::{CONTACT, Stage, lock, text};

/// Keeps everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_a_log() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .init();
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

    let text = String::from_utf8_lossy(&lock(&log.0)).into_owned();
    assert!(
        text.contains("request refused") && text.contains("not sent"),
        "it was logged"
    );
    for secret in [
        &secret["whsec_".len()..],
        "shibboleth",
        "unmistakable",
        CONTACT,
    ] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} was logged");
    }
}
