//! The arguments of a call, however they came: JSON body, form body or query string.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use url::form_urlencoded;

use super::answer::ApiError;

/// Arguments by name. As in the real server each is text: numbers in digits, arrays and objects as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn parse(
        query: Option<&str>,
        content_type: &str,
        body: &Bytes,
    ) -> Result<Self, ApiError> {
        let mut found = BTreeMap::new();
        if let Some(query) = query {
            found.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        }
        let kind = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match kind.as_str() {
            _ if body.is_empty() => {}
            "application/json" => found.extend(from_json(body)?),
            "application/x-www-form-urlencoded" => {
                found.extend(form_urlencoded::parse(body).into_owned());
            }
            other => {
                let reason = format!("the simulator does not read a body of type '{other}'");
                return Err(ApiError::bad_request(&reason));
            }
        }
        Ok(Self(found))
    }

    /// The argument as text; absent and empty are the same to the provider.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The argument parsed as JSON, where it is that.
    pub fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// The argument as a whole number: 0 where it is something else, as the real server reads it.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name)
            .map(|value| value.trim().parse().unwrap_or_default())
    }

    /// `true`, `yes` and `1` are yes; anything else, and absence, is no.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            matches!(
                value.trim().to_ascii_lowercase().as_str(),
                "true" | "yes" | "1"
            )
        })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The arguments in a JSON object.
    pub(super) fn from_object(object: Value) -> Option<Self> {
        let Value::Object(fields) = object else {
            return None;
        };
        let texts = fields.into_iter().filter_map(|(name, value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name, text)),
            other => Some((name, other.to_string())),
        });
        Some(Self(texts.collect()))
    }
}

fn from_json(body: &Bytes) -> Result<BTreeMap<String, String>, ApiError> {
    let params = serde_json::from_slice(body)
        .ok()
        .and_then(Params::from_object);
    params
        .map(|params| params.0)
        .ok_or_else(|| ApiError::bad_request("can't parse request body as a JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_of_giving_arguments_agree() {
        let json =
            Bytes::from_static(br#"{"chat_id":5,"text":"a b","keep":null,"reply":{"id":1}}"#);
        let form = Bytes::from_static(b"chat_id=5&text=a+b&reply=%7B%22id%22%3A1%7D");
        let query = Some("chat_id=5&text=a%20b&reply={%22id%22:1}");
        let from_json = Params::parse(None, "application/json; charset=utf-8", &json);
        let from_form = Params::parse(None, "application/x-www-form-urlencoded", &form);
        let from_query = Params::parse(query, "", &Bytes::new());
        assert_eq!(from_json, from_form);
        assert_eq!(from_json, from_query);
        let params = from_json.expect("the body is an object");
        assert_eq!(params.integer("chat_id"), Some(5));
        assert_eq!(params.json("reply"), Some(serde_json::json!({"id": 1})));
    }

    #[test]
    fn other_bodies_are_refused() {
        assert!(Params::parse(None, "application/json", &Bytes::from_static(b"[1]")).is_err());
        assert!(Params::parse(None, "application/json", &Bytes::from_static(b"{")).is_err());
        assert!(Params::parse(None, "text/plain", &Bytes::from_static(b"a=1")).is_err());
    }
}
