//! Challenges: exact bytes, and a round trip through an independent parser.

use http_auth::parse_challenges;
use keyward::{Challenge, ConfigError, Scope, error::ConfigErrorKind, request::ChallengeErrorCode};
use proptest::prelude::*;

const READ: Scope = Scope::from_static("read:lucent");
const WRITE: Scope = Scope::from_static("write:issues");

/// Returns the scheme and the unescaped parameters, as a client parses them.
fn read(value: &str) -> (String, Vec<(String, String)>) {
    let challenges = parse_challenges(value).unwrap_or_else(|error| panic!("{value}: {error}"));
    let [challenge] = challenges.as_slice() else { panic!("expected one challenge: {value}") };
    let params = challenge.params.iter();
    let params = params.map(|(name, value)| ((*name).to_owned(), value.to_unescaped())).collect();
    (challenge.scheme.to_owned(), params)
}

#[test]
fn challenges_render_to_the_exact_bytes() {
    use ChallengeErrorCode::{InsufficientScope, InvalidRequest, InvalidToken};

    let bearer = || Challenge::bearer("lucitra").unwrap();
    let key = Challenge::api_key("lumiqtrace", "x-api-key").unwrap();
    let scoped = || Challenge::bearer("lucent").unwrap().with_scope_in_place_of_realm();
    for (challenge, scopes, error, expected) in [
        (key.clone(), &[][..], None, r#"ApiKey realm="lumiqtrace", header="x-api-key""#),
        (key, &[READ], Some(InvalidToken), r#"ApiKey realm="lumiqtrace", header="x-api-key""#),
        (bearer(), &[READ], None, r#"Bearer realm="lucitra""#),
        (bearer(), &[], Some(InvalidToken), r#"Bearer realm="lucitra""#),
        (bearer().with_scope(), &[], None, r#"Bearer realm="lucitra""#),
        (
            bearer().with_scope(),
            &[WRITE, READ],
            None,
            r#"Bearer realm="lucitra", scope="write:issues read:lucent""#,
        ),
        (scoped(), &[READ], Some(InvalidToken), r#"Bearer scope="read:lucent""#),
        (scoped(), &[], None, r#"Bearer realm="lucent""#),
        (bearer().with_errors(), &[], None, r#"Bearer realm="lucitra""#),
        (
            bearer().with_errors(),
            &[READ],
            Some(InvalidToken),
            r#"Bearer realm="lucitra", error="invalid_token""#,
        ),
        (
            bearer().with_errors(),
            &[],
            Some(InvalidRequest),
            r#"Bearer realm="lucitra", error="invalid_request""#,
        ),
        (
            scoped().with_errors(),
            &[WRITE],
            Some(InsufficientScope),
            r#"Bearer scope="write:issues", error="insufficient_scope""#,
        ),
        (
            Challenge::new("DPoP", "r").unwrap().with_param("algs", "ES256").unwrap(),
            &[],
            None,
            r#"DPoP realm="r", algs="ES256""#,
        ),
        (
            Challenge::bearer(r#"a "quoted" \ realm"#).unwrap(),
            &[],
            None,
            r#"Bearer realm="a \"quoted\" \\ realm""#,
        ),
    ] {
        let value = challenge.render(scopes, error);
        assert_eq!(value, expected);
        assert!(!read(&value).1.is_empty(), "a bare scheme: {value}");
    }
    let (scheme, params) = read(r#"Bearer realm="a \"quoted\" \\ realm""#);
    assert_eq!((&*scheme, &*params[0].1), ("Bearer", r#"a "quoted" \ realm"#));
}

fn problem(result: Result<Challenge, ConfigError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Challenge);
    error.to_string()
}

#[test]
fn texts_not_allowed_in_a_header_are_rejected() {
    for realm in ["a\r\nSet-Cookie: x", "\n", "\0", "a\tb", "ä", "\u{7f}"] {
        assert!(problem(Challenge::bearer(realm)).contains("printable ASCII"), "{realm:?}");
        assert!(problem(Challenge::api_key("r", realm)).contains("printable ASCII"), "{realm:?}");
    }
    for scheme in ["", "Be arer", "Bearer,", "B\"", "Bä", "a=b"] {
        assert!(problem(Challenge::new(scheme, "r")).contains("Challenge::new"), "{scheme:?}");
    }
    let challenge = || Challenge::bearer("r").unwrap().with_param("x", "1").unwrap();
    for name in ["", "a b", "realm", "Scope", "ERROR", "X", "ä"] {
        assert!(
            problem(challenge().with_param(name, "1")).contains("Challenge::with_param"),
            "{name:?}"
        );
    }
}

proptest! {
    /// Every accepted realm and value parses back unchanged and never adds a challenge or a
    /// parameter.
    #[test]
    fn every_accepted_challenge_parses_back_unchanged(
        realm in "[ -~]{0,40}",
        value in "[ -~]{0,40}",
        scopes in prop::collection::vec("[!#-\\[\\]-~]{1,12}", 0..4),
        style in 0..3_u8,
        error in prop::option::of(Just(ChallengeErrorCode::InvalidToken)),
    ) {
        let scopes: Vec<Scope> = scopes.iter().map(|text| text.parse().unwrap()).collect();
        let challenge = Challenge::new("Bearer", &realm).unwrap().with_param("x", &value).unwrap();
        let challenge = match style {
            0 => challenge,
            1 => challenge.with_scope().with_errors(),
            _ => challenge.with_scope_in_place_of_realm().with_errors(),
        };
        let (scheme, params) = read(&challenge.render(&scopes, error));
        prop_assert_eq!(scheme, "Bearer");
        let scope = scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
        let mut expected = Vec::new();
        if style != 2 || scopes.is_empty() {
            expected.push(("realm".to_owned(), realm));
        }
        expected.push(("x".to_owned(), value));
        if style != 0 && !scopes.is_empty() {
            expected.push(("scope".to_owned(), scope));
        }
        if style != 0 && error.is_some() {
            expected.push(("error".to_owned(), "invalid_token".to_owned()));
        }
        prop_assert_eq!(params, expected);
    }
}
