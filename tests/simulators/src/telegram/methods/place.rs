//! Sending places and people.

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, ApiError};
use super::Request;
use super::send::{self, Outgoing};

/// Seconds a live location may be shared; the last means until it is stopped.
const LIVE_PERIOD: std::ops::RangeInclusive<i64> = 60..=86_400;
const FOREVER: i64 = 0x7FFF_FFFF;
/// Of a contact card, in bytes.
const MAX_VCARD: usize = 2048;

/// `sendLocation`.
pub(super) fn location(request: &Request<'_>) -> Result<Answer, ApiError> {
    let mut location = coordinates(request)?;
    let params = request.params;
    if let Some(accuracy) = params.json("horizontal_accuracy") {
        location["horizontal_accuracy"] = accuracy;
    }
    for name in ["live_period", "heading", "proximity_alert_radius"] {
        if let Some(number) = params.integer(name).filter(|number| *number != 0) {
            location[name] = json!(number);
        }
    }
    let period = location["live_period"].as_i64();
    if period.is_some_and(|period| !LIVE_PERIOD.contains(&period) && period != FOREVER) {
        return Err(ApiError::bad_request(
            "wrong live location period specified",
        ));
    }
    post(request, "sendLocation", [("location", location)])
}

/// `sendVenue`.
pub(super) fn venue(request: &Request<'_>) -> Result<Answer, ApiError> {
    let location = coordinates(request)?;
    let mut venue = json!({ "location": location });
    for name in ["title", "address"] {
        let text = required(request, name)?;
        venue[name] = json!(text);
    }
    let fields = [("location", location), ("venue", venue)];
    post(request, "sendVenue", fields)
}

/// `sendContact`.
pub(super) fn contact(request: &Request<'_>) -> Result<Answer, ApiError> {
    let phone = required(request, "phone_number")?;
    let first_name = required(request, "first_name")?;
    let mut contact = json!({"phone_number": phone, "first_name": first_name});
    for name in ["last_name", "vcard"] {
        if let Some(text) = request.params.get(name) {
            contact[name] = json!(text);
        }
    }
    let vcard = request.params.get("vcard").unwrap_or_default();
    if vcard.len() > MAX_VCARD {
        return Err(ApiError::bad_request("contact vCard is too long"));
    }
    post(request, "sendContact", [("contact", contact)])
}

fn required<'a>(request: &Request<'a>, name: &str) -> Result<&'a str, ApiError> {
    let missing = || {
        let words = name.replace('_', " ");
        ApiError::bad_request(&format!("{words} must be non-empty"))
    };
    request.params.get(name).ok_or_else(missing)
}

pub(super) fn coordinates(request: &Request<'_>) -> Result<Value, ApiError> {
    let number = |name: &str, limit: f64| {
        let given = request.params.get(name)?.trim().parse::<f64>().ok()?;
        (given.abs() <= limit).then_some(given)
    };
    match (number("latitude", 90.0), number("longitude", 180.0)) {
        (None, _) if request.params.get("latitude").is_none() => {
            Err(ApiError::bad_request("latitude is empty"))
        }
        (_, None) if request.params.get("longitude").is_none() => {
            Err(ApiError::bad_request("longitude is empty"))
        }
        (Some(latitude), Some(longitude)) => {
            Ok(json!({"latitude": latitude, "longitude": longitude}))
        }
        _ => Err(ApiError::bad_request(
            "wrong location coordinates specified",
        )),
    }
}

fn post<const N: usize>(
    request: &Request<'_>,
    method: &'static str,
    fields: [(&str, Value); N],
) -> Result<Answer, ApiError> {
    let content: Map<_, _> = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let outgoing = Outgoing::new(method, content, String::new()).with_markup(request.params)?;
    let message = request
        .bot
        .with(|account| send::post(request, account, outgoing))?;
    Ok(Answer::new(&message))
}
