//! Credential extraction from header lines and queries, compared with an independent implementation
//! of the rules, and the redaction of queries.

#![no_main]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use keyward::{
    CredentialSource,
    request::{CredentialError, CredentialSources, redact_query},
};
use keyward_fuzz::{Head, percent_decoded, percent_encoded};
use libfuzzer_sys::fuzz_target;

const TOKENS: [&[u8]; 6] = [
    b"lqt_0123",
    b"luc_pk_%41b",
    b"a+b/c~d==",
    b"",
    b"a=1; api_key=lqt_0123; api_key=",
    b"apikey  lqt_0123",
];
/// A text that must never appear in a redacted URL; no other part of the input contains it.
const SECRET: &str = "lqt_5ec2e7";
/// Names that contain separators or percent-encoding.
const ODD_NAMES: [&str; 6] = ["a;b", "a?b", "a=b", "a&b", " a ", "%41"];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    places: Vec<Place<'a>>,
    refuse_several: bool,
    head: Head<'a>,
    url: &'a str,
    names: Vec<&'a str>,
    path: &'a str,
    parameters: Vec<Parameter<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Place<'a> {
    Header,
    Bearer,
    Query,
    OtherHeader(&'a str),
    OtherQuery(&'a str),
    OtherScheme,
    Cookie,
}

/// A URL parameter with a known secret.
#[derive(Arbitrary, Debug)]
enum Parameter<'a> {
    StoredSecret {
        encoded: u16,
        upper: bool,
        blanks: bool,
        separator: u8,
        more: &'a str,
    },
    /// A name with special characters, unencoded where a query allows that.
    OddlyNamed {
        which: u8,
        more: &'a str,
    },
    Other(&'a str),
}

fuzz_target!(|input: Input<'_>| {
    let places: Vec<&Place<'_>> = input.places.iter().take(4).collect();
    let sources = places.iter().map(|place| place.source());
    let sources = if input.refuse_several {
        CredentialSources::one_of(sources)
    } else {
        CredentialSources::first_of(sources)
    };

    extracts_as_expected(&input, &places, &sources);
    hides_what_is_extracted(&input, &places, &sources);

    let mut names: Vec<&str> = input.names.iter().take(4).copied().collect();
    redacts_exactly(input.url, &names);
    names.push("api_key");
    redacts_exactly(input.url, &names);
    hides_secrets(&input);
});

fn extracts_as_expected(input: &Input<'_>, places: &[&Place<'_>], sources: &CredentialSources) {
    let expected = expected(input, places);
    let head = input.head.plain(&TOKENS);
    let credential = sources.extract(&head);
    match (&credential, &expected) {
        (Ok(Some(credential)), Ok(Some((token, at)))) => {
            assert_eq!(credential.token(), token);
            assert_eq!(credential.source(), &places[*at].source());
            // Debug output never contains the credential.
            let shown = format!("{credential:?}");
            assert!(shown.starts_with("Credential { source: ") && shown.len() < 600, "{shown}");
        }
        (Ok(None), Ok(None)) => {}
        (Err(error), Err(other)) => {
            assert_eq!(error, other);
            assert!(matches!(error.status(), 400 | 401));
        }
        _ => panic!("{credential:?}, expected {expected:?}"),
    }
}

/// Returns the expected token and the index of its source, by the documented rules.
fn expected(
    input: &Input<'_>,
    places: &[&Place<'_>],
) -> Result<Option<(Vec<u8>, usize)>, CredentialError> {
    let mut found = Vec::new();
    for (at, place) in places.iter().enumerate() {
        // An empty place is absent.
        if let Some(token) = place.read(&input.head)?.filter(|token| !token.is_empty()) {
            found.push((token, at));
            if !input.refuse_several {
                break;
            }
            if found.iter().any(|(token, _)| *token != found[0].0) {
                return Err(CredentialError::SeveralSources);
            }
        }
    }
    if found.len() > 1 {
        return Err(CredentialError::Repeated);
    }
    match found.into_iter().next() {
        Some((token, at))
            if matches!(places[at], Place::Bearer | Place::OtherScheme) && !is_token68(&token) =>
        {
            Err(CredentialError::Token68)
        }
        found => Ok(found),
    }
}

/// A credential found in a query is missing from the redacted query.
fn hides_what_is_extracted(input: &Input<'_>, places: &[&Place<'_>], sources: &CredentialSources) {
    let Some(query) = input.head.query_bytes(&TOKENS) else { return };
    let Ok(query) = str::from_utf8(&query) else { return };
    // A fragment is not part of a query.
    if query.contains('#') {
        return;
    }
    let redacted = sources.redact(&format!("/p?{query}")).into_owned();
    let redacted = redacted.strip_prefix("/p?").expect("the path is kept");
    for place in places {
        let alone = CredentialSources::from(place.source());
        let head = keyward::request::PlainHead::new().with_query(redacted);
        match alone.extract(&head) {
            Ok(Some(left)) => assert!(
                left.token() == b"REDACTED",
                "{redacted:?} still contains {:?}",
                left.token().escape_ascii()
            ),
            Ok(None) | Err(CredentialError::Conflict) => {}
            Err(error) => panic!("{redacted:?}: {error}"),
        }
    }
}

/// For any URL, redaction replaces the values of these names and changes no other byte.
fn redacts_exactly(url: &str, names: &[&str]) {
    let redacted = redact_query(url, names);
    assert_eq!(redact_query(&redacted, names), redacted, "redaction is idempotent");
    let Some((path, query)) = url.split_once('?') else {
        assert_eq!(redacted, url);
        return;
    };
    let rest = redacted.strip_prefix(path).and_then(|rest| rest.strip_prefix('?'));
    let redacted = rest.expect("the path is kept");

    let ends = |text: &str| text.matches(['&', '#']).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(ends(query), ends(redacted));
    let parts = query.split(['&', '#']).zip(redacted.split(['&', '#']));
    for (part, redacted) in parts {
        let value = secret_value(part, names);
        let expected = match value {
            Some(at) => format!("{}REDACTED", &part[..at]),
            None => part.to_owned(),
        };
        assert_eq!(redacted, expected);
    }
}

/// Returns the start of the first value that any server could read as a value of a secret
/// parameter.
fn secret_value(part: &str, names: &[&str]) -> Option<usize> {
    let is_secret = |raw: &str| {
        names.iter().any(|name| {
            let decoded = percent_decoded(raw.as_bytes());
            let plain = |text: &[u8]| text.trim_ascii().to_ascii_lowercase();
            plain(raw.as_bytes()) == plain(name.as_bytes())
                || decoded.is_some_and(|decoded| plain(&decoded) == plain(name.as_bytes()))
        })
    };
    let starts = [0].into_iter().chain(part.match_indices([';', '?']).map(|(at, _)| at + 1));
    let mut values: Vec<usize> = Vec::new();
    for start in starts {
        let piece = &part[start..];
        let Some(equals) = piece.find('=') else { continue };
        // A name ends at the next separator, or, for a server without that separator, at the `=`.
        if (start == 0 || !piece[..equals].contains([';', '?'])) && is_secret(&piece[..equals]) {
            values.push(start + equals + 1);
        }
    }
    values.into_iter().min()
}

/// Redaction removes a secret at every position and for every encoding of its name.
fn hides_secrets(input: &Input<'_>) {
    let mut url = format!("{}?", input.path);
    let mut parameters = input.parameters.iter().take(8).peekable();
    while let Some(parameter) = parameters.next() {
        let separator = match parameter {
            Parameter::Other(text) => {
                url.push_str(text);
                0
            }
            Parameter::StoredSecret { encoded, upper, blanks, separator, more } => {
                let name = if *upper { "API_Key" } else { "api_key" };
                let name = percent_encoded(name.as_bytes(), *encoded);
                let name = String::from_utf8(name).expect("ASCII");
                let name = if *blanks { format!("%20{name}%09") } else { name };
                url.push_str(&format!("{name}={SECRET}{more}"));
                *separator
            }
            Parameter::OddlyNamed { which, more } => {
                let name = ODD_NAMES[usize::from(*which) % ODD_NAMES.len()];
                let name = name.replace('=', "%3d").replace('&', "%26");
                url.push_str(&format!("&{name}={SECRET}{more}"));
                0
            }
        };
        if parameters.peek().is_some() {
            url.push(['&', '#', ';', '?'][usize::from(separator % 4)]);
        }
    }
    // Only if no other part contains the secret.
    let others = input.parameters.iter().map(|parameter| match parameter {
        Parameter::Other(text) => *text,
        Parameter::StoredSecret { more, .. } | Parameter::OddlyNamed { more, .. } => more,
    });
    if others.chain([input.path]).any(|text| text.contains(SECRET)) {
        return;
    }
    let names = ODD_NAMES.into_iter().chain(["api_key"]).collect::<Vec<_>>();
    let redacted = redact_query(&url, &names);
    assert!(!redacted.contains(SECRET), "{url:?} became {redacted:?}");
}

impl Place<'_> {
    fn source(&self) -> CredentialSource {
        match self {
            Self::Header => CredentialSource::header("X-Api-Key"),
            Self::Bearer => CredentialSource::bearer(),
            Self::Query => CredentialSource::query("api_key"),
            Self::OtherHeader(name) => CredentialSource::header(name),
            Self::OtherScheme => CredentialSource::authorization("ApiKey"),
            Self::Cookie => CredentialSource::cookie("api_key"),
            Self::OtherQuery(name) => CredentialSource::query(name),
        }
    }

    /// Returns the credential of this source, by the documented rules.
    fn read(&self, head: &Head<'_>) -> Result<Option<Vec<u8>>, CredentialError> {
        let line = |name: &str| {
            let values: BTreeSet<Vec<u8>> = head.values(name, &TOKENS).into_iter().collect();
            if values.len() > 1 {
                return Err(CredentialError::Conflict);
            }
            Ok(values.into_iter().next())
        };
        match self {
            Self::Header => line("x-api-key"),
            Self::OtherHeader(name) => line(name),
            Self::Bearer => {
                Ok(line("authorization")?.and_then(|value| token_after("bearer", &value)))
            }
            Self::OtherScheme => {
                Ok(line("authorization")?.and_then(|value| token_after("apikey", &value)))
            }
            Self::Cookie => cookie(head),
            Self::Query => parameter(head, "api_key"),
            Self::OtherQuery(name) => parameter(head, name),
        }
    }
}

fn token_after(scheme: &str, value: &[u8]) -> Option<Vec<u8>> {
    let start = format!("{scheme} ");
    if !value.to_ascii_lowercase().starts_with(start.as_bytes()) {
        return None;
    }
    Some(value[start.len()..].iter().copied().skip_while(|byte| *byte == b' ').collect())
}

fn cookie(head: &Head<'_>) -> Result<Option<Vec<u8>>, CredentialError> {
    let mut values = BTreeSet::new();
    for line in head.values("cookie", &TOKENS) {
        for pair in line.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
            if &pair[..equals] == b"api_key" && equals + 1 < pair.len() {
                values.insert(pair[equals + 1..].to_vec());
            }
        }
    }
    if values.len() > 1 { Err(CredentialError::Conflict) } else { Ok(values.into_iter().next()) }
}

fn parameter(head: &Head<'_>, name: &str) -> Result<Option<Vec<u8>>, CredentialError> {
    let Some(query) = head.query_bytes(&TOKENS) else { return Ok(None) };
    let mut raw_values = BTreeSet::new();
    for pair in query.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (raw_name, raw) = (&pair[..equals], pair.get(equals + 1..).unwrap_or_default());
        let decoded = percent_decoded(raw_name);
        if raw.is_empty() {
            continue;
        }
        if raw_name == name.as_bytes() || decoded.is_some_and(|own| own == name.as_bytes()) {
            raw_values.insert(raw.to_vec());
        }
    }
    let decoded: BTreeSet<Option<Vec<u8>>> =
        raw_values.iter().map(|raw| percent_decoded(raw)).collect();
    let mut decoded = decoded.into_iter();
    match (decoded.next(), decoded.next()) {
        (None, _) => Ok(None),
        // The same raw value sent twice counts as one value, even if it cannot be decoded.
        (Some(None), None) if raw_values.len() == 1 => Err(CredentialError::PercentEncoding),
        (Some(Some(value)), None) => Ok(Some(value)),
        _ => Err(CredentialError::Conflict),
    }
}

fn is_token68(token: &[u8]) -> bool {
    let text = String::from_utf8_lossy(token);
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c))
}
