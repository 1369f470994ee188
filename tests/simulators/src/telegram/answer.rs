//! The envelope every answer comes in.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A call that worked: `result` is JSON text.
pub(super) struct Answer {
    pub result: String,
    pub description: Option<&'static str>,
}

impl Answer {
    pub(super) fn new(result: &Value) -> Self {
        Self {
            result: result.to_string(),
            description: None,
        }
    }

    pub(super) fn done() -> Self {
        Self {
            result: "true".into(),
            description: None,
        }
    }

    pub(super) fn done_because(description: &'static str) -> Self {
        Self {
            result: "true".into(),
            description: Some(description),
        }
    }

    pub(super) fn body(&self) -> String {
        match self.description {
            None => format!(r#"{{"ok":true,"result":{}}}"#, self.result),
            Some(text) => {
                format!(
                    r#"{{"ok":true,"result":{},"description":"{text}"}}"#,
                    self.result
                )
            }
        }
    }
}

/// A call that failed: the HTTP status is `code`.
#[derive(Debug, PartialEq)]
pub(super) struct ApiError {
    pub code: u16,
    pub description: String,
    pub parameters: Option<Value>,
}

impl ApiError {
    pub(super) fn new(code: u16, description: impl Into<String>) -> Self {
        Self {
            code,
            description: description.into(),
            parameters: None,
        }
    }

    pub(super) fn bad_request(reason: &str) -> Self {
        Self::new(400, format!("Bad Request: {reason}"))
    }

    pub(super) fn forbidden(reason: &str) -> Self {
        Self::new(403, format!("Forbidden: {reason}"))
    }

    pub(super) fn too_many_requests(retry_after: u32) -> Self {
        Self {
            code: 429,
            description: format!("Too Many Requests: retry after {retry_after}"),
            parameters: Some(json!({ "retry_after": retry_after })),
        }
    }

    pub(super) fn body(&self) -> String {
        let mut body =
            json!({"ok": false, "error_code": self.code, "description": self.description});
        if let Some(parameters) = &self.parameters {
            body["parameters"] = parameters.clone();
        }
        body.to_string()
    }

    /// The value of the `Retry-After` header, where the answer has one.
    pub(super) fn retry_after(&self) -> Option<String> {
        self.parameters
            .as_ref()?
            .get("retry_after")
            .map(Value::to_string)
    }
}

/// Turns an outcome into what goes over the wire.
pub(super) fn respond(outcome: &Result<Answer, ApiError>) -> Response {
    match outcome {
        Ok(answer) => json_response(StatusCode::OK, answer.body()),
        Err(error) => {
            let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::BAD_REQUEST);
            let mut response = json_response(status, error.body());
            if let Some(seconds) = error.retry_after().and_then(|text| text.parse().ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            response
        }
    }
}

pub(super) fn json_response(status: StatusCode, body: String) -> Response {
    let kind: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, body).into_response()
}

/// What stands in front of the provider says when the provider is away.
pub(super) fn html_error(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let kind: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/html")];
    let body = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
         <hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n"
    );
    (status, kind, body).into_response()
}
