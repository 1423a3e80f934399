//! Error bodies: the documented order of their members, and their values as a JSON parser reads
//! them.

use keyward::{
    Challenge, CredentialSource, ErrorBodies, Gate, KeyFormat, KeyHasher, Scope,
    error::{ConfigError, ConfigErrorKind},
    request::{ErrorBody, ErrorFacts, ErrorText, PublicReason},
    verify::Verifier,
};
use proptest::prelude::*;
use serde_json::{Value, json};

static WRITE: Scope = Scope::from_static("write:issues");

/// Facts for every placeholder.
fn facts(reason: PublicReason) -> ErrorFacts<'static> {
    let facts = ErrorFacts::new(reason);
    match reason {
        PublicReason::RateLimited | PublicReason::TooManyAttempts => {
            facts.with_retry_after_secs(12)
        }
        PublicReason::MissingScope => facts.with_missing_scope(&WRITE),
        _ => facts,
    }
}

fn text(errors: &ErrorBodies, reason: PublicReason) -> String {
    errors.render(&facts(reason)).as_str().to_owned()
}

fn json_of(errors: &ErrorBodies, reason: PublicReason) -> Value {
    serde_json::from_str(&text(errors, reason)).unwrap()
}

#[test]
fn flat_bodies_have_one_member() {
    let errors = ErrorBodies::flat();
    for (reason, body) in [
        (PublicReason::MissingKey, r#"{"error":"Missing API key"}"#),
        (PublicReason::InvalidKey, r#"{"error":"Invalid API key"}"#),
        (PublicReason::RevokedKey, r#"{"error":"Invalid API key"}"#),
        (PublicReason::MissingScope, r#"{"error":"Missing required scope: write:issues"}"#),
        (PublicReason::RateLimited, r#"{"error":"Rate limit exceeded"}"#),
        (PublicReason::Unavailable, r#"{"error":"Service unavailable"}"#),
    ] {
        let rendered = errors.render(&facts(reason));
        assert_eq!(rendered.as_str(), body);
        assert_eq!(rendered.content_type, "application/json");
    }
}

#[test]
fn nested_bodies_have_codes_and_fields_in_documented_order() {
    let errors = ErrorBodies::nested()
        .with_text(
            PublicReason::RateLimited,
            ErrorText::new("Rate limit exceeded. Retry after {retry_after} seconds.")
                .with_retry_after("retry_after"),
        )
        .with_text(
            PublicReason::ForbiddenTier,
            ErrorText::new("This endpoint requires an Enterprise tier subscription.")
                .with_code("ENTERPRISE_REQUIRED")
                .with_field("upgrade_url", "https://validate.lucitra.ai/settings/billing"),
        )
        .with_text(
            PublicReason::MissingScope,
            ErrorText::new("{scope} {{braces}}")
                .with_missing_scope("scope")
                .with_field("a", "\"\n"),
        );
    assert_eq!(
        text(&errors, PublicReason::RateLimited),
        r#"{"error":{"code":"RATE_LIMITED","message":"Rate limit exceeded. Retry after 12 seconds.","retry_after":12}}"#
    );
    assert_eq!(
        text(&errors, PublicReason::ForbiddenTier),
        r#"{"error":{"code":"ENTERPRISE_REQUIRED","message":"This endpoint requires an Enterprise tier subscription.","upgrade_url":"https://validate.lucitra.ai/settings/billing"}}"#
    );
    assert_eq!(
        text(&errors, PublicReason::MissingScope),
        r#"{"error":{"code":"FORBIDDEN","message":"write:issues {braces}","scope":"write:issues","a":"\"\n"}}"#
    );
    let codes = PublicReason::ALL.map(|reason| {
        (reason.status(), json_of(&ErrorBodies::nested(), reason)["error"]["code"].clone())
    });
    for (status, code) in codes {
        let expected = match status {
            400 => "BAD_REQUEST",
            401 => "UNAUTHORIZED",
            403 => "FORBIDDEN",
            429 => "RATE_LIMITED",
            503 => "UNAVAILABLE",
            other => panic!("{other}"),
        };
        assert_eq!(code, expected);
    }
}

#[test]
fn problem_details_follow_rfc_9457() {
    let errors = ErrorBodies::problem_details().with_text(
        PublicReason::ForbiddenTier,
        ErrorText::new("Upgrade.")
            .with_type("https://example.com/probs/tier", "Wrong tier")
            .with_code("TIER")
            .with_field("upgrade_url", "https://example.com"),
    );
    let rendered = errors.render(&facts(PublicReason::ForbiddenTier));
    assert_eq!(rendered.content_type, "application/problem+json");
    assert_eq!(
        rendered.as_str(),
        r#"{"type":"https://example.com/probs/tier","title":"Wrong tier","status":403,"detail":"Upgrade.","code":"TIER","upgrade_url":"https://example.com"}"#
    );
    assert_eq!(
        text(&errors, PublicReason::RateLimited),
        r#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"Rate limit exceeded"}"#
    );
    for reason in PublicReason::ALL {
        assert_eq!(json_of(&errors, reason)["status"], reason.status());
    }
}

#[test]
fn a_custom_body_function_receives_facts_and_message() {
    let errors = ErrorBodies::custom(|facts, message| ErrorBody {
        content_type: "text/plain",
        bytes: format!("{} {:?} {message}", facts.reason.status(), facts.retry_after_secs).into(),
    })
    .with_text(PublicReason::RateLimited, "wait {retry_after}");
    let body = errors.render(&facts(PublicReason::RateLimited));
    assert_eq!(body.as_str(), "429 Some(12) wait 12");
    assert_eq!(body.content_type, "text/plain");
}

#[test]
fn reasons_are_merged_or_distinguished_as_configured() {
    let of_401: Vec<PublicReason> =
        PublicReason::ALL.into_iter().filter(|reason| reason.status() == 401).collect();
    let merged = ErrorBodies::flat()
        .with_text(PublicReason::ExpiredKey, "Expired")
        .with_unauthenticated("Missing or invalid bearer token")
        .with_forbidden("No");
    for reason in &of_401 {
        assert_eq!(
            text(&merged, *reason),
            r#"{"error":"Missing or invalid bearer token"}"#,
            "{reason:?}"
        );
    }
    assert_eq!(of_401.len(), 8);
    for reason in PublicReason::ALL.into_iter().filter(|reason| reason.status() == 403) {
        assert_eq!(text(&merged, reason), r#"{"error":"No"}"#);
    }
    let precise = ErrorBodies::flat()
        .with_text(PublicReason::InvalidKey, "Invalid")
        .with_text(PublicReason::ExpiredKey, "Expired");
    for (reason, message) in [
        (PublicReason::MissingKey, "Missing API key"),
        (PublicReason::InvalidKey, "Invalid"),
        (PublicReason::RevokedKey, "Invalid"),
        (PublicReason::SuspendedKey, "Invalid"),
        (PublicReason::RetiredKey, "Invalid"),
        (PublicReason::ExpiredKey, "Expired"),
    ] {
        assert_eq!(json_of(&precise, reason), json!({"error": message}), "{reason:?}");
        assert_eq!(precise.message(&facts(reason)), message);
    }
    // The last setting wins, also after a merged one.
    let last = merged
        .with_text(PublicReason::MissingKey, "Missing")
        .with_text(PublicReason::MissingKey, "None");
    assert_eq!(json_of(&last, PublicReason::MissingKey), json!({"error": "None"}));
    assert_eq!(
        json_of(&last, PublicReason::RevokedKey)["error"],
        "Missing or invalid bearer token"
    );
}

fn built(errors: ErrorBodies) -> Result<Gate, ConfigError> {
    let verifier = Verifier::new(KeyHasher::sha256());
    Gate::builder(KeyFormat::hex("k_"), verifier, CredentialSource::bearer())
        .with_challenge(Challenge::bearer("r").unwrap())
        .with_errors(errors)
        .build()
}

#[test]
fn texts_that_cannot_be_rendered_fail_the_gate_build() {
    use PublicReason::{InvalidKey, MissingScope, RateLimited, TooManyAttempts};

    let placeholder = |reason| format!("the text for {reason:?} has braces");
    let unfilled = |reason| format!("the text for {reason:?} uses a placeholder or field");
    let duplicate = |reason| format!("the text for {reason:?} has two fields");
    for (reason, text, error) in [
        (RateLimited, ErrorText::new("{retry_afer}"), placeholder(RateLimited)),
        (RateLimited, ErrorText::new("{"), placeholder(RateLimited)),
        (RateLimited, ErrorText::new("a } b"), placeholder(RateLimited)),
        (RateLimited, ErrorText::new("{{retry_after}"), placeholder(RateLimited)),
        (RateLimited, ErrorText::new("{ scope }"), placeholder(RateLimited)),
        (RateLimited, ErrorText::new("{scope}"), unfilled(RateLimited)),
        (InvalidKey, ErrorText::new("{retry_after}"), unfilled(InvalidKey)),
        (InvalidKey, ErrorText::new("a").with_retry_after("b"), unfilled(InvalidKey)),
        (MissingScope, ErrorText::new("a").with_retry_after("b"), unfilled(MissingScope)),
        (RateLimited, ErrorText::new("a").with_missing_scope("b"), unfilled(RateLimited)),
        (RateLimited, ErrorText::new("a").with_field("error", "b"), duplicate(RateLimited)),
        (
            RateLimited,
            ErrorText::new("a").with_field("b", "c").with_retry_after("b"),
            duplicate(RateLimited),
        ),
    ] {
        let refused = built(ErrorBodies::flat().with_text(reason, text.clone()));
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ConfigErrorKind::Text, "{text:?}");
        assert!(refused.to_string().starts_with(&error), "{text:?}: {refused}");
    }
    for (reason, text) in [
        (RateLimited, ErrorText::new("{retry_after}").with_retry_after("retry_after")),
        (TooManyAttempts, ErrorText::new("{{{retry_after}}}")),
        (MissingScope, ErrorText::new("{scope}{scope}").with_missing_scope("s")),
        (InvalidKey, ErrorText::new("{{scope}}")),
        (InvalidKey, ErrorText::new("")),
    ] {
        built(ErrorBodies::flat().with_text(reason, text.clone()))
            .unwrap_or_else(|e| panic!("{text:?}: {e}"));
    }
    // Field names reserved in one shape are allowed in another.
    let text = ErrorText::new("a").with_field("message", "b");
    assert!(built(ErrorBodies::flat().with_text(RateLimited, text.clone())).is_ok());
    assert!(built(ErrorBodies::nested().with_text(RateLimited, text)).is_err());
    let text = ErrorText::new("a").with_field("detail", "b");
    assert!(built(ErrorBodies::problem_details().with_text(RateLimited, text)).is_err());
}

proptest! {
    #[test]
    fn any_message_and_field_round_trips_through_json(message in any::<String>(), name in any::<String>(), value in any::<String>()) {
        prop_assume!(!["error", "code", "message", "type", "title", "status", "detail", "instance"].contains(&&*name));
        let literal = message.replace('{', "{{").replace('}', "}}");
        let text = ErrorText::new(literal).with_field(name.clone(), value.clone());
        let reason = PublicReason::InvalidKey;
        let flat = ErrorBodies::flat().with_text(reason, text.clone());
        prop_assert_eq!(json_of(&flat, reason), json!({"error": message, name.clone(): value}));
        let nested = ErrorBodies::nested().with_text(reason, text.clone());
        let inner = json!({"code": "UNAUTHORIZED", "message": message, name.clone(): value});
        prop_assert_eq!(json_of(&nested, reason), json!({"error": inner}));
        let problem = json_of(&ErrorBodies::problem_details().with_text(reason, text), reason);
        prop_assert_eq!(&problem["detail"], &json!(message));
        prop_assert_eq!(&problem[&name], &json!(value));
    }
}
