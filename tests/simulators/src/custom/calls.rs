//! What the system sends: signed requests, and forged ones.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::body::Bytes;
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rand::random;
use serde_json::Value;
use sha2::Sha256;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};

use super::{Shared, fresh_secret};

/// What is wrong with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forged {
    /// Nothing.
    No,
    /// There is none.
    Unsigned,
    /// It is made with another secret.
    WrongSecret,
    /// It is of another body.
    OtherBody,
    /// It is right, and this many seconds old (negative: from the future).
    Old(i64),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `null` when it is no JSON.
    pub body: Value,
}

/// The `webhook-signature` of any bytes; the scheme's crate signs text only.
///
/// # Errors
/// The secret cannot be read.
pub fn sign(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> io::Result<String> {
    let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = BASE64_STANDARD.decode(encoded).map_err(io::Error::other)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(io::Error::other)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    Ok(format!("v1,{signature}"))
}

pub(super) async fn post(
    http: &reqwest::Client,
    shared: &Shared,
    url: &str,
    body: Bytes,
    forged: Forged,
) -> io::Result<Reply> {
    let id = format!("req-{:x}", random::<u64>());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(io::Error::other)?;
    let now = i64::try_from(now.as_secs()).map_err(io::Error::other)?;
    let timestamp = match forged {
        Forged::Old(seconds) => now - seconds,
        _ => now,
    };
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .body(body.clone());
    let request = if forged == Forged::Unsigned {
        request
    } else {
        let signed: &[u8] = match forged {
            Forged::OtherBody => b"{}",
            _ => &body,
        };
        let secret = match forged {
            Forged::WrongSecret => fresh_secret(),
            _ => shared.secret().text.clone(),
        };
        let signature = sign(&secret, &id, timestamp, signed)?;
        request
            .header(HEADER_WEBHOOK_ID, &id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
    };
    let response = request.send().await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let text = response.bytes().await.map_err(io::Error::other)?;
    Ok(Reply {
        status,
        body: serde_json::from_slice(&text).unwrap_or(Value::Null),
    })
}
