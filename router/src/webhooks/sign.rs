//! Signatures of the Standard Webhooks scheme.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tributary_config::Secret;

/// What a secret begins with; what follows is base64.
const PREFIX: &str = "whsec_";

/// A secret that is not `whsec_` and base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("secret cannot be read")]
pub struct BadSecret;

/// Signs with the secrets of an endpoint, which are read once and not for each event.
pub struct Signer(Vec<Hmac<Sha256>>);

impl Signer {
    /// # Errors
    /// A secret cannot be read.
    pub fn new(secrets: &[Secret]) -> Result<Self, BadSecret> {
        let keys: Result<Vec<_>, BadSecret> = secrets
            .iter()
            .map(|secret| {
                let secret = secret.expose();
                let encoded = secret.strip_prefix(PREFIX).unwrap_or(secret);
                let key = BASE64_STANDARD.decode(encoded).map_err(|_| BadSecret)?;
                Hmac::new_from_slice(&key).map_err(|_| BadSecret)
            })
            .collect();
        Ok(Self(keys?))
    }

    /// The `webhook-signature` header: one signature per secret, separated by spaces. `timestamp`: seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let before = format!("{id}.{timestamp}.");
        let signed: Vec<String> = self
            .0
            .iter()
            .map(|key| {
                let mut mac = key.clone();
                mac.update(before.as_bytes());
                mac.update(body);
                format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
            })
            .collect();
        signed.join(" ")
    }
}

/// Never the keys.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer {{ secrets: {} }}", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;

    fn signed(secrets: &[&str], id: &str, timestamp: i64, body: &[u8]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        let signer = Signer::new(&secrets).expect("the secrets can be read");
        signer.sign(id, timestamp, body)
    }

    /// The example of the Standard Webhooks specification's reference implementations.
    #[test]
    fn the_published_example_is_signed_alike() {
        assert_eq!(
            signed(
                &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#,
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn others_sign_alike() {
        let long = format!("whsec_{}", BASE64_STANDARD.encode([7; 100]));
        for secret in ["whsec_AAAA", "AAAA", long.as_str()] {
            for body in ["", "{}", &"x".repeat(3000)] {
                let theirs = Webhook::new(secret).expect("a secret");
                let theirs = theirs.sign("id", 1, body.as_bytes()).expect("signs");
                assert_eq!(signed(&[secret], "id", 1, body.as_bytes()), theirs);
            }
        }
    }

    #[test]
    fn every_secret_signs() {
        let secrets = ["whsec_AAAA", "whsec_BBBB"];
        let both = signed(&secrets, "id", 1, b"{}");
        let [first, second] = secrets.map(|secret| signed(&[secret], "id", 1, b"{}"));
        assert_eq!(both, format!("{first} {second}"));
        assert_ne!(first, second);
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused() {
        let secrets = [Secret::new("whsec_AAAA"), Secret::new("whsec_!")];
        assert_eq!(Signer::new(&secrets).err(), Some(BadSecret));
    }
}
