//! Every text that the library parses: keys in many formats, and the value types.

#![no_main]

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use arbitrary::Arbitrary;
use keyward::{
    KeyFormat, Quotas, Scope, Timestamp,
    error::InvalidText,
    key::{
        KeyFormats, KeyHash, KeyHint, KeyId, KeyKind, KeyName, Owner, OwnerId, ParseError,
        ScopeSet, StoredRecord, Tier,
    },
    quota::{Allowance, Overrides},
    store::Cursor,
};
use libfuzzer_sys::fuzz_target;
use rand::{SeedableRng, rngs::StdRng};
use serde::{Serialize, de::DeserializeOwned};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    formats: Vec<Format<'a>>,
    seed: u64,
    spoil: (u8, u8),
    cut: u8,
    millis: u64,
    token: &'a [u8],
    text: Text<'a>,
    /// A character to insert into the text, and its position.
    edit: Option<(u8, char)>,
}

/// A text that often parses as a value type, because random bytes rarely form hexadecimal.
#[derive(Arbitrary, Debug)]
enum Text<'a> {
    Any(&'a str),
    Characters(Vec<char>),
    Id([u8; 16]),
    Hash(u8, u16, [u8; 32]),
    Cursor(u64, [u8; 16]),
    Instant { year: u16, parts: [u8; 5], fraction: Option<u32>, offset: Option<(u8, u8)> },
}

#[derive(Arbitrary, Debug)]
struct Format<'a> {
    prefix: Prefix<'a>,
    hex: bool,
    length: u8,
    checksum: bool,
    hint: u8,
    successor: Option<u8>,
}

/// Prefixes of one another, and other prefixes.
#[derive(Arbitrary, Debug)]
enum Prefix<'a> {
    Nested(u8),
    Text(&'a str),
}

fuzz_target!(|input: Input<'_>| {
    keys(&input);
    instants(input.millis);
    let mut text = input.text.written();
    nouns(&text);
    structures(&text);
    if let Some((at, character)) = input.edit {
        let places = text.char_indices().count();
        let place = text.char_indices().nth(usize::from(at) % places.max(1));
        text.insert(place.map_or(0, |(place, _)| place), character);
        nouns(&text);
    }
});

fn keys(input: &Input<'_>) {
    let formats: Vec<KeyFormat> =
        input.formats.iter().take(34).filter_map(|format| format.build(&input.formats)).collect();
    for format in &formats {
        serde_round_trip(format);
        assert!(format.scanner_rule().regex.contains(format.kind().as_str()));
    }
    let Ok(formats) = KeyFormats::new(formats) else { return };
    serde_round_trip(&formats);
    reads(&formats, input.token);

    let mut rng = StdRng::seed_from_u64(input.seed);
    for format in formats.iter().take(4) {
        let minted = match format.mint(&mut rng) {
            Ok(minted) => minted,
            Err(error) => {
                assert!(format.successor().is_some(), "only legacy kinds are not minted: {error}");
                continue;
            }
        };
        assert!(format.successor().is_none());
        let token = minted.expose().as_bytes();
        assert_eq!(token.len(), format.token_len());
        let presented = formats.parse(token).expect("a minted key parses");
        assert_eq!(presented.kind(), format.kind(), "a minted key parses as its own kind");
        assert!(minted.expose().starts_with(minted.hint().as_str()));

        // One changed byte, a truncated key and an extended key.
        let mut spoilt = token.to_vec();
        let at = usize::from(input.spoil.0) % spoilt.len();
        spoilt[at] ^= input.spoil.1;
        reads(&formats, &spoilt);
        reads(&formats, &token[..usize::from(input.cut) % token.len()]);
        reads(&formats, &[token, input.token].concat());
        reads(&formats, &[format.kind().as_bytes(), input.token].concat());
    }
}

/// Any token either parses with its longest matching prefix, or returns an error that contains no
/// part of it.
fn reads(formats: &KeyFormats, token: &[u8]) {
    let format = formats
        .iter()
        .filter(|format| token.starts_with(format.kind().as_bytes()))
        .max_by_key(|format| format.kind().as_bytes().len());
    match (formats.parse(token), format) {
        (Ok(presented), Some(format)) => {
            assert_eq!(presented.kind(), format.kind());
            assert_eq!(token.len(), format.token_len());
            let body = &token[format.kind().as_bytes().len()..];
            assert!(body.iter().all(u8::is_ascii_alphanumeric));
            // Debug output contains only the kind.
            let shown = format!("PresentedKey {{ kind: KeyKind({}), .. }}", format.kind());
            assert_eq!(format!("{presented:?}"), shown);
        }
        (Ok(_), None) => panic!("parsed without a known prefix"),
        (Err(error), format) => {
            assert_eq!(error.status(), 401);
            says_nothing(&error);
            match error {
                ParseError::Empty => assert!(token.is_empty()),
                ParseError::UnknownPrefix => assert!(format.is_none() && !token.is_empty()),
                ParseError::TooShort { expected, found } => {
                    assert!(found < expected && found == token.len());
                    assert_eq!(Some(expected), format.map(KeyFormat::token_len));
                }
                ParseError::TooLong { expected, found } => {
                    assert!(found > expected && found == token.len());
                    assert_eq!(Some(expected), format.map(KeyFormat::token_len));
                }
                ParseError::Character { position } => {
                    let start = format.expect("a prefix").kind().as_bytes().len();
                    assert!((start..token.len()).contains(&position));
                    assert!(!matches!(token[position], b'0'..=b'9' | b'a'..=b'f'));
                }
                ParseError::Checksum => assert!(format.is_some()),
                other => panic!("a new error: {other}"),
            }
        }
    }
}

fn instants(millis: u64) {
    let instant = Timestamp::from_unix_millis(millis);
    let text = instant.to_string();
    assert_eq!(text.parse(), Ok(instant));
    assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
    serde_round_trip(&instant);
}

fn nouns(text: &str) {
    // Each of these types has exactly one text form.
    if let Some(kind) = exact::<KeyKind>(text) {
        serde_round_trip(&kind);
        assert!(text.len() <= KeyKind::MAX_LEN && kind.as_bytes() == text.as_bytes());
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
    }
    if let Some(id) = exact::<KeyId>(text) {
        serde_round_trip(&id);
        assert_eq!(KeyId::from_bytes(*id.as_bytes()), id);
    }
    if let Some(hash) = exact::<KeyHash>(text) {
        serde_round_trip(&hash);
        assert_eq!(KeyHash::new(hash.scheme(), *hash.digest()), hash);
        assert!(!format!("{hash:?}").contains(&text[text.len() - 16..]));
    }
    exact::<Cursor>(text);
    if let Some(hint) = exact::<KeyHint>(text) {
        serde_round_trip(&hint);
    }
    if let Some(scope) = exact::<Scope>(text) {
        serde_round_trip(&scope);
        assert!(text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\'));
    }
    name::<KeyName>(text, KeyName::MAX_LEN);
    name::<OwnerId>(text, OwnerId::MAX_LEN);
    name::<Tier>(text, Tier::MAX_LEN);

    match text.parse::<ScopeSet>() {
        Ok(scopes) => {
            assert_eq!(scopes.to_string().parse(), Ok(scopes.clone()));
            serde_round_trip(&scopes);
            assert!(scopes.iter().is_sorted_by(|one, next| one < next));
            let words = if text.is_empty() { 0 } else { text.split(' ').count() };
            assert!(scopes.len() <= words && scopes.len() <= ScopeSet::MAX);
            assert!(
                text.split(' ').take(words).all(|word| scopes.contains(&Scope::new(word).unwrap()))
            );
        }
        Err(error) => repeats_nothing(error),
    }
    match text.parse::<Quotas>() {
        Ok(quotas) => {
            assert_eq!(quotas.to_string().parse(), Ok(quotas));
            serde_round_trip(&quotas);
        }
        Err(error) => repeats_nothing(error),
    }
    match text.parse::<Overrides>() {
        Ok(overrides) => {
            assert_eq!(overrides.to_string().parse(), Ok(overrides.clone()));
            serde_round_trip(&overrides);
            assert!(overrides.len() <= Overrides::MAX);
        }
        Err(error) => repeats_nothing(error),
    }
    match text.parse::<Allowance>() {
        Ok(allowance) => {
            assert_eq!(allowance.to_string().parse(), Ok(allowance));
            serde_round_trip(&allowance);
        }
        Err(error) => repeats_nothing(error),
    }
    match text.parse::<Timestamp>() {
        Ok(instant) => instants(instant.as_unix_millis()),
        Err(error) => repeats_nothing(error),
    }
}

/// A name is rejected if and only if it is empty, blank or too long, or contains invisible
/// characters.
fn name<
    T: FromStr<Err = InvalidText> + Display + Debug + Serialize + DeserializeOwned + PartialEq,
>(
    text: &str,
    max: usize,
) {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}')
            || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let bad = text.trim_matches(' ').is_empty() || text.len() > max || text.contains(unseen);
    match exact::<T>(text) {
        Some(name) => {
            assert!(!bad, "{text:?}");
            serde_round_trip(&name);
        }
        None => assert!(bad, "{text:?}"),
    }
}

/// Values that hosts store as JSON round-trip through serde.
fn structures(text: &str) {
    fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(text: &str) {
        if let Ok(value) = serde_json::from_str::<T>(text) {
            serde_round_trip(&value);
        }
    }
    read::<KeyFormat>(text);
    read::<KeyFormats>(text);
    read::<Quotas>(text);
    read::<Overrides>(text);
    read::<Owner>(text);
    read::<StoredRecord>(text);
    read::<ScopeSet>(text);
}

/// Parses a type with exactly one text form.
fn exact<T: FromStr<Err = InvalidText> + Display>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(value.to_string(), text);
            Some(value)
        }
        Err(error) => {
            repeats_nothing(error);
            None
        }
    }
}

fn serde_round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("it can be written");
    let read: T = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!(&read, value);
}

/// Every key error has one of these texts, apart from its numbers, so it contains no part of the
/// key.
fn says_nothing(error: &ParseError) {
    const TEXTS: [&str; 5] = [
        "the key is empty",
        "the key begins with no known prefix",
        "the key has # bytes, not #",
        "the key has a character at byte # that its format does not allow",
        "the key's checksum is wrong",
    ];
    let text = without_numbers(&error.to_string());
    assert!(TEXTS.contains(&text.as_str()), "{text}");
    let debug = format!("{error:?}");
    let plain = |c: char| c.is_ascii_alphanumeric() || " {}:,".contains(c);
    assert!(debug.len() < 60 && debug.chars().all(plain), "{debug}");
}

/// A text error consists of a literal and a position, so it contains no part of the text.
fn repeats_nothing(error: InvalidText) {
    let expected: &'static str = error.expected();
    let text = match error.position() {
        None => format!("expected {expected}"),
        Some(at) => format!("expected {expected}; the byte at position {at} is not allowed"),
    };
    assert_eq!(error.to_string(), text);
}

fn without_numbers(text: &str) -> String {
    let mut without = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' if without.ends_with('#') => {}
            '0'..='9' => without.push('#'),
            other => without.push(other),
        }
    }
    without
}

impl Format<'_> {
    fn build(&self, all: &[Self]) -> Option<KeyFormat> {
        let prefix = self.prefix.text();
        let length = usize::from(self.length % 80);
        let format = if self.hex {
            KeyFormat::try_hex_bytes(prefix, length)
        } else {
            KeyFormat::try_base62(prefix, length)
        };
        let format = match format.and_then(|f| f.try_with_hint(usize::from(self.hint % 16))) {
            Ok(format) => format,
            Err(error) => {
                // A prefix is configuration, but the error does not repeat its characters either.
                assert!(error.to_string().len() < 90);
                return None;
            }
        };
        let format = if self.checksum { format.with_checksum() } else { format };
        let successor = self.successor.map(usize::from).and_then(|at| all.get(at));
        match successor.and_then(|other| KeyKind::new(other.prefix.text()).ok()) {
            Some(successor) => Some(format.with_successor(successor)),
            None => Some(format),
        }
    }
}

impl Prefix<'_> {
    fn text(&self) -> &str {
        const NESTED: [&str; 8] = ["k_", "k_a", "k_ab", "k_a_", "K_", "k", "k-", "lqt_"];
        match self {
            Self::Nested(at) => NESTED[usize::from(at % 8)],
            Self::Text(text) => text,
        }
    }
}

impl Text<'_> {
    fn written(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match self {
            Self::Any(text) => (*text).to_owned(),
            Self::Characters(characters) => characters.iter().collect(),
            Self::Id(id) => hex(id),
            Self::Hash(scheme, pepper, digest) => {
                let digest = hex(digest);
                match scheme % 4 {
                    0 => format!("sha256-secret:{digest}"),
                    1 => format!("sha256:{digest}"),
                    2 => format!("sha256-body:{digest}"),
                    _ => format!("hmac-sha256.{pepper}:{digest}"),
                }
            }
            Self::Cursor(millis, id) => format!("{millis}-{}", hex(id)),
            Self::Instant { year, parts: [month, day, hour, minute, second], fraction, offset } => {
                let (year, month, day) = (year % 10_001, month % 14, day % 33);
                let (hour, minute, second) = (hour % 26, minute % 61, second % 62);
                let fraction = fraction.map_or(String::new(), |digits| format!(".{digits}"));
                let offset = match offset {
                    None => "Z".to_owned(),
                    Some((hours, minutes)) => format!(
                        "{}{:02}:{:02}",
                        if hours % 2 == 0 { '+' } else { '-' },
                        hours / 2 % 25,
                        minutes % 61
                    ),
                };
                format!(
                    "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}"
                )
            }
        }
    }
}
