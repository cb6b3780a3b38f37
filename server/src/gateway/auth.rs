//! `/api/auth/*`, but for `whoami`: the way in and out where an identity provider decides.

use http::StatusCode;
use http::request::Parts;
use periscope_core::code::ErrorCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::Gateway;
use super::login::{Credential, Login, OidcLogin};
use super::respond::{self, ApiError, Reply};

/// `GET /api/auth/login?returnTo=`
pub(super) async fn login(gateway: &Gateway, parts: &Parts) -> Result<Reply, ApiError> {
    Ok(oidc(gateway)?.begin(parts).await)
}

/// `GET /api/auth/callback`
pub(super) async fn callback(gateway: &Gateway, parts: &Parts) -> Result<Reply, ApiError> {
    let entered = match oidc(gateway)?.finish(parts, &gateway.authorization).await {
        Ok(entered) => entered,
        Err(page) => return Ok(page),
    };
    match entered.former {
        Some((key, former)) if former.sub == entered.subject.sub => {
            gateway.sessions.move_login(&key, &entered.key);
        }
        // Somebody else has logged in in this browser: as good as a logout.
        Some((key, former)) => {
            gateway.sessions.end_login(&key, &former.sub);
        }
        None => {}
    }
    Ok(entered.reply)
}

/// `POST /api/auth/logout`
pub(super) fn logout(gateway: &Gateway, login: &Login) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct LoggedOut {
        logout_url: Option<String>,
    }
    let oidc = oidc(gateway)?;
    let (Credential::Cookie, Some(key)) = (login.credential, &login.key) else {
        let message = "a bearer token is no login that could be ended here";
        return Err(ApiError::new(ErrorCode::InvalidRequest).with_message(message));
    };
    // First the login, then its shells: one that is being opened looks again at the login.
    let logout_url = oidc.end(key);
    gateway.sessions.end_login(key, &login.subject.sub);
    let mut reply = respond::json(StatusCode::OK, &LoggedOut { logout_url });
    oidc.clear_cookie(reply.headers_mut());
    Ok(reply)
}

/// Adds to a refusal where a login is to be had.
pub(super) fn invite(gateway: &Gateway, error: ApiError) -> ApiError {
    match gateway.authentication.oidc() {
        Some(oidc) => error.with(
            "login",
            json!({
                "url": "/api/auth/login",
                "provider": oidc.provider_name().map_or(Value::Null, Value::from),
            }),
        ),
        None => error,
    }
}

fn oidc(gateway: &Gateway) -> Result<&OidcLogin, ApiError> {
    gateway.authentication.oidc().ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound).with_message("this gateway has no identity provider")
    })
}
