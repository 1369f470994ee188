//! Signatures of the Standard Webhooks scheme, both ways.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use tributary_config::Secret;

use crate::ReceiveError;

pub(super) const ID: &str = "webhook-id";
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
pub(super) const SIGNATURE: &str = "webhook-signature";

/// What a secret begins with; what follows is base64.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, by the scheme.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// Seconds by which a timestamp may be off, either way.
const TOLERANCE: i64 = 5 * 60;
/// Signatures of one request that are looked at.
const SIGNATURES: usize = 8;

/// The account's keys; the first one is the present one.
#[derive(Clone)]
pub(super) struct Keys(Vec<Hmac<Sha256>>);

/// A secret that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadSecret {
    /// Of the config.
    pub key: &'static str,
    pub reason: &'static str,
}

impl Keys {
    /// The keys; an empty `previous` is none.
    pub(super) fn new(secret: &Secret, previous: &Secret) -> Result<Self, BadSecret> {
        let mut keys = vec![read("secret", secret)?];
        if !previous.is_empty() {
            keys.push(read("previous_secret", previous)?);
        }
        Ok(Self(keys))
    }

    /// Checks who sent a request, in constant time over its raw body. `now`: seconds since 1970.
    ///
    /// # Errors
    /// A header is missing or cannot be read, the timestamp is too old or too new, or no signature fits a key.
    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: i64,
    ) -> Result<(), ReceiveError> {
        let header = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .filter(|text| !text.is_empty())
                .ok_or(ReceiveError::Unauthorized)
        };
        let (id, timestamp) = (header(ID)?, header(TIMESTAMP)?);
        let sent: i64 = timestamp.parse().map_err(|_| ReceiveError::Unauthorized)?;
        if now.abs_diff(sent) > TOLERANCE.unsigned_abs() {
            return Err(ReceiveError::Unauthorized);
        }
        let given: Vec<Vec<u8>> = header(SIGNATURE)?
            .split(' ')
            .take(SIGNATURES)
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|encoded| BASE64_STANDARD.decode(encoded).ok())
            .collect();
        let fits = self.0.iter().any(|key| {
            let mac = over(key, id, timestamp, body);
            given
                .iter()
                .any(|signature| mac.clone().verify_slice(signature).is_ok())
        });
        if fits {
            Ok(())
        } else {
            Err(ReceiveError::Unauthorized)
        }
    }

    /// The `webhook-signature` header: one signature per key. `timestamp`: seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let timestamp = timestamp.to_string();
        let signatures: Vec<String> = self
            .0
            .iter()
            .map(|key| {
                let mac = over(key, id, &timestamp, body).finalize().into_bytes();
                format!("v1,{}", BASE64_STANDARD.encode(mac))
            })
            .collect();
        signatures.join(" ")
    }
}

/// What is signed: `<id>.<timestamp>.<body>`.
fn over(key: &Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    for piece in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(piece);
    }
    mac
}

fn read(key: &'static str, secret: &Secret) -> Result<Hmac<Sha256>, BadSecret> {
    let bad = |reason| BadSecret { key, reason };
    if secret.is_empty() {
        return Err(bad(
            "missing; make one with: echo \"whsec_$(head -c 32 /dev/urandom | base64)\"",
        ));
    }
    let encoded = secret
        .expose()
        .strip_prefix(PREFIX)
        .ok_or(bad("must start with whsec_"))?;
    let bytes = BASE64_STANDARD
        .decode(encoded)
        .map_err(|_| bad("what follows whsec_ must be base64"))?;
    if !LENGTHS.contains(&bytes.len()) {
        return Err(bad("must be 24 to 64 bytes in base64"));
    }
    Hmac::new_from_slice(&bytes).map_err(|_| bad("cannot be used as a key"))
}

/// Never the keys.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use http::HeaderValue;
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    use super::*;

    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const TWO: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const NOW: i64 = 1_800_000_000;
    const BODY: &[u8] = br#"{"events":[]}"#;

    fn keys(secret: &str, previous: &str) -> Keys {
        Keys::new(&Secret::new(secret), &Secret::new(previous)).expect("keys")
    }

    fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signature)] {
            headers.insert(name, HeaderValue::from_str(value).expect("a header"));
        }
        headers
    }

    fn accepted(keys: &Keys, headers: &HeaderMap, body: &[u8]) -> bool {
        keys.verify(headers, body, NOW).is_ok()
    }

    /// The example of the scheme's reference implementations.
    #[test]
    fn the_published_example_is_signed_alike() {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = keys(ONE, "").sign(id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn another_implementation_signs_and_accepts_alike() {
        let now = Utc::now().timestamp();
        let theirs = Webhook::new(ONE).expect("a secret");
        let signature = theirs.sign("evt-1", now, BODY).expect("signed");
        let signed = headers("evt-1", &now.to_string(), &signature);
        assert!(keys(ONE, "").verify(&signed, BODY, now).is_ok());
        let signature = keys(TWO, ONE).sign("evt-1", now, BODY);
        let signed = headers("evt-1", &now.to_string(), &signature);
        assert!(theirs.verify(BODY, &signed).is_ok());
    }

    #[test]
    fn only_what_is_signed_is_accepted() {
        let keys = keys(ONE, "");
        let now = NOW.to_string();
        let right = keys.sign("evt-1", NOW, BODY);
        assert!(accepted(&keys, &headers("evt-1", &now, &right), BODY));
        let many = format!("v1a,abc v1,AAAA {right}");
        assert!(accepted(&keys, &headers("evt-1", &now, &many), BODY));
        for (what, headers, body) in [
            ("another body", headers("evt-1", &now, &right), &b"{}"[..]),
            ("another id", headers("evt-2", &now, &right), BODY),
            ("another time", headers("evt-1", "1800000001", &right), BODY),
            ("no version", headers("evt-1", &now, &right[3..]), BODY),
            ("cut off", headers("evt-1", &now, &right[..30]), BODY),
            ("empty", headers("evt-1", &now, "v1,"), BODY),
            ("no time", headers("evt-1", "soon", &right), BODY),
        ] {
            assert!(!accepted(&keys, &headers, body), "{what}");
        }
        for missing in [ID, TIMESTAMP, SIGNATURE] {
            let mut headers = headers("evt-1", &now, &right);
            headers.remove(missing);
            assert!(!accepted(&keys, &headers, BODY), "{missing}");
        }
    }

    #[test]
    fn a_request_is_accepted_for_five_minutes() {
        let keys = keys(ONE, "");
        for (off, fits) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let sent = NOW + off;
            let signature = keys.sign("evt-1", sent, BODY);
            let headers = headers("evt-1", &sent.to_string(), &signature);
            assert_eq!(accepted(&keys, &headers, BODY), fits, "{off}");
        }
        let far = i64::MIN.to_string();
        let headers = headers("evt-1", &far, &keys.sign("evt-1", i64::MIN, BODY));
        assert!(!accepted(&keys, &headers, BODY));
    }

    #[test]
    fn both_secrets_count_while_they_change() {
        let now = NOW.to_string();
        let (old, new, both) = (keys(ONE, ""), keys(TWO, ""), keys(TWO, ONE));
        for signer in [&old, &new] {
            let headers = headers("evt-1", &now, &signer.sign("evt-1", NOW, BODY));
            assert!(accepted(&both, &headers, BODY));
        }
        let headers = headers("evt-1", &now, &both.sign("evt-1", NOW, BODY));
        assert!(accepted(&old, &headers, BODY) && accepted(&new, &headers, BODY));
        let stale = self::headers("evt-1", &now, &old.sign("evt-1", NOW, BODY));
        assert!(!accepted(&new, &stale, BODY));
    }

    #[test]
    fn secrets_that_are_none_are_refused() {
        for (secret, reason) in [
            ("", "missing"),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
            ("whsec_!!!!", "base64"),
            ("whsec_AAAA", "24 to 64"),
        ] {
            let bad = Keys::new(&Secret::new(secret), &Secret::default()).expect_err("bad");
            assert!(
                bad.key == "secret" && bad.reason.contains(reason),
                "{bad:?}"
            );
        }
        let bad = Keys::new(&Secret::new(ONE), &Secret::new("x")).expect_err("bad");
        assert_eq!(bad.key, "previous_secret");
    }

    proptest! {
        #[test]
        fn no_header_panics(id in "[ -~]{0,20}", time in "[ -~]{0,20}", signature in "(v1,)?[ -~]{0,60}") {
            let headers = headers(&id, &time, &signature);
            prop_assert!(!accepted(&keys(ONE, TWO), &headers, BODY));
        }
    }
}
