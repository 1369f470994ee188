//! What stays where it belongs.

use std::{fs, path::Path};

use serde_json::json;
use tributary_bus::{
    Address, MessageId, OrganizationId,
    message::{Content, Inbound},
};
use tributary_connectors::calls_of;

use crate::{
    stands::{Mischief, Seal, Stand},
    watch::{self, Connections},
    world::{MEDIA_KEY, World},
};

const QUESTION: &str = "unmistakable question";
const ANSWER: &str = "unmistakable answer";

/// Whatever can happen to an account, with the messages that were sent meanwhile.
async fn tour<S: Stand>(world: &World<S>) -> (Vec<Address>, Vec<MessageId>) {
    let stand = &world.stand;
    for fixture in stand.fixtures() {
        stand.post(&fixture.body, Seal::Right).await;
    }
    for seal in [Seal::Right, Seal::Missing, Seal::Wrong, Seal::Forged] {
        stand.post(&stand.says(7, QUESTION), seal).await;
    }
    let broken = [&stand.says(8, QUESTION)[1..], b"\xff"].concat();
    stand.post(&broken, Seal::Right).await;
    let (mut people, mut sent) = (Vec::new(), Vec::new());
    for (number, mischief) in (0..).zip(Mischief::ALL) {
        let to = stand.contact(number).await;
        stand.play(mischief, &to);
        sent.push(world.send(&to, Content::text(ANSWER)).await);
        people.push(to);
    }
    stand.writes(&people[0], QUESTION).await;
    // What cannot be sent has an error text, and error texts are logged.
    let image =
        json!({"type": "image", "media": {"media_id": "nowhere"}, "caption": {"text": ANSWER}});
    let image: Content = serde_json::from_value(image).expect("a content");
    sent.push(world.send(&people[0], image).await);
    sent.push(
        world
            .send(&Address::from("nobody-anywhere"), Content::text(ANSWER))
            .await,
    );
    for id in &sent {
        world.outcome(*id).await;
    }
    (people, sent)
}

/// Every file below a folder.
fn files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    let secret = secret.as_bytes();
    bytes.windows(secret.len()).any(|window| window == secret)
}

/// No secret in a log at any level, in the channel log, in an event, in a stored row; and no words and no address of
/// anybody in a log.
pub async fn secrets_and_texts_stay_where_they_belong<S: Stand>() {
    let log = watch::log();
    let world = World::<S>::new().await;
    let (mut people, sent) = tour(&world).await;
    let mut secrets = world.stand.secrets();
    assert!(!secrets.is_empty(), "{}: it has no secret", S::KIND);
    secrets.push(MEDIA_KEY.to_owned());
    let organization = OrganizationId::from("acme");
    let mut calls = 0;
    for id in sent {
        let logged = calls_of(&world.store, &organization, id).await;
        for call in logged.expect("the channel log") {
            calls += 1;
            let bodies = [call.request, call.reply, call.error];
            let text = bodies.map(Option::unwrap_or_default).concat() + &call.what;
            let secret = secrets.iter().find(|secret| text.contains(*secret));
            assert_eq!(secret, None, "{}: in the channel log", S::KIND);
        }
    }
    let idempotent = world.account().connector.capabilities().idempotent;
    assert!(
        calls > 0 || idempotent,
        "{}: the channel log is empty",
        S::KIND
    );
    for (envelope, event) in world.events() {
        let text = serde_json::to_string(&envelope).expect("JSON");
        let secret = secrets.iter().find(|secret| text.contains(*secret));
        assert_eq!(secret, None, "{}: in {}", S::KIND, envelope.kind);
        if !matches!(event, Inbound::Health(_)) {
            people.push(event.origin().address.clone());
        }
    }
    let mut stored = Vec::new();
    files(world.dir(), &mut stored);
    assert!(stored.len() > 1, "{}: nothing is stored", S::KIND);
    for (name, bytes) in stored {
        let secret = secrets.iter().find(|secret| holds(&bytes, secret));
        assert_eq!(secret, None, "{}: in {name}", S::KIND);
    }
    world.ends_well().await;

    assert!(log.tells("channel_id"), "{}: nothing is logged", S::KIND);
    let addresses = people.iter().map(|address| address.as_str().to_owned());
    let hidden = secrets
        .into_iter()
        .chain([QUESTION.to_owned(), ANSWER.to_owned()])
        // Those without a digit stand for nobody in particular.
        .chain(addresses.filter(|address| address.contains(|c: char| c.is_ascii_digit())));
    log.hides(hidden);
}

/// Every connection of the process goes to the loopback interface, whatever addresses integrators give.
pub async fn nothing_leaves_the_host<S: Stand>() {
    let connections = Connections::watch();
    let world = World::<S>::new().await;
    let (people, _) = tour(&world).await;
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://10.255.255.1/a.jpg",
        "http://[fd00::1]/a.jpg",
        "http://127.0.0.1:1/a.jpg",
        "file:///etc/passwd",
    ] {
        for kind in ["image", "file", "voice"] {
            let media = json!({"url": url, "mime": "image/jpeg"});
            let content = serde_json::from_value(json!({"type": kind, "media": media}));
            let id = world.send(&people[0], content.expect("a content")).await;
            let outcome = world.outcome(id).await;
            let text = format!("{outcome:?}");
            assert!(!text.contains("root:"), "{}: {url}", S::KIND);
        }
    }
    world.ends_well().await;
    let outside = connections.outside();
    assert!(outside.is_empty(), "{}: {outside:?}", S::KIND);
    assert!(
        connections.seen() > 0,
        "{}: no connection was seen at all",
        S::KIND
    );
}
