//! An identity provider that says whatever a test wants, and a browser that keeps cookies.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::gateway_support::{Answer, World};

/// The provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    shared: Arc<Mutex<Shared>>,
}

/// A key that signs.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pair: Arc<EcdsaKeyPair>,
}

struct Shared {
    published: Vec<Key>,
    /// What the token endpoint answers, and with which status.
    token_answer: (u16, Value),
    user_info: Option<Value>,
    /// The requests so far: first line and body.
    requests: Vec<(String, String)>,
    has_logout: bool,
}

/// What a browser remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
}

/// A login that has begun: what the provider was told.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) url: String,
    pub(crate) query: BTreeMap<String, String>,
}

impl Key {
    pub(crate) fn new(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            id: id.to_owned(),
            pair: Arc::new(pair),
        }
    }

    fn public(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    /// A signed token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as("JWT", claims)
    }

    /// A signed token of this type.
    pub(crate) fn sign_as(&self, kind: &str, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": kind, "kid": self.id});
        let text = unsigned(&header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap()))
    }
}

/// Header and claims of a token.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// The present, in seconds.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Provider {
    /// A provider with one published key.
    pub(crate) async fn start(key: &Key) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            published: vec![key.clone()],
            token_answer: (500, json!({})),
            user_info: None,
            requests: Vec::new(),
            has_logout: true,
        }));
        let served = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&served);
                tokio::spawn(async move { serve(stream, address, shared).await });
            }
        });
        Self {
            issuer: format!("http://{address}"),
            shared,
        }
    }

    /// Publishes these keys from now on.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        self.shared.lock().unwrap().published = keys.iter().map(|&key| key.clone()).collect();
    }

    /// Answers the next exchanges with this.
    pub(crate) fn answer_token(&self, status: u16, answer: Value) {
        self.shared.lock().unwrap().token_answer = (status, answer);
    }

    /// Answers exchanges with this ID token.
    pub(crate) fn give(&self, id_token: &str) {
        self.answer_token(
            200,
            json!({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token}),
        );
    }

    /// Says more about the person at the other endpoint.
    pub(crate) fn tell(&self, claims: Value) {
        self.shared.lock().unwrap().user_info = Some(claims);
    }

    /// Has no place to log out at.
    pub(crate) fn without_logout(&self) {
        self.shared.lock().unwrap().has_logout = false;
    }

    /// The requests whose first line holds this.
    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        let shared = self.shared.lock().unwrap();
        let all = shared.requests.iter();
        all.filter(|(line, _)| line.contains(part))
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// Claims that are good for a login with this nonce.
    pub(crate) fn claims(&self, sub: &str, nonce: &str) -> Value {
        json!({
            "iss": self.issuer, "aud": "periscope", "sub": sub, "nonce": nonce,
            "iat": now(), "exp": now() + 300,
            "email": format!("{sub}@example.com"), "groups": ["everyone"],
        })
    }

    /// Logs somebody in, in this browser.
    pub(crate) async fn log_in(&self, world: &World, browser: &mut Browser, key: &Key, sub: &str) {
        let begun = browser.begin(world, "/").await;
        self.give(&key.sign(&self.claims(sub, &begun.query["nonce"])));
        let answer = browser.come_back(world, &begun).await;
        assert_eq!((answer.status, &*answer.headers["location"]), (303, "/"));
    }
}

async fn serve(mut stream: TcpStream, address: SocketAddr, shared: Arc<Mutex<Shared>>) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        }
    };
    let line = head.lines().next().unwrap_or_default().to_owned();
    let (status, answer) = {
        let mut shared = shared.lock().unwrap();
        shared
            .requests
            .push((line.clone(), format!("{head}\n\n{body}")));
        match line.split(' ').nth(1).unwrap_or_default() {
            "/.well-known/openid-configuration" => (200, metadata(address, &shared)),
            "/keys" => {
                let keys: Vec<_> = shared.published.iter().map(Key::public).collect();
                (200, json!({ "keys": keys }))
            }
            "/token" => shared.token_answer.clone(),
            "/userinfo" => match &shared.user_info {
                Some(claims) => (200, claims.clone()),
                None => (500, json!({})),
            },
            _ => (404, json!({})),
        }
    };
    let body = answer.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(answer.as_bytes()).await);
}

fn metadata(address: SocketAddr, shared: &Shared) -> Value {
    let issuer = format!("http://{address}");
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
    });
    if shared.has_logout {
        metadata["end_session_endpoint"] = json!(format!("{issuer}/logout"));
    }
    if shared.user_info.is_some() {
        metadata["userinfo_endpoint"] = json!(format!("{issuer}/userinfo"));
    }
    metadata
}

impl Browser {
    /// A request with the browser's cookies.
    pub(crate) async fn request(
        &mut self,
        world: &World,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let cookies = self.header();
        let mut all = headers.to_vec();
        if !cookies.is_empty() {
            all.push(("Cookie", &cookies));
        }
        let answer = world.anonymous(method, path, &all, body).await;
        self.keep(&answer);
        answer
    }

    pub(crate) async fn get(&mut self, world: &World, path: &str) -> Answer {
        self.request(world, "GET", path, &[], "").await
    }

    /// A request of the gateway's own page that changes something.
    pub(crate) async fn send(&mut self, world: &World, method: &str, path: &str) -> Answer {
        let origin = format!("http://{}", world.address);
        self.request(world, method, path, &[("Origin", &origin)], "")
            .await
    }

    /// The value of the Cookie header.
    pub(crate) fn header(&self) -> String {
        let pairs = self.cookies.iter();
        pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Asks to log in, and follows as far as the provider's door.
    pub(crate) async fn begin(&mut self, world: &World, return_to: &str) -> Begun {
        let path = format!("/api/auth/login?returnTo={return_to}");
        let answer = self.get(world, &path).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let url = answer.headers["location"].clone();
        let query = url.split_once('?').unwrap().1;
        let query = query
            .split('&')
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap();
                (name.to_owned(), value.to_owned())
            })
            .collect();
        Begun { url, query }
    }

    /// Comes back from the provider with a code.
    pub(crate) async fn come_back(&mut self, world: &World, begun: &Begun) -> Answer {
        let state = &begun.query["state"];
        self.get(
            world,
            &format!("/api/auth/callback?code=c0de&state={state}"),
        )
        .await
    }

    fn keep(&mut self, answer: &Answer) {
        for cookie in &answer.cookies {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
