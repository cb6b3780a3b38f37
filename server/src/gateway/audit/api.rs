//! `GET /api/audit`

use http::{HeaderName, HeaderValue, StatusCode};
use periscope_core::code::ErrorCode;

use super::super::Gateway;
use super::super::login::Login;
use super::super::respond::{self, ApiError, Reply};
use super::query::Filter;

/// How long a client should wait before it asks again, in seconds.
const RETRY_SECONDS: u64 = 5;

/// Answers with the rows that a person may see.
pub(crate) async fn list(
    gateway: &Gateway,
    login: &Login,
    query: Option<&str>,
) -> Result<Reply, ApiError> {
    let Some(store) = &gateway.audit.store else {
        return Err(ApiError::new(ErrorCode::NotFound)
            .with_message("This gateway keeps no audit records: they go to its stdout only."));
    };
    let filter = Filter::from_query(query.unwrap_or_default());
    let mut filter = filter.map_err(|error| {
        ApiError::new(ErrorCode::InvalidRequest).with_message(error.to_string())
    })?;
    if !login.is_audit_admin {
        filter.only_of = Some(login.subject.sub.clone());
    }
    let page = store.query(filter).await.map_err(|_| unanswered())?;
    let mut reply = respond::json(StatusCode::OK, &page);
    let scope = if login.is_audit_admin { "all" } else { "self" };
    reply.headers_mut().insert(
        HeaderName::from_static("x-audit-scope"),
        HeaderValue::from_static(scope),
    );
    Ok(reply)
}

fn unanswered() -> ApiError {
    ApiError::new(ErrorCode::Audit)
        .with_message(
            "The audit records cannot be read at the moment. Try again, or ask for fewer.",
        )
        .retry_after(RETRY_SECONDS)
}
