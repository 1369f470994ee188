//! The system against itself: what it sends is what it accepts.

use serde_json::json;

use super::{CustomSystem, DeliveryAction, DeliveryMatch, Forged};
use crate::script::Times;

fn delivery(key: &str) -> String {
    json!({"kind": "typing", "to": "7", "channel_id": "crm", "idempotency_key": key}).to_string()
}

#[tokio::test]
async fn only_signed_deliveries_are_taken() {
    let system = CustomSystem::start().await.expect("a port");
    let url = system.url();
    for forged in [
        Forged::Unsigned,
        Forged::WrongSecret,
        Forged::OtherBody,
        Forged::Old(400),
        Forged::Old(-400),
    ] {
        let reply = system.post(&url, delivery("x"), forged).await;
        assert_eq!(reply.expect("an answer").status, 401, "{forged:?}");
    }
    // Signed, and with another id than its header.
    let reply = system.post(&url, delivery("x"), Forged::No).await;
    assert_eq!(reply.expect("an answer").status, 400);
    assert_eq!(system.look(|records| records.refused.len()), 6);
    assert!(system.delivered().is_empty());
}

#[tokio::test]
async fn a_rule_answers_instead() {
    let system = CustomSystem::start().await.expect("a port");
    system.misbehave(
        DeliveryMatch::any(),
        Times::Count(1),
        DeliveryAction::status(418),
    );
    let client = crate::client::build().expect("a client");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let body = delivery("k");
        let secret = standardwebhooks::Webhook::new(&system.secret()).expect("a secret");
        let signature = secret.sign("k", now as i64, body.as_bytes());
        let response = client
            .post(system.url())
            .header("webhook-id", "k")
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature.expect("signed"))
            .body(body)
            .send()
            .await;
        statuses.push(response.expect("an answer").status().as_u16());
    }
    assert_eq!(statuses, [418, 200, 409]);
    assert_eq!(system.delivered().len(), 1);
    assert_eq!(
        system.look(|records| (records.attempts, records.repeated)),
        (3, 1)
    );
}
