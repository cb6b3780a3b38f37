use super::*;

fn options() -> OidcOptions {
    OidcOptions {
        issuer: "https://id.example/realms/x".to_owned(),
        client_id: "periscope".to_owned(),
        client_secret: None,
        redirect_url: "https://shell.example/api/auth/callback".to_owned(),
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        audience: None,
        post_logout_redirect: None,
        provider_name: None,
        lifetimes: Lifetimes {
            idle: std::time::Duration::from_mins(30),
            absolute: std::time::Duration::from_hours(8),
        },
        groups_claim: "groups".to_owned(),
        allowed_groups: Vec::new(),
        audit_admin_groups: Vec::new(),
        public_url: PublicUrl::parse("https://shell.example").unwrap(),
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_its_key() {
    let refused = |change: &dyn Fn(&mut OidcOptions)| {
        let mut options = options();
        change(&mut options);
        registration(&options).unwrap_err()
    };
    for issuer in ["http://id.example", "id.example", "ftp://id.example", ""] {
        let error = refused(&|options| options.issuer = issuer.to_owned());
        assert_eq!(error, OidcSetupError::Issuer, "{issuer}");
    }
    for url in [
        "https://shell.example/callback",
        "https://other.example/api/auth/callback",
        "http://shell.example/api/auth/callback",
        "https://shell.example:8443/api/auth/callback",
        "https://shell.example/x/api/auth/callback",
        "https://me@shell.example/api/auth/callback",
        "/api/auth/callback",
    ] {
        let error = refused(&|options| options.redirect_url = url.to_owned());
        assert_eq!(
            error.to_string(),
            "oidc.redirectURL must be https://shell.example/api/auth/callback",
            "{url}"
        );
    }
    for url in ["/", "javascript:alert(1)", "https://"] {
        let error = refused(&|options| options.post_logout_redirect = Some(url.to_owned()));
        assert_eq!(error, OidcSetupError::PostLogoutRedirect, "{url}");
    }
    let error = refused(&|options| options.client_id.clear());
    assert_eq!(error, OidcSetupError::ClientId);
}

#[test]
fn the_audience_of_bearer_tokens_is_the_clients_own_name_unless_configured() {
    let mut options = options();
    assert_eq!(registration(&options).unwrap().audience, "periscope");
    options.audience = Some("api://periscope".to_owned());
    assert_eq!(registration(&options).unwrap().audience, "api://periscope");
    options.redirect_url = "https://shell.example:443/api/auth/callback".to_owned();
    assert!(registration(&options).is_ok());
}

#[test]
fn a_key_that_is_repeated_in_a_query_counts_as_missing() {
    let request = ::http::Request::builder().uri("/x?a=1&b=2&b=3&c=%2Fx%20y");
    let query = Query::parse(&request.body(()).unwrap().into_parts().0);
    assert_eq!(query.one("a").as_deref(), Some("1"));
    assert_eq!(query.one("b"), None);
    assert!(query.has("b"));
    assert_eq!(query.one("c").as_deref(), Some("/x y"));
}
