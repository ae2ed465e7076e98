//! Refusals, as every interface answers them: a status, what was expected and what was found.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// A request that is refused or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub(crate) status: StatusCode,
    /// Expected and found.
    pub(crate) message: String,
    /// The field of the request that is at fault, where it is one.
    pub(crate) field: Option<String>,
}

impl ApiError {
    /// A refusal with this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), field: None }
    }

    /// A field whose value cannot be used.
    pub fn field(name: &str, message: impl Into<String>) -> Self {
        let field = Some(name.to_owned());
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, message: message.into(), field }
    }

    /// More waits than the queue holds.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// What went wrong, with the field's name in front.
    pub(crate) fn sentence(&self) -> String {
        match &self.field {
            Some(field) => format!("{field}: {}", self.message),
            None => self.message.clone(),
        }
    }

    /// As this project's own interface answers it.
    pub(crate) fn json(&self) -> Value {
        json!({ "error": self.message, "field": self.field })
    }

    /// The answer with another body, for interfaces that are not this project's own.
    pub(crate) fn with_body(&self, body: &Value) -> Response {
        let mut response = crate::answer::json(self.status, body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let ask = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.with_body(&self.json())
    }
}
