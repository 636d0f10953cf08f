//! The page at `/`: what this is, and how to use the command line. No script, and nothing that is
//! not already told to every peer, since whoever can reach the port can read it without a token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::App;

/// The page's style, inline.
const STYLE: &str = include_str!("page.css");
/// The page, with `{style}`, `{name}` and `{peer}` to be filled in.
const PAGE: &str = include_str!("page.html");
/// Lets the one style through, by its hash, and nothing else.
const POLICY: &str = "default-src 'none'; \
                      style-src 'sha256-z9jGgTRpDoTG/e2kVwOh/MGCwoIZSwOQ3qDCLXB9jgI='; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Shows the page.
pub(super) async fn page(State(app): State<Arc<App>>) -> Response {
    let identity = app.node.identity();
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    (headers, render(&identity.name, &identity.peer.short())).into_response()
}

fn render(name: &str, peer: &str) -> String {
    // The name last: it could contain the other marks.
    PAGE.replace("{style}", STYLE).replace("{peer}", &escape(peer)).replace("{name}", &escape(name))
}

/// Makes text that is text in HTML, in content and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Shown, and not obeyed.
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_names_the_hash_of_the_style() {
        let hash = BASE64.encode(&Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "the style's hash is {hash}");
        assert!(render("x", "y").contains(&format!("<style>{STYLE}</style>")));
    }

    #[test]
    fn hazard_32_a_name_never_becomes_markup() {
        let page = render("</p><script>alert(\"1\")</script>{peer}&'\u{0}", "0123abcd");
        assert!(!page.contains("<script"));
        assert!(page.contains("&lt;/p&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;{peer}"));
        assert!(page.contains("&amp;&#39;\u{fffd}"));
    }

    #[test]
    fn the_page_has_no_script_and_loads_nothing() {
        for mark in ["<script", "src=", "href=", "url(", "@import", "javascript:", " on"] {
            let tags = PAGE.split('<').map(|part| part.split('>').next().unwrap_or_default());
            assert!(!tags.into_iter().any(|tag| format!("<{tag}").contains(mark)), "{mark}");
            assert!(mark.starts_with(' ') || !STYLE.contains(mark), "{mark}");
        }
    }
}
