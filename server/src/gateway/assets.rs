//! The web UI, embedded in the program.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::respond::{self, Reply};

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Files;

/// What the page needs and nothing more: scripts and styles come from files of this origin, the
/// terminal's own rules go through the CSSOM, and nothing may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; \
    frame-ancestors 'none'; form-action 'self'";

const NOT_BUILT: &str = "The web UI is not part of this build: run `npm ci && npm run build` in server/web, \
    then build periscope again.\n";

/// The file at a path of the UI. Every other path is a page of the single-page application.
pub(crate) fn serve(path: &str, headers: &HeaderMap) -> Reply {
    let name = path.trim_start_matches('/');
    if let Some(file) = Files::get(name).filter(|_| !name.is_empty()) {
        return reply(name, file, headers);
    }
    if name.starts_with("assets/") {
        // A page from before an update asks for a script that is gone: HTML would only confuse it.
        return respond::text(StatusCode::NOT_FOUND, "no such file\n");
    }
    match Files::get("index.html") {
        Some(file) => reply("index.html", file, headers),
        None => respond::text(StatusCode::NOT_FOUND, NOT_BUILT),
    }
}

fn reply(name: &str, file: EmbeddedFile, request: &HeaderMap) -> Reply {
    let hash = file.metadata.sha256_hash();
    let tag = hash
        .iter()
        .take(16)
        .fold(String::new(), |tag, byte| tag + &format!("{byte:02x}"));
    let tag = format!("\"{tag}\"");
    let is_known = request
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let body = match file.data {
        _ if is_known => Bytes::new(),
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let mut reply = Response::new(Full::new(body));
    if is_known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(name)),
    );
    // Vite puts a hash of the content into the names in this folder.
    let is_hashed = name.starts_with("assets/");
    let caching = if is_hashed {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    reply
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_script_is_not_answered_with_a_page() {
        assert_eq!(
            serve("/assets/gone-123.js", &HeaderMap::new()).status(),
            StatusCode::NOT_FOUND
        );
    }

    #[test]
    fn no_path_leaves_the_embedded_folder() {
        for path in [
            "/../Cargo.toml",
            "/..%2fCargo.toml",
            "//etc/passwd",
            "/assets/../../package.json",
        ] {
            let reply = serve(path, &HeaderMap::new());
            let page = serve("/", &HeaderMap::new());
            let is_page = reply.headers().get(header::ETAG) == page.headers().get(header::ETAG);
            assert!(is_page || reply.status() == StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn scripts_from_elsewhere_or_inside_the_page_are_forbidden() {
        let script = POLICY
            .split(';')
            .find(|part| part.trim().starts_with("script-src"))
            .unwrap();
        assert_eq!(script.trim(), "script-src 'self'");
        assert!(!POLICY.contains("unsafe"));
        assert!(POLICY.starts_with("default-src 'none'"));
        assert_eq!(
            content_type("assets/index-1.js"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(content_type("noextension"), "application/octet-stream");
    }
}
