//! Answers that send the application or client elsewhere (RFC 9110 section 15.4).
//!
//! In: a route's redirect and where a request was headed. Out: an answer with `Location`.

use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode, Uri};

use super::body::ReplyBody;
use super::headers;
use super::refusal::Refusal;
use crate::config::{Redirect, Scheme};
use crate::record::RequestRecord;

/// The answer to come.
#[derive(Debug)]
pub(super) struct Elsewhere {
    status: StatusCode,
    location: HeaderValue,
}

impl Elsewhere {
    /// Works out where a request that came by `scheme` is sent.
    pub(super) fn new(
        redirect: &Redirect,
        scheme: Scheme,
        authority: &str,
        uri: &Uri,
    ) -> Result<Self, Refusal> {
        if authority.is_empty() && redirect.authority.is_none() {
            return Err(Refusal::Malformed("the request has no Host to redirect to"));
        }
        let target = headers::path_and_query(uri);
        let location = redirect.location(scheme, authority, target.as_str());
        let location = HeaderValue::try_from(location);
        Ok(Self {
            status: redirect.code.status(),
            location: location.map_err(|_| Refusal::Malformed("the path is not visible ASCII"))?,
        })
    }

    /// Makes the answer, and completes the record with it.
    pub(super) fn reply(self, mut record: Box<RequestRecord>) -> Response<ReplyBody> {
        record.status = Some(self.status);
        let mut response = Response::new(ReplyBody::text(String::new(), record));
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, self.location);
        response
    }
}
