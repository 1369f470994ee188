//! Requests of the integrator: `POST .../messages` and `POST .../statuses`.
//!
//! A request is taken whole or refused whole. What is wrong with it is told only to who has signed it.

use bytes::Bytes;
use chrono::Utc;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::{
    inbound::{Reader, Refusal, to_receipts},
    verify::Keys,
    wire::Reply,
};
use crate::{ReceiveError, Received};

/// Verifies and translates one request.
pub(super) fn receive(
    reader: &Reader,
    keys: &Keys,
    request: &Request<Bytes>,
) -> Result<Received, ReceiveError> {
    if request.method() != Method::POST {
        return Err(ReceiveError::NotFound);
    }
    let path = request.uri().path().trim_end_matches('/');
    let path = path.rsplit('/').next().unwrap_or_default();
    if !matches!(path, "messages" | "statuses") {
        return Err(ReceiveError::NotFound);
    }
    let now = Utc::now();
    keys.verify(request.headers(), request.body(), now.timestamp())?;
    let read = if path == "messages" {
        let events = reader.to_events(request.body());
        events.map(|events| (events, Vec::new()))
    } else {
        let receipts = to_receipts(request.body(), now);
        receipts.map(|receipts| (Vec::new(), receipts))
    };
    Ok(match read {
        Ok((events, receipts)) => Received {
            reply: reply(
                StatusCode::OK,
                &Reply::Accepted {
                    accepted: events.len() + receipts.len(),
                },
            ),
            events,
            receipts,
        },
        Err(refusal) => Received {
            events: Vec::new(),
            receipts: Vec::new(),
            reply: reply(StatusCode::BAD_REQUEST, &refused(refusal)),
        },
    })
}

fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Body(reason) => Reply::Refused {
            error: format!("the body cannot be read: {reason}"),
            problems: Vec::new(),
        },
        Refusal::Problems(problems) => Reply::Refused {
            error: "nothing was taken: correct what is named in problems and send all of it again"
                .to_owned(),
            problems,
        },
    }
}

fn reply(status: StatusCode, body: &Reply) -> Response<Bytes> {
    // Plain values only, so that it is always JSON.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
