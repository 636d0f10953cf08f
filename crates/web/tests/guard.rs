//! What stands before every route: host, origin, token, and the headers of every reply.
//!
//! A page on the same machine, or one whose name resolves to it, is hostile.

mod common;

use common::{Api, ROUTES, SOCKETS};

const FOREIGN: [&str; 3] = ["http://evil.example", "null", "http://127.0.0.1:1"];

#[tokio::test]
async fn every_route_requires_the_token() {
    let api = Api::start().await;
    for (method, path, body) in ROUTES {
        let ask = api.ask(method, path).body(body);
        let other = "0".repeat(64);
        for token in [None, Some(""), Some(other.as_str()), Some(&api.token[..63])] {
            let answer = ask.clone().token(token).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "denied"), "{method} {path}");
        }
        let right = ask.send().await;
        assert!(![401, 403, 405].contains(&right.status) || path.contains("/x"), "{right:?}");
    }
    for path in SOCKETS {
        let answer = api.ask("GET", path).socket().token(None).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "denied"), "{path}");
    }
    for path in ["/api", "/api/v1/nothing", "/favicon.ico", "//", "/./", "/index.html"] {
        let answer = api.ask("GET", path).token(None).send().await;
        assert_eq!(answer.status, 401, "{path}: what exists is not told");
        assert_eq!(api.ask("GET", path).send().await.status, 404, "{path}");
    }
    api.stop().await;
}

#[tokio::test]
async fn the_token_is_a_single_bearer_credential() {
    let api = Api::start().await;
    let token = api.token.clone();
    let bare = api.ask("GET", "/api/v1/id").token(None);
    let basic = bare.clone().header("Authorization", &format!("Basic {token}"));
    assert_eq!(basic.send().await.status, 401);
    let alone = bare.clone().header("Authorization", &token);
    assert_eq!(alone.send().await.status, 401);
    let twice = api.ask("GET", "/api/v1/id").header("Authorization", &format!("Bearer {token}"));
    assert_eq!(twice.send().await.status, 401);
    let query = api.ask("GET", &format!("/api/v1/id?token={token}")).token(None);
    assert_eq!(query.send().await.status, 401);
    let lower = bare.header("Authorization", &format!("bearer {token}"));
    assert_eq!(lower.send().await.status, 200);
    api.stop().await;
}

#[tokio::test]
async fn hazard_29_a_cookie_is_no_credential_and_none_is_set() {
    let api = Api::start().await;
    let token = api.token.clone();
    for (method, path, body) in ROUTES {
        let cookie = format!("token={token}; Authorization=Bearer {token}");
        let ask = api.ask(method, path).body(body).header("Cookie", &cookie);
        assert_eq!(ask.clone().token(None).send().await.status, 401, "{method} {path}");
        let answer = ask.send().await;
        assert_eq!(answer.header("set-cookie"), None, "{method} {path}");
    }
    assert_eq!(api.ask("GET", "/").send().await.header("set-cookie"), None);
    api.stop().await;
}

#[tokio::test]
async fn hazard_30_another_host_reaches_no_route() {
    let api = Api::start().await;
    let port = api.server.addr.port();
    let hosts = [
        None,
        Some(String::new()),
        Some("evil.example".into()),
        Some(format!("evil.example:{port}")),
        Some("127.0.0.1".into()),
        Some(format!("127.0.0.1:{}", port ^ 1)),
        Some(format!("localhost.:{port}")),
        Some(format!("[::1]:{port}")),
    ];
    let page = ("GET", "/", "");
    let missing = ("GET", "/api/v1/nothing", "");
    for (method, path, body) in ROUTES.into_iter().chain([page, missing]) {
        for host in &hosts {
            let answer = api.ask(method, path).body(body).host(host.as_deref()).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "denied"), "{path} {host:?}");
        }
    }
    for path in SOCKETS {
        for host in &hosts {
            let answer = api.ask("GET", path).socket().host(host.as_deref()).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "denied"), "{path} {host:?}");
        }
    }
    let localhost = format!("localhost:{port}");
    for path in ["/", "/api/v1/id"] {
        let answer = api.ask("GET", path).host(Some(&localhost)).send().await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let twice = api.ask("GET", "/api/v1/id").header("Host", &localhost);
    assert!([400, 403].contains(&twice.send().await.status));
    let absolute = api.ask("GET", "http://evil.example/api/v1/id");
    assert_eq!(absolute.send().await.status, 403);
    api.stop().await;
}

#[tokio::test]
async fn hazard_31_another_origin_reaches_no_route() {
    let api = Api::start().await;
    let page = ("GET", "/", "");
    for (method, path, body) in ROUTES.into_iter().chain([page]) {
        for origin in FOREIGN {
            let answer = api.ask(method, path).body(body).header("Origin", origin).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "denied"), "{path} {origin}");
        }
    }
    for path in SOCKETS {
        for origin in FOREIGN {
            let answer = api.ask("GET", path).socket().header("Origin", origin).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "denied"), "{path} {origin}");
        }
    }
    api.stop().await;
}

#[tokio::test]
async fn hazard_31_the_own_origin_and_none_are_let_in_with_the_token() {
    let api = Api::start().await;
    let port = api.server.addr.port();
    let create = api.ask("POST", "/api/v1/rooms").body(r#"{"name":"den"}"#);
    let events = api.ask("GET", "/api/v1/events").socket();
    for origin in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")] {
        assert_eq!(create.clone().header("Origin", &origin).send().await.status, 200, "{origin}");
        assert_eq!(events.clone().header("Origin", &origin).send().await.status, 101, "{origin}");
        let bare = create.clone().token(None).header("Origin", &origin);
        assert_eq!(bare.send().await.status, 401, "an origin is no credential");
    }
    assert_eq!(create.clone().send().await.status, 200);
    assert_eq!(events.clone().send().await.status, 101);
    assert_eq!(create.token(None).send().await.status, 401);
    assert_eq!(events.token(None).send().await.status, 401);
    api.stop().await;
}

#[tokio::test]
async fn preflights_get_no_permission() {
    let api = Api::start().await;
    let preflight = api
        .ask("OPTIONS", "/api/v1/rooms")
        .token(None)
        .header("Origin", "http://evil.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization");
    let answer = preflight.send().await;
    assert_eq!(answer.status, 403);
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control")));
    api.stop().await;
}

#[tokio::test]
async fn every_reply_has_the_protective_headers() {
    let api = Api::start().await;
    let answers = [
        api.ask("GET", "/").token(None).send().await,
        api.ask("GET", "/api/v1/id").send().await,
        api.ask("GET", "/api/v1/id").token(None).send().await,
        api.ask("GET", "/api/v1/id").host(None).send().await,
        api.ask("GET", "/api/v1/nothing").send().await,
        api.ask("PATCH", "/api/v1/id").send().await,
    ];
    for answer in answers {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        let policy = answer.header("content-security-policy").expect("a policy");
        for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
    }
    api.stop().await;
}

#[tokio::test]
async fn the_page_says_what_this_is_and_no_secret() {
    let api = Api::start().await;
    api.client.set_name("Rosa <b>&").await.expect("a name");
    let room = api.client.create_room("hidden-den").await.expect("a room");
    api.client.say("hidden-den", "hidden-text").await.expect("said");
    let page = api.ask("GET", "/").token(None).send().await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    for shown in ["Ayni", "ayni room create", "ayni join", "Rosa &lt;b&gt;&amp;"] {
        assert!(page.body.contains(shown), "{shown}");
    }
    for hidden in [&api.token, "hidden-", &room.room.to_string()[..8], "<script", "<b>"] {
        assert!(!page.body.contains(hidden), "{hidden}");
    }
    let head = api.ask("HEAD", "/").token(None).send().await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(api.ask("POST", "/").token(None).send().await.status, 401);
    assert_eq!(api.ask("POST", "/").send().await.status, 405);
    api.stop().await;
}
