//! Visitor tokens: they say who an anonymous visitor is, and only this account's key can make one.
//!
//! `v1.<visitor and time of issue>.<HMAC-SHA256>`, both parts base64url. The signature covers the version, the channel,
//! the visitor and the time, so a token of one widget is worth nothing at another.

use std::{fmt, str::FromStr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tributary_bus::{Address, ChannelId};
use uuid::Uuid;

use super::body::File;

const VERSION: &str = "v1";
const PURPOSE: &[u8] = b"tributary widget visitor token";
const CLAIM_VERSION: &str = "u1";
const CLAIM_PURPOSE: &[u8] = b"tributary widget upload claim";
/// How long an upload can be sent, in seconds: the script gives a message up after a day.
const CLAIM_LIFETIME: i64 = 2 * 86_400;

/// A person in front of a widget, known by nothing else. `Debug` hides it, like every address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(super) struct Visitor(pub(super) Uuid);

impl Visitor {
    pub(super) fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    pub(super) fn address(self) -> Address {
        Address(self.0.to_string())
    }
}

impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[visitor]")
    }
}

impl FromStr for Visitor {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The token was not made by this account's key, or is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadToken;

/// What a visitor has uploaded.
#[derive(Serialize, Deserialize)]
struct Claim {
    visitor: Uuid,
    /// Seconds of Unix time.
    at: i64,
    file: File,
}

/// Makes and checks the tokens of one account.
pub(super) struct Signer {
    key: Vec<u8>,
    channel: ChannelId,
    lifetime: Duration,
}

impl Signer {
    pub(super) fn new(key: Vec<u8>, channel: ChannelId, lifetime: Duration) -> Self {
        Self {
            key,
            channel,
            lifetime,
        }
    }

    pub(super) fn issue(&self, visitor: Visitor, now: DateTime<Utc>) -> String {
        let mut claim = [0; 24];
        claim[..16].copy_from_slice(visitor.0.as_bytes());
        claim[16..].copy_from_slice(&now.timestamp().to_be_bytes());
        let signature = self.signature(&claim).finalize().into_bytes();
        format!(
            "{VERSION}.{}.{}",
            URL_SAFE_NO_PAD.encode(claim),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    /// Who the token names; the signature is compared in constant time.
    pub(super) fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Visitor, BadToken> {
        let mut parts = token.split('.');
        let (Some(VERSION), Some(claim), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken);
        };
        let claim = decode::<24>(claim)?;
        let signature = decode::<32>(signature)?;
        self.signature(&claim)
            .verify_slice(&signature)
            .map_err(|_| BadToken)?;
        let (visitor, issued) = claim.split_at(16);
        let visitor = Uuid::from_slice(visitor).map_err(|_| BadToken)?;
        let issued = i64::from_be_bytes(issued.try_into().map_err(|_| BadToken)?);
        let age = u64::try_from(now.timestamp().saturating_sub(issued)).unwrap_or(0);
        if age > self.lifetime.as_secs() {
            return Err(BadToken);
        }
        Ok(Visitor(visitor))
    }

    /// The name of an upload: `u1.<JSON>.<HMAC-SHA256>`, both in base64url. Only its visitor can use it.
    pub(super) fn claim(&self, visitor: Visitor, file: &File, now: DateTime<Utc>) -> String {
        let claim = Claim {
            visitor: visitor.0,
            at: now.timestamp(),
            file: file.clone(),
        };
        let json = serde_json::to_vec(&claim).expect("a claim has string keys only");
        let signature = self.claim_signature(&json).finalize().into_bytes();
        format!(
            "{CLAIM_VERSION}.{}.{}",
            URL_SAFE_NO_PAD.encode(json),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    /// What was uploaded; `None` when the claim is not this visitor's, made up, or too old.
    pub(super) fn claimed(
        &self,
        claim: &str,
        visitor: Visitor,
        now: DateTime<Utc>,
    ) -> Option<File> {
        let mut parts = claim.split('.');
        let (Some(CLAIM_VERSION), Some(json), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let json = URL_SAFE_NO_PAD.decode(json).ok()?;
        let signature = decode::<32>(signature).ok()?;
        self.claim_signature(&json).verify_slice(&signature).ok()?;
        let claim: Claim = serde_json::from_slice(&json).ok()?;
        let fresh = now.timestamp().saturating_sub(claim.at) <= CLAIM_LIFETIME;
        (claim.visitor == visitor.0 && fresh).then_some(claim.file)
    }

    fn claim_signature(&self, json: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .expect("HMAC takes a key of any length (RFC 2104)");
        let channel = self.channel.as_str().as_bytes();
        // The length keeps channel and JSON apart; the purpose keeps claims and tokens apart.
        mac.update(CLAIM_PURPOSE);
        mac.update(&(channel.len() as u64).to_be_bytes());
        mac.update(channel);
        mac.update(json);
        mac
    }

    fn signature(&self, claim: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .expect("HMAC takes a key of any length (RFC 2104)");
        // Each of fixed length but the channel, which comes last: no two inputs are the same bytes.
        mac.update(PURPOSE);
        mac.update(VERSION.as_bytes());
        mac.update(claim);
        mac.update(self.channel.as_str().as_bytes());
        mac
    }
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], BadToken> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken)?;
    bytes.try_into().map_err(|_| BadToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn signer(key: &str, channel: &str) -> Signer {
        Signer::new(key.as_bytes().to_vec(), ChannelId::from(channel), DAY)
    }

    #[test]
    fn a_token_names_its_visitor_until_it_is_too_old() {
        let signer = signer("key", "shop");
        let visitor = Visitor::generate();
        let now = Utc::now();
        let token = signer.issue(visitor, now);
        assert_eq!(signer.verify(&token, now), Ok(visitor));
        assert_eq!(signer.verify(&token, now + DAY), Ok(visitor));
        let later = now + DAY + Duration::from_secs(2);
        assert_eq!(signer.verify(&token, later), Err(BadToken));
    }

    #[test]
    fn another_key_or_channel_makes_no_valid_token() {
        let now = Utc::now();
        let token = signer("key", "shop").issue(Visitor::generate(), now);
        assert_eq!(signer("other", "shop").verify(&token, now), Err(BadToken));
        assert_eq!(signer("key", "blog").verify(&token, now), Err(BadToken));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let signer = signer("key", "shop");
        let now = Utc::now();
        let token = signer.issue(Visitor::generate(), now);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII stays ASCII");
            assert_eq!(signer.verify(&forged, now), Err(BadToken), "position {at}");
        }
    }

    #[test]
    fn a_claim_is_worth_nothing_to_others_and_later() {
        let (signer, visitor, now) = (signer("key", "shop"), Visitor::generate(), Utc::now());
        let file = File {
            size: Some(7),
            ..File::default()
        };
        let claim = signer.claim(visitor, &file, now);
        let size = |found: Option<File>| found.and_then(|file| file.size);
        assert_eq!(size(signer.claimed(&claim, visitor, now)), Some(7));
        assert!(signer.claimed(&claim, Visitor::generate(), now).is_none());
        let later = now + DAY + DAY + DAY;
        assert!(signer.claimed(&claim, visitor, later).is_none());
        for (key, channel) in [("other", "shop"), ("key", "blog")] {
            let elsewhere = super::Signer::new(key.into(), ChannelId::from(channel), DAY);
            assert!(elsewhere.claimed(&claim, visitor, now).is_none());
        }
        for at in 0..claim.len() {
            let mut forged = claim.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII stays ASCII");
            assert!(
                signer.claimed(&forged, visitor, now).is_none(),
                "position {at}"
            );
        }
        assert_eq!(
            signer.verify(&claim.replace("u1.", "v1."), now),
            Err(BadToken)
        );
    }

    #[test]
    fn nonsense_is_no_token() {
        let signer = signer("key", "shop");
        let good = signer.issue(Visitor::generate(), Utc::now());
        for token in [
            "",
            ".",
            "v1",
            "v1..",
            "v1.AAAA.AAAA",
            "v2.x.y",
            "українська",
            &format!("{good}."),
            &good.replace("v1.", "v2."),
            &format!("{good}="),
        ] {
            assert_eq!(signer.verify(token, Utc::now()), Err(BadToken), "{token}");
        }
    }
}
