//! Credential extraction from headers and queries: exact parsing, and at most one credential.

use std::borrow::Cow;

use keyward::{
    CredentialSource,
    request::{CredentialError, CredentialSources, PlainHead, RequestHead, redact_query},
};
use proptest::prelude::*;

const SECRET: &str = "s3cr3t-value";

fn bearer() -> CredentialSources {
    CredentialSource::bearer().into()
}

fn header() -> CredentialSources {
    CredentialSource::header("X-Api-Key").into()
}

fn query() -> CredentialSources {
    CredentialSource::query("api_key").into()
}

/// The extracted credential, as an owned value.
fn extract(
    sources: &CredentialSources,
    head: &PlainHead,
) -> Result<Option<Vec<u8>>, CredentialError> {
    sources.extract(head).map(|found| found.map(|found| found.token().to_vec()))
}

fn lines(name: &str, values: &[&[u8]]) -> PlainHead {
    values.iter().fold(PlainHead::new(), |head, value| head.with_header(name, value))
}

#[test]
fn bearer_tokens_are_extracted_exactly() {
    use CredentialError::Token68;

    #[expect(clippy::type_complexity, reason = "a header line and the expected result")]
    let table: [(&[u8], Result<Option<&[u8]>, CredentialError>); 30] = [
        (b"Bearer abc", Ok(Some(b"abc"))),
        (b"bearer abc", Ok(Some(b"abc"))),
        (b"BEARER abc", Ok(Some(b"abc"))),
        (b"bEaReR    abc", Ok(Some(b"abc"))),
        (b"Bearer aB0-._~+/==", Ok(Some(b"aB0-._~+/=="))),
        // The scheme without a token is no credential.
        (b"Bearer", Ok(None)),
        (b"Bearer ", Ok(None)),
        (b"Bearer    ", Ok(None)),
        // The scheme without a valid token68 after it.
        (b"Bearer =", Err(Token68)),
        (b"Bearer a=b", Err(Token68)),
        (b"Bearer a b", Err(Token68)),
        (b"Bearer abc ", Err(Token68)),
        (b"Bearer \tabc", Err(Token68)),
        (b"Bearer abc,", Err(Token68)),
        (b"Bearer a, Bearer b", Err(Token68)),
        (b"Bearer \"abc\"", Err(Token68)),
        (b"Bearer a\0c", Err(Token68)),
        (b"Bearer a\r\nc", Err(Token68)),
        (b"Bearer \x80abc", Err(Token68)),
        (b"Bearer abc\xff", Err(Token68)),
        ("Bearer ａｂｃ".as_bytes(), Err(Token68)),
        (b"Bearer realm=\"x\"", Err(Token68)),
        // Another scheme is not a bearer token.
        (b"", Ok(None)),
        (b"abc", Ok(None)),
        (b"Bearerabc", Ok(None)),
        (b"Bearer\tabc", Ok(None)),
        (b" Bearer abc", Ok(None)),
        (b"Basic YWJj", Ok(None)),
        (b"Beare abc", Ok(None)),
        ("Ｂearer abc".as_bytes(), Ok(None)),
    ];
    for (line, expected) in table {
        for name in ["Authorization", "authorization", "AUTHORIZATION"] {
            let found = extract(&bearer(), &lines(name, &[line]));
            assert_eq!(found, expected.map(|token| token.map(<[u8]>::to_vec)), "{line:?}");
        }
    }
    assert_eq!(extract(&bearer(), &PlainHead::new()), Ok(None));
    assert_eq!(extract(&bearer(), &lines("Proxy-Authorization", &[b"Bearer abc"])), Ok(None));
}

#[test]
fn a_dedicated_header_contains_only_the_key() {
    for value in [&b"abc"[..], b"a b", b"a, b", b"\xff\0", b"Bearer abc"] {
        let found = extract(&header(), &lines("x-aPi-kEy", &[value]));
        assert_eq!(found, Ok(Some(value.to_vec())), "{value:?}");
    }
    assert_eq!(extract(&header(), &lines("x-api-key", &[b""])), Ok(None));
    assert_eq!(extract(&header(), &lines("x-api-key2", &[b"abc"])), Ok(None));
    assert_eq!(extract(&header(), &lines("authorization", &[b"Bearer abc"])), Ok(None));
}

#[test]
fn query_parameters_are_decoded_strictly() {
    use CredentialError::{Conflict, PercentEncoding};

    let table: [(&str, Result<Option<&str>, CredentialError>); 32] = [
        ("api_key=abc", Ok(Some("abc"))),
        ("v=1&api_key=abc&w=2", Ok(Some("abc"))),
        ("api_key=a%62c", Ok(Some("abc"))),
        ("api%5Fkey=abc", Ok(Some("abc"))),
        ("api%5fkey=abc", Ok(Some("abc"))),
        ("api_key=a=b", Ok(Some("a=b"))),
        ("api_key=abc%20", Ok(Some("abc "))),
        ("api_key=abc+", Ok(Some("abc+"))),
        // An empty parameter is no credential.
        ("api_key=", Ok(None)),
        ("api_key", Ok(None)),
        ("api_key=&api_key", Ok(None)),
        ("api_key=&api_key=abc", Ok(Some("abc"))),
        ("api_key=abc&api_key", Ok(Some("abc"))),
        ("api_key=&api_key=%", Err(PercentEncoding)),
        ("&&api_key=abc&&", Ok(Some("abc"))),
        // Parameter names are case-sensitive.
        ("API_KEY=abc", Ok(None)),
        ("api_key2=abc", Ok(None)),
        ("xapi_key=abc", Ok(None)),
        ("api+key=abc", Ok(None)),
        ("x=api_key=abc", Ok(None)),
        ("x=1;api_key=abc", Ok(None)),
        ("api%5key=abc", Ok(None)),
        ("", Ok(None)),
        // Broken percent-encoding is not a value.
        ("api_key=abc%", Err(PercentEncoding)),
        ("api_key=abc%4", Err(PercentEncoding)),
        ("api_key=%zzabc", Err(PercentEncoding)),
        ("api_key=%+1abc", Err(PercentEncoding)),
        // Repeating the same value is allowed.
        ("api_key=abc&api_key=abc", Ok(Some("abc"))),
        ("api_key=abc&api%5Fkey=%61bc", Ok(Some("abc"))),
        ("api_key=abc&api_key=abd", Err(Conflict)),
        ("api_key=abc&x=1&api%5Fkey=", Ok(Some("abc"))),
        ("api_key=abc&api_key=&api_key=abd", Err(Conflict)),
    ];
    for (text, expected) in table {
        let found = extract(&query(), &PlainHead::new().with_query(text));
        assert_eq!(found, expected.map(|token| token.map(|t| t.as_bytes().to_vec())), "{text:?}");
    }
    assert_eq!(extract(&query(), &PlainHead::new()), Ok(None));
    let broken_twice = PlainHead::new().with_query("api_key=%&api_key=%%");
    assert_eq!(extract(&query(), &broken_twice), Err(Conflict));
}

#[test]
fn two_different_values_of_one_credential_are_rejected() {
    let same: [&[u8]; 2] = [b"Bearer a", b"Bearer a"];
    assert_eq!(extract(&bearer(), &lines("authorization", &same)), Ok(Some(b"a".to_vec())));
    assert_eq!(extract(&header(), &lines("x-api-key", &same)), Ok(Some(b"Bearer a".to_vec())));
    for values in [
        [&b"Bearer a"[..], b"Bearer b"],
        [b"Bearer a", b"bearer a"],
        [b"Bearer a", b"Basic a"],
        [b"Basic a", b"Bearer a"],
        [b"", b"Bearer a"],
    ] {
        let head = lines("authorization", &values);
        assert_eq!(extract(&bearer(), &head), Err(CredentialError::Conflict), "{values:?}");
        let head = lines("x-api-key", &values);
        assert_eq!(extract(&header(), &head), Err(CredentialError::Conflict), "{values:?}");
    }
    assert_eq!(CredentialError::Conflict.status(), 400);
    assert_eq!(CredentialError::SeveralSources.status(), 400);
    assert_eq!(CredentialError::Repeated.status(), 400);
    assert_eq!(CredentialError::Token68.status(), 401);
    assert_eq!(CredentialError::PercentEncoding.status(), 401);
}

#[test]
fn several_sources_follow_their_order_or_conflict() {
    let places = || {
        [
            CredentialSource::header("x-api-key"),
            CredentialSource::bearer(),
            CredentialSource::query("api_key"),
        ]
    };
    let first = CredentialSources::first_of(places());
    let one = CredentialSources::one_of(places());
    // Header, bearer and query values; then the result of the first source and of the single
    // source.
    for mask in 0..8_u8 {
        let mut head = PlainHead::new();
        if mask & 4 != 0 {
            head = head.with_header("x-api-key", "header");
        }
        if mask & 2 != 0 {
            head = head.with_header("authorization", "Bearer bearer");
        }
        if mask & 1 != 0 {
            head = head.with_query("api_key=query");
        }
        let expected = match mask {
            0 => None,
            1 => Some("query"),
            2 | 3 => Some("bearer"),
            _ => Some("header"),
        };
        let expected = expected.map(|token| token.as_bytes().to_vec());
        assert_eq!(extract(&first, &head), Ok(expected.clone()), "{mask:b}");
        // The three values differ.
        let alone =
            if mask.count_ones() > 1 { Err(CredentialError::SeveralSources) } else { Ok(expected) };
        assert_eq!(extract(&one, &head), alone, "{mask:b}");
    }
    // Sources after the first match are ignored, even if they are malformed.
    let head = lines("x-api-key", &[b"a"]).with_query("api_key=%&api_key=b");
    assert_eq!(extract(&first, &head), Ok(Some(b"a".to_vec())));
    // A foreign scheme is skipped in favour of the next source.
    let head = lines("authorization", &[b"Basic a"]).with_query("api_key=b");
    assert_eq!(extract(&one, &head), Ok(Some(b"b".to_vec())));
    assert_eq!(first.header_names().collect::<Vec<_>>(), ["x-api-key", "authorization"]);
}

#[test]
fn a_scheme_of_any_name_is_read_from_authorization() {
    let sources = CredentialSources::first_of([
        CredentialSource::authorization("ApiKey"),
        CredentialSource::bearer(),
    ]);
    for (line, expected) in [
        (&b"ApiKey abc"[..], Ok(Some(&b"abc"[..]))),
        (b"apikey   abc", Ok(Some(b"abc"))),
        (b"APIKEY abc==", Ok(Some(b"abc=="))),
        (b"Bearer abc", Ok(Some(b"abc"))),
        (b"ApiKey a b", Err(CredentialError::Token68)),
        (b"ApiKey", Ok(None)),
        (b"ApiKey  ", Ok(None)),
        (b"ApiKeyabc", Ok(None)),
        (b"ApiKey\tabc", Ok(None)),
        (b"Api abc", Ok(None)),
        (b"Basic abc", Ok(None)),
    ] {
        let found = extract(&sources, &lines("authorization", &[line]));
        assert_eq!(found, expected.map(|token| token.map(<[u8]>::to_vec)), "{line:?}");
    }
    let two = lines("authorization", &[b"ApiKey a", b"Bearer b"]);
    assert_eq!(extract(&sources, &two), Err(CredentialError::Conflict));
    assert!(sources.header_names().all(|name| name == "authorization"));
}

#[test]
fn a_cookie_is_read_by_its_exact_name() {
    let sources = CredentialSources::from(CredentialSource::cookie("api_key"));
    for (cookies, expected) in [
        (&[&b"api_key=abc"[..]][..], Ok(Some(&b"abc"[..]))),
        (&[b"a=1; api_key=abc; b=2"], Ok(Some(b"abc"))),
        (&[b"a=1;api_key=abc"], Ok(Some(b"abc"))),
        // HTTP/2 may send each pair in a line of its own.
        (&[b"a=1", b"api_key=abc"], Ok(Some(b"abc"))),
        (&[b"api_key=a=c"], Ok(Some(b"a=c"))),
        (&[b"api_key=\"abc\""], Ok(Some(b"\"abc\""))),
        (&[b"api_key=a%62c"], Ok(Some(b"a%62c"))),
        (&[b"api_key=abc; api_key=abc"], Ok(Some(b"abc"))),
        (&[b"api_key=; api_key=abc"], Ok(Some(b"abc"))),
        (&[b"api_key=abc; api_key=abd"], Err(CredentialError::Conflict)),
        (&[b"api_key=abc", b"api_key=abd"], Err(CredentialError::Conflict)),
        (&[b"api_key="], Ok(None)),
        (&[b"api_key"], Ok(None)),
        (&[b"API_KEY=abc"], Ok(None)),
        (&[b"xapi_key=abc; api_key2=abc"], Ok(None)),
        (&[b"x=api_key=abc"], Ok(None)),
        (&[b"api_key =abc"], Ok(None)),
        (&[b""], Ok(None)),
    ] {
        let found = extract(&sources, &lines("Cookie", cookies));
        assert_eq!(found, expected.map(|token| token.map(<[u8]>::to_vec)), "{cookies:?}");
    }
    assert_eq!(extract(&sources, &PlainHead::new().with_query("api_key=abc")), Ok(None));
    assert_eq!(sources.header_names().collect::<Vec<_>>(), ["cookie"]);
}

/// Every way to send a place without a key in it.
fn empty_places() -> [PlainHead; 6] {
    [
        lines("x-api-key", &[b""]),
        lines("x-api-key", &[b"", b""]),
        lines("authorization", &[b"Bearer"]),
        lines("authorization", &[b"bearer  "]),
        PlainHead::new().with_query("api_key="),
        PlainHead::new().with_query("api_key&api_key=&v=1"),
    ]
}

#[test]
fn an_empty_place_is_absent_in_every_source() {
    let places = [
        CredentialSource::header("x-api-key"),
        CredentialSource::bearer(),
        CredentialSource::query("api_key"),
    ];
    for sources in [CredentialSources::first_of(places.clone()), CredentialSources::one_of(places)]
    {
        for empty in empty_places() {
            assert_eq!(extract(&sources, &empty), Ok(None), "{empty:?}");
        }
        // A key in any other place is found, before and behind the empty one.
        for (empty, key) in [
            (lines("x-api-key", &[b""]), "authorization"),
            (lines("x-api-key", &[b""]), "query"),
            (lines("authorization", &[b"Bearer "]), "x-api-key"),
            (lines("authorization", &[b"Bearer"]), "query"),
            (PlainHead::new().with_query("api_key="), "x-api-key"),
            (PlainHead::new().with_query("api_key"), "authorization"),
        ] {
            let head = match key {
                "authorization" => empty.with_header(key, "Bearer abc"),
                "x-api-key" => empty.with_header(key, "abc"),
                _ => empty.with_query("api_key=&api_key=abc"),
            };
            assert_eq!(extract(&sources, &head), Ok(Some(b"abc".to_vec())), "{head:?}");
        }
    }
    // Two different lines of one header conflict: a proxy may have read the other one.
    let head = lines("x-api-key", &[b"", b"abc"]);
    assert_eq!(extract(&header(), &head), Err(CredentialError::Conflict));
}

#[test]
fn the_same_value_in_two_places_is_an_error_of_its_own() {
    let one = CredentialSources::one_of([
        CredentialSource::header("x-api-key"),
        CredentialSource::bearer(),
        CredentialSource::query("api_key"),
    ]);
    let head = lines("x-api-key", &[b"abc"]).with_query("api_key=a%62c");
    assert_eq!(extract(&one, &head), Err(CredentialError::Repeated));
    let head = head.with_header("authorization", "Bearer abc");
    assert_eq!(extract(&one, &head), Err(CredentialError::Repeated));
    let head = head.with_query("api_key=abd");
    assert_eq!(extract(&one, &head), Err(CredentialError::SeveralSources));
}

#[test]
fn debug_hides_the_extracted_credential() {
    let head = lines("authorization", &[format!("Bearer {SECRET}").as_bytes()])
        .with_query(format!("api_key={SECRET}"));
    for sources in [bearer(), query()] {
        let credential = sources.extract(&head).unwrap().unwrap();
        assert_eq!(credential.token(), SECRET.as_bytes());
        assert!(!format!("{credential:?}").contains(SECRET));
    }
    let shown = format!("{head:?} {head:#?}");
    assert!(shown.contains("authorization") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn redaction_replaces_only_secrets() {
    for (url, expected) in [
        ("/a?api_key=S", "/a?api_key=REDACTED"),
        ("/a?x=1&api_key=S&y=%41", "/a?x=1&api_key=REDACTED&y=%41"),
        ("/a?api_key=S&api_key=S2", "/a?api_key=REDACTED&api_key=REDACTED"),
        ("/a?api%5Fkey=S&x", "/a?api%5Fkey=REDACTED&x"),
        ("/a?%61pi_key=S", "/a?%61pi_key=REDACTED"),
        ("/a?API_Key=S", "/a?API_Key=REDACTED"),
        ("/a?api_key=S=S2", "/a?api_key=REDACTED"),
        ("/a?api_key=S;S2", "/a?api_key=REDACTED"),
        ("/a?api_key=S?S2", "/a?api_key=REDACTED"),
        ("/a?x=1;api_key=S;y=2&z", "/a?x=1;api_key=REDACTED&z"),
        ("/a?x=1?api_key=S", "/a?x=1?api_key=REDACTED"),
        ("/a?api_key=S#frag", "/a?api_key=REDACTED#frag"),
        ("https://h/#/spa?api_key=S", "https://h/#/spa?api_key=REDACTED"),
        ("/a?x=1#?api_key=S", "/a?x=1#?api_key=REDACTED"),
        ("?api_key=S", "?api_key=REDACTED"),
        ("/a?token=S&api_key=S", "/a?token=REDACTED&api_key=REDACTED"),
        ("/a?api_key=", "/a?api_key=REDACTED"),
        ("/ä?ö=ü&api_key=S&ß", "/ä?ö=ü&api_key=REDACTED&ß"),
    ] {
        assert_eq!(redact_query(url, &["api_key", "token"]), expected, "{url}");
    }
    // Names that contain separators or percent-encoding: a parameter whose raw name is exactly this
    // text is redacted.
    for (name, url, expected) in [
        ("a;b", "/p?a;b=S&c", "/p?a;b=REDACTED&c"),
        ("a?b", "/p?x&a?b=S", "/p?x&a?b=REDACTED"),
        ("a=b", "/p?a%3Db=S", "/p?a%3Db=REDACTED"),
        ("a&b", "/p?a%26b=S", "/p?a%26b=REDACTED"),
        (" a ", "/p? a =S", "/p? a =REDACTED"),
        (" a ", "/p?%20a%20=S", "/p?%20a%20=REDACTED"),
        ("%41", "/p?%41=S", "/p?%41=REDACTED"),
    ] {
        assert_eq!(redact_query(url, &[name]), expected, "{name:?}");
        let sources = CredentialSources::from(CredentialSource::query(name));
        assert_eq!(sources.redact(url), expected, "{name:?}");
    }
    for kept in ["", "/a", "/a?", "/a?x=api_key", "/api_key=x", "/a?api_key", "/a?my_api_key=x"] {
        assert!(matches!(redact_query(kept, &["api_key"]), Cow::Borrowed(url) if url == kept));
    }
    let sources = CredentialSources::first_of([
        CredentialSource::header("x-api-key"),
        CredentialSource::query("k"),
    ]);
    assert_eq!(sources.redact("/a?k=S&x-api-key=1"), "/a?k=REDACTED&x-api-key=1");
}

/// A head that returns the same bytes for every header and for the query.
struct Anything(Vec<Vec<u8>>, Option<Vec<u8>>);

impl RequestHead for Anything {
    fn header<'h>(&'h self, _name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    fn query(&self) -> Option<&[u8]> {
        self.1.as_deref()
    }
}

proptest! {
    #[test]
    fn extraction_never_panics_and_returns_only_sent_bytes(
        start in prop::sample::select(vec![&b""[..], b"Bearer ", b"bearer", b"api_key=", b"api%5Fkey=%"]),
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
        sent_query in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
    ) {
        let prefixed = |value: &Vec<u8>| [start, value].concat();
        let head = Anything(values.iter().map(prefixed).collect(), sent_query.as_ref().map(prefixed));
        for sources in [
            bearer(),
            header(),
            query(),
            CredentialSources::one_of([CredentialSource::bearer(), CredentialSource::query("api_key")]),
        ] {
            if let Ok(Some(found)) = sources.extract(&head) {
                let sent = head.0.iter().chain(&head.1).any(|sent| {
                    sent.windows(found.token().len().max(1)).any(|w| w == found.token())
                        || sent.contains(&b'%')
                });
                prop_assert!(sent && !found.token().is_empty());
            }
        }
    }

    /// A redacted URL never contains the value of a secret parameter, whatever surrounds it. A URL
    /// without such a parameter is unchanged.
    #[test]
    fn a_redacted_url_never_contains_the_secret(
        path in "[a-z/#;%]{0,8}",
        before in "([a-z]{1,3}=[a-z%;]{0,5}&){0,3}",
        after in "(&[a-z]{1,3}=[a-z%;#?]{0,5}){0,3}",
        name in prop::sample::select(vec!["api_key", "api%5fkey", "%61pi_key", "Api_Key"]),
    ) {
        let url = format!("{path}?{before}{name}={SECRET}{after}");
        let redacted = redact_query(&url, &["api_key"]);
        prop_assert!(!redacted.contains(SECRET), "{}", redacted);
        prop_assert_eq!(redacted.replacen("REDACTED", SECRET, 1), url);
    }

    #[test]
    fn redaction_never_panics_and_is_idempotent(url in any::<String>()) {
        let once = redact_query(&url, &["api_key", "k"]).into_owned();
        prop_assert_eq!(redact_query(&once, &["api_key", "k"]), once.as_str());
    }
}
