//! What handlers take from a request. Everything that does not fit is answered with a [`Problem`].

use std::{fmt::Display, str::FromStr};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header, request::Parts},
    response::IntoResponse,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};

use super::problem::{Code, Problem};

/// Longest accepted `Idempotency-Key`, in characters.
const IDEMPOTENCY_KEY_LIMIT: usize = 255;
/// Most items of one page.
pub const PAGE_LIMIT: u16 = 200;

/// A JSON body. Unknown fields are refused by the types themselves.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers().get(header::CONTENT_TYPE)) {
            return Err(Problem::of(Code::UnsupportedMediaType));
        }
        let bytes =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.into_response().status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Problem::of(Code::BodyTooLarge),
                    _ => Problem::of(Code::RequestTimeout),
                })?;
        parse(&bytes).map(Self)
    }
}

fn is_json(content_type: Option<&axum::http::HeaderValue>) -> bool {
    content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Serde would also take a list of the fields' values.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|reason| not_json(&reason))?;
        return Err(Problem::field("", "the body must be a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        if reason.is_data() {
            Problem::field(if path == "." { "" } else { &path }, reason.to_string())
        } else {
            not_json(&reason)
        }
    })?;
    reader.end().map_err(|reason| not_json(&reason))?;
    Ok(value)
}

fn not_json(reason: &serde_json::Error) -> Problem {
    Problem::new(Code::InvalidJson, format!("the body is not JSON: {reason}"))
}

/// The only parameter of a path.
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err: Display>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::parameter("id", "not readable as UTF-8"))?;
        let id = text
            .parse()
            .map_err(|reason| Problem::parameter("id", format!("{reason}")))?;
        Ok(Self(id))
    }
}

/// An id that a person chose: any text names one, or none.
pub struct Name(pub String);

impl FromStr for Name {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// The query parameters. Unknown ones are refused by the types themselves.
pub struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(value) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let text = rejection.body_text();
            let reason = text
                .strip_prefix("Failed to deserialize query string: ")
                .unwrap_or(&text);
            Problem::parameter("query", reason)
        })?;
        Ok(Self(value))
    }
}

/// How many items a page may have: 1 to [`PAGE_LIMIT`], 50 unless said otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Limit(u16);

impl Limit {
    /// One more than the page holds, to see whether another page follows.
    pub fn and_one(self) -> i64 {
        i64::from(self.0) + 1
    }

    /// Items of a page.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let limit = u16::deserialize(input).unwrap_or_default();
        if (1..=PAGE_LIMIT).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(serde::de::Error::custom(format!(
                "limit must be a number from 1 to {PAGE_LIMIT}"
            )))
        }
    }
}

/// The `Idempotency-Key` header, if there is one.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let wrong = || {
            Problem::parameter(
                "Idempotency-Key",
                format!(
                    "must be given once, 1 to {IDEMPOTENCY_KEY_LIMIT} visible ASCII characters"
                ),
            )
        };
        let key = value.to_str().map_err(|_| wrong())?;
        if values.next().is_some() || key.is_empty() || key.len() > IDEMPOTENCY_KEY_LIMIT {
            return Err(wrong());
        }
        Ok(Self(Some(key.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        number: u8,
    }

    fn problem(body: &str) -> serde_json::Value {
        let problem = parse::<Outer>(body.as_bytes()).expect_err("must be refused");
        serde_json::to_value(problem).expect("a problem is JSON")
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let missing = problem(r#"{"inner":{}}"#);
        assert_eq!(missing["code"], "invalid_body");
        assert_eq!(missing["errors"][0]["at"], "inner");
        assert_eq!(
            problem(r#"{"inner":{"number":300}}"#)["errors"][0]["at"],
            "inner.number"
        );
        let unknown = problem(r#"{"inner":{"number":3,"colour":1}}"#);
        assert!(
            unknown["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("colour"))
        );
    }

    #[test]
    fn what_is_not_json_has_another_code() {
        assert_eq!(problem("{")["code"], "invalid_json");
        assert_eq!(
            problem(r#"{"inner":{"number":3}} x"#)["code"],
            "invalid_json"
        );
    }
}
