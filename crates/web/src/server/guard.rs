//! The door: what is checked of every request before a route is looked up.
//!
//! 1. `Host` is exactly `127.0.0.1:PORT` or `localhost:PORT`. A page elsewhere whose name was made
//!    to resolve to 127.0.0.1 (DNS rebinding) shows in this header alone.
//! 2. `Origin`, where there is one, is exactly this server's. Browsers send it with WebSockets and
//!    with everything but plain GETs.
//! 3. `Authorization: Bearer TOKEN`, with everything but a plain look at the page `/`.
//!
//! Cookies are never read: every other port of this machine could receive and set them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::{Failure, Result};
use super::{App, GRACE};

/// Nothing may be loaded, run or framed, wherever a reply is shown by accident. The page `/` has its
/// own policy, which lets its style through.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Headers of every reply that does not set them itself.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets a request through to the router, or answers it here.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match check(&app, &request) {
        Ok(()) => tokio::select! {
            biased;
            response = next.run(request) => response,
            () = stopped(&app) => Failure::stopping().into_response(),
        },
        Err(failure) => failure.into_response(),
    };
    for (name, value) in HEADERS {
        let headers = response.headers_mut();
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Ends a moment after the server began to stop.
async fn stopped(app: &App) {
    app.closing.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn check(app: &App, request: &Request) -> Result<()> {
    let headers = request.headers();
    if !is_own_host(request, app.addr) {
        return Err(Failure::wrong_host());
    }
    if !is_own_origin(headers, app.addr) {
        return Err(Failure::wrong_origin());
    }
    if !is_look_at_page(request) && !has_token(headers, app) {
        return Err(Failure::wrong_token());
    }
    Ok(())
}

fn is_own_host(request: &Request, addr: SocketAddr) -> bool {
    let own = |host: &[u8]| names(addr).iter().any(|name| name.as_bytes() == host);
    // The target may name a host as well (`GET http://host/`), and must agree.
    let target = request.uri().authority().is_none_or(|host| own(host.as_str().as_bytes()));
    target && only(request.headers(), &HOST).is_some_and(own)
}

fn is_own_origin(headers: &HeaderMap, addr: SocketAddr) -> bool {
    let own = |origin: &[u8]| {
        names(addr).iter().any(|name| format!("http://{name}").as_bytes() == origin)
    };
    !headers.contains_key(ORIGIN) || only(headers, &ORIGIN).is_some_and(own)
}

fn is_look_at_page(request: &Request) -> bool {
    let plain = matches!(*request.method(), Method::GET | Method::HEAD);
    plain && request.uri().path() == "/" && !request.headers().contains_key(UPGRADE)
}

fn has_token(headers: &HeaderMap, app: &App) -> bool {
    let given = only(headers, &AUTHORIZATION)
        .and_then(|value| value.split_at_checked("Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    given.is_some_and(|(_, token)| app.token.is(token))
}

fn names(addr: SocketAddr) -> [String; 2] {
    [addr.to_string(), format!("localhost:{}", addr.port())]
}

/// Returns the header's value if it is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const PORT: u16 = 4321;

    fn addr() -> SocketAddr {
        ([127, 0, 0, 1], PORT).into()
    }

    fn request(uri: &str, headers: &[(HeaderName, &str)]) -> Request {
        let mut request = axum::http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.body(Body::empty()).expect("valid parts")
    }

    #[test]
    fn hazard_30_only_the_own_host_with_its_port_is_let_in() {
        for own in ["127.0.0.1:4321", "localhost:4321"] {
            assert!(is_own_host(&request("/", &[(HOST, own)]), addr()), "{own}");
        }
        let others = [
            "127.0.0.1",
            "localhost",
            "127.0.0.1:80",
            "127.0.0.1:43210",
            "[::1]:4321",
            "0.0.0.0:4321",
            "127.0.0.2:4321",
            "localhost.:4321",
            "evil.example:4321",
            "localhost:4321.evil.example",
            "evil.example#127.0.0.1:4321",
            "user@127.0.0.1:4321",
            " 127.0.0.1:4321",
            "",
        ];
        for other in others {
            assert!(!is_own_host(&request("/", &[(HOST, other)]), addr()), "{other}");
        }
        assert!(!is_own_host(&request("/", &[]), addr()), "none");
        let twice = [(HOST, "127.0.0.1:4321"), (HOST, "127.0.0.1:4321")];
        assert!(!is_own_host(&request("/", &twice), addr()), "twice");
        let absolute = request("http://evil.example/", &[(HOST, "127.0.0.1:4321")]);
        assert!(!is_own_host(&absolute, addr()), "another target");
    }

    #[test]
    fn hazard_31_an_origin_is_none_or_exactly_the_own() {
        let allowed =
            |origin: &str| is_own_origin(request("/", &[(ORIGIN, origin)]).headers(), addr());
        assert!(is_own_origin(request("/", &[]).headers(), addr()));
        assert!(allowed("http://127.0.0.1:4321"));
        assert!(allowed("http://localhost:4321"));
        let others = [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:4322",
            "https://127.0.0.1:4321",
            "http://127.0.0.1:4321/",
            "http://localhost:4321.evil.example",
            "http://evil.example",
            "file://",
        ];
        for other in others {
            assert!(!allowed(other), "{other}");
        }
        let twice = [(ORIGIN, "http://127.0.0.1:4321"), (ORIGIN, "http://127.0.0.1:4321")];
        assert!(!is_own_origin(request("/", &twice).headers(), addr()), "twice");
    }

    #[test]
    fn only_a_plain_look_at_the_page_goes_without_a_token() {
        assert!(is_look_at_page(&request("/", &[])));
        assert!(is_look_at_page(&request("/?x=1", &[])));
        assert!(!is_look_at_page(&request("/", &[(UPGRADE, "websocket")])));
        assert!(!is_look_at_page(&request("/api/v1/id", &[])));
        assert!(!is_look_at_page(&request("//", &[])));
        let mut post = request("/", &[]);
        *post.method_mut() = Method::POST;
        assert!(!is_look_at_page(&post));
    }
}
