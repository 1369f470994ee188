//! Who calls: the API key of a request, and how often it may be used.

use std::{num::NonZeroU32, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DashMapStateStore,
};
use tributary_bus::OrganizationId;

use super::{
    ApiState,
    problem::{Code, Problem},
};
use crate::store::{ApiKeyId, KeyHolder};

/// How long the first statement of a request waits for the store. Whoever calls while it is away learns it quickly.
const STORE_PATIENCE: Duration = Duration::from_secs(3);

/// How often one key may be used.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Requests per second in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

impl Default for Rate {
    fn default() -> Self {
        const PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");
        const BURST: NonZeroU32 = NonZeroU32::new(200).expect("200 is not zero");
        Self {
            per_second: PER_SECOND,
            burst: BURST,
        }
    }
}

/// Counts the requests of each key. Only keys that exist are counted, and idle ones are forgotten, so it stays small.
pub struct KeyLimiter {
    limiter: RateLimiter<ApiKeyId, DashMapStateStore<ApiKeyId>, DefaultClock>,
}

impl KeyLimiter {
    /// A limiter in which every key has the same rate.
    pub fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::dashmap(quota),
        }
    }

    /// Counts a request; the error says how long to wait.
    fn count(&self, key: ApiKeyId) -> Result<(), Duration> {
        self.limiter
            .check_key(&key)
            .map_err(|busy| busy.wait_time_from(DefaultClock::default().now()))
    }

    /// Forgets the keys that have their whole burst again.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
    }
}

/// The organization whose key the request carries. Taking it is what protects a route.
pub struct Caller(pub OrganizationId);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let presented = bearer(parts)
            .ok_or_else(|| unauthorized("send an API key as `Authorization: Bearer trib_...`"))?;
        let holder = tokio::time::timeout(STORE_PATIENCE, state.store().key_holder(presented))
            .await
            .map_err(|_| Problem::unavailable("the store"))??;
        let KeyHolder { key, organization } =
            holder.ok_or_else(|| unauthorized("this API key is unknown or was revoked"))?;
        state
            .limiter()
            .count(key)
            .map_err(|wait| Problem::of(Code::RateLimited).retry_after(wait))?;
        tracing::Span::current().record("organization", organization.as_str());
        Ok(Self(organization))
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
}

/// The token of `Authorization: Bearer`, whose scheme is case-insensitive (RFC 9110 section 11.1).
fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts
        .headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
