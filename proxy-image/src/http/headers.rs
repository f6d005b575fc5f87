//! What is changed in the head of a request or an answer: hop-by-hop fields go (RFC 9110 section
//! 7.6.1), the target becomes origin-form, `Host` becomes the route's.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::refusal::Refusal;
use crate::route::Route;
use crate::upstream::Offer;

const HOP_BY_HOP: [HeaderName; 8] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Returns the host that a request is for, as it was sent, with its port: from the target when that
/// is absolute (RFC 9112 section 3.2.2), else from `Host`.
pub(super) fn authority_of<B>(request: &Request<B>) -> Result<String, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Tunnel);
    }
    // RFC 3986 section 2; the libraries read more than that.
    let target = request.uri().path_and_query();
    if !target.is_none_or(|target| target.as_str().is_ascii()) {
        return Err(Refusal::Malformed(
            "the request target is not percent-encoded",
        ));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::Malformed("the request has more than one Host"));
    }
    // RFC 9112 section 3.2: wrong or missing, it is refused also where the target says the host.
    let host = match first.map(HeaderValue::to_str) {
        Some(Ok(host)) if is_authority(host) => host,
        Some(_) => return Err(Refusal::Malformed("Host is not a host name or an address")),
        None if request.version() == Version::HTTP_11 => {
            return Err(Refusal::Malformed("the request has no Host"));
        }
        None => "",
    };
    match request.uri().authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(Refusal::Malformed("the request target has a user name"))
        }
        // Authority-form is for CONNECT alone (RFC 9112 section 3.2.3).
        Some(_) if request.uri().scheme().is_none() && request.version() != Version::HTTP_2 => {
            Err(Refusal::Malformed("the request target is no path"))
        }
        Some(authority) if !is_authority(authority.as_str()) => Err(Refusal::Malformed(
            "the request target's host is no name or address",
        )),
        Some(authority) => Ok(authority.as_str().to_owned()),
        None if host.is_empty() && request.version() == Version::HTTP_2 => {
            Err(Refusal::Malformed("the request has no Host"))
        }
        None => Ok(host.to_owned()),
    }
}

/// Returns the host without its port.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

fn is_authority(host: &str) -> bool {
    host.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-_:[]%".contains(&b))
}

/// Returns the protocol that a request, or a 101, switches to. Never `h2c`: that would carry the
/// upstream's frames past everything this proxy checks.
pub(super) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE).filter(|_| asked)?;
    let is_h2c = protocol.to_str().is_ok_and(|text| {
        text.split(',')
            .any(|one| one.trim().eq_ignore_ascii_case("h2c"))
    });
    (!is_h2c).then(|| protocol.clone())
}

/// Returns the path and query of a request's target, whatever its form.
pub(super) fn path_and_query(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        // The library writes a path that it has read as empty, as of `http://host#part`, as nothing.
        Some(path) if path != "/" => path.clone(),
        _ => PathAndQuery::from_static("/"),
    }
}

/// Returns the versions of HTTP that a request can go on with. One of gRPC needs HTTP/2, also where
/// nothing is negotiated; whatever else came by HTTP/2 is at home in both.
pub(super) fn offer_for<B>(request: &Request<B>) -> Offer {
    let kind = request.headers().get(CONTENT_TYPE);
    let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    match request.version() {
        Version::HTTP_2 if is_grpc => Offer::Http2,
        Version::HTTP_2 => Offer::Either,
        _ => Offer::Http1,
    }
}

/// Joins the fields that HTTP/2 may split (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_some() && cookies.next().is_some() {
        let all = headers.get_all(COOKIE).iter();
        let all: Vec<&[u8]> = all.map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Prepares a request for the upstream.
pub(super) fn for_upstream<B>(
    request: &mut Request<B>,
    route: &Route,
    authority: &str,
    upgrade: Option<HeaderValue>,
) {
    *request.uri_mut() = Uri::from(path_and_query(request.uri()));
    let came_by = std::mem::replace(request.version_mut(), Version::HTTP_11);
    let headers = request.headers_mut();
    if came_by == Version::HTTP_2 {
        join_cookies(headers);
    }
    let trailers = headers.get_all(TE).iter().any(takes_trailers);
    strip(headers, upgrade);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(host) = host_for(route, authority) {
        headers.insert(HOST, host);
    }
}

/// Prepares an answer for the application or client.
pub(super) fn for_downstream(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    strip(headers, upgrade);
}

fn host_for(route: &Route, authority: &str) -> Option<HeaderValue> {
    if let Some(rewritten) = route.rewritten_authority() {
        return Some(rewritten);
    }
    let replaced = replaced_host(route, without_port(authority)).cloned();
    let as_sent = || HeaderValue::from_str(authority).ok();
    // HTTP/1.0 names no host, and the request goes on as HTTP/1.1, which has to.
    let named = || as_sent().filter(|host| !host.is_empty());
    replaced
        .or_else(named)
        .or_else(|| Some(HeaderValue::from_static("localhost")))
}

/// Returns what the upstream is told instead of a host that is not the route's.
pub(super) fn replaced_host<'r>(route: &'r Route, host: &str) -> Option<&'r HeaderValue> {
    let own = route.host.as_ref().filter(|own| !own.name.matches(host))?;
    own.authority.as_ref()
}

fn strip(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers)
            .filter_map(|token| token.parse().ok())
            // Naming these would change where the message goes or ends.
            .filter(|name| name != HOST && name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn takes_trailers(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| {
        text.split(',')
            .any(|one| one.trim().eq_ignore_ascii_case("trailers"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_fields_go_and_others_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip(&mut headers, None);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "traceparent"]);
    }

    #[test]
    fn connection_cannot_name_host_or_length_away() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("host, content-length"));
        headers.append(HOST, HeaderValue::from_static("a"));
        headers.append(CONTENT_LENGTH, HeaderValue::from_static("3"));
        strip(&mut headers, None);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn the_port_is_cut_off_a_host() {
        assert_eq!(without_port("a.example:80"), "a.example");
        assert_eq!(without_port("a.example"), "a.example");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
    }

    #[test]
    fn h2c_is_not_switched_to() {
        let mut headers = HeaderMap::new();
        headers.append(
            CONNECTION,
            HeaderValue::from_static("Upgrade, HTTP2-Settings"),
        );
        headers.append(UPGRADE, HeaderValue::from_static("h2c"));
        assert_eq!(upgrade_of(&headers), None);
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(upgrade_of(&headers).unwrap(), "websocket");
    }
}
