//! Who calls: the API key of a request, and how often it may be used.

use std::{
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, header, request::Parts},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
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

impl Rate {
    /// As it is set.
    pub fn of(settings: &tributary_config::Api) -> Self {
        Self {
            per_second: settings.rate_limit,
            burst: settings.rate_burst,
        }
    }

    /// Seconds, rounded up, in which so many requests become possible.
    fn seconds_for(self, requests: u32) -> u32 {
        requests.div_ceil(self.per_second.get())
    }
}

/// What is left to the key of a request, for the headers of its answer: written by [`Caller`], read by what goes around routes.
#[derive(Clone, Default)]
pub struct Allowance(Arc<OnceLock<Left>>);

#[derive(Clone, Copy)]
struct Left {
    rate: Rate,
    requests: u32,
    /// Seconds until there are more.
    wait: u32,
}

impl Allowance {
    /// The header fields of draft-ietf-httpapi-ratelimit-headers; none for a request that no key was counted for.
    pub fn headers(&self) -> Option<[(HeaderName, HeaderValue); 2]> {
        let Left {
            rate,
            requests,
            wait,
        } = self.0.get()?;
        let burst = rate.burst.get();
        let policy = format!("\"key\";q={burst};w={}", rate.seconds_for(burst).max(1));
        let limit = format!("\"key\";r={requests};t={wait}");
        Some([
            (
                HeaderName::from_static("ratelimit-policy"),
                HeaderValue::from_str(&policy).ok()?,
            ),
            (
                HeaderName::from_static("ratelimit"),
                HeaderValue::from_str(&limit).ok()?,
            ),
        ])
    }

    fn note(&self, left: Left) {
        // A request is counted once, so it is empty.
        self.0.get_or_init(|| left);
    }
}

type Counted =
    RateLimiter<ApiKeyId, DashMapStateStore<ApiKeyId>, DefaultClock, StateInformationMiddleware>;

/// Counts the requests of each key. Only keys that exist are counted, and idle ones are forgotten, so it stays small.
pub struct KeyLimiter {
    limiter: Counted,
    rate: Rate,
}

impl KeyLimiter {
    /// A limiter in which every key has the same rate.
    pub fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::dashmap(quota).with_middleware(),
            rate,
        }
    }

    /// Counts a request; the error says how long to wait.
    fn count(&self, key: ApiKeyId, allowance: &Allowance) -> Result<(), Duration> {
        let rate = self.rate;
        match self.limiter.check_key(&key) {
            Ok(state) => {
                let requests = state.remaining_burst_capacity();
                let used = rate.burst.get().saturating_sub(requests);
                let wait = rate.seconds_for(used);
                allowance.note(Left {
                    rate,
                    requests,
                    wait,
                });
                Ok(())
            }
            Err(busy) => {
                let wait = busy.wait_time_from(DefaultClock::default().now());
                allowance.note(Left {
                    rate,
                    requests: 0,
                    wait: wait.as_secs_f64().ceil().max(1.0) as u32,
                });
                Err(wait)
            }
        }
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
        let allowance = parts.extensions.get::<Allowance>().cloned();
        state
            .limiter()
            .count(key, &allowance.unwrap_or_default())
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
