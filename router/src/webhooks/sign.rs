//! Signatures of the Standard Webhooks scheme.

use standardwebhooks::{Webhook, WebhookError};
use tributary_config::Secret;

/// The `webhook-signature` header: one signature per secret, separated by spaces. `timestamp`: seconds since 1970.
///
/// # Errors
/// A secret is not base64, or the body is not UTF-8.
pub fn signatures(
    secrets: &[Secret],
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<String, WebhookError> {
    let signed: Result<Vec<String>, WebhookError> = secrets
        .iter()
        .map(|secret| Webhook::new(secret.expose())?.sign(id, timestamp, body))
        .collect();
    Ok(signed?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference implementations.
    #[test]
    fn the_published_example_is_signed_alike() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = signatures(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signed.expect("signs"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn every_secret_signs() {
        let secrets = [Secret::new("whsec_AAAA"), Secret::new("whsec_BBBB")];
        let both = signatures(&secrets, "id", 1, b"{}").expect("signs");
        let [first, second] =
            [0, 1].map(|n| signatures(&secrets[n..=n], "id", 1, b"{}").expect("signs"));
        assert_eq!(both, format!("{first} {second}"));
        assert_ne!(first, second);
    }
}
