//! Requests that get no review in return. In: what is wrong. Out: an HTTP status and one line that
//! the API server shows in its own error, so that failurePolicy decides over the pod.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::body::BODY_LIMIT;

/// Why a request is not answered with a review.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Another content type.
    #[error("the content type must be application/json")]
    NotJson,
    /// More bytes than are read.
    #[error("the body is longer than {} MiB", BODY_LIMIT >> 20)]
    TooLarge,
    /// The client did not send its body in time.
    #[error("the body did not arrive within 5 s")]
    TooSlow,
    /// The client went away.
    #[error("the body broke off")]
    Interrupted,
    /// The bytes are no review.
    #[error("{0}")]
    Unreadable(String),
    /// There is more to do than can be done.
    #[error("too many reviews are in flight; try again")]
    Overloaded,
    /// A defect of this program.
    #[error("this webhook failed; its log tells how")]
    Failed,
}

impl Refusal {
    /// Returns the metric label.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Interrupted => "interrupted",
            Self::Unreadable(_) => "unreadable",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Interrupted | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let line = format!("{self}\n");
        (self.status(), [(header::CONTENT_TYPE, text)], line).into_response()
    }
}
