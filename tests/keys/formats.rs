//! Which bytes parse as a key and which are rejected.

use keyward::{
    KeyFormat, KeyHasher,
    error::{ConfigError, ConfigErrorKind},
    key::{KeyFormats, KeyKind, ParseError},
    verify::Verifier,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const LQT: KeyFormat = KeyFormat::hex("lqt_");
const PUBLIC: KeyFormat = KeyFormat::hex("luc_pk_");
const API: KeyFormat = KeyFormat::hex("luc_api_");
const LEGACY: KeyFormat =
    KeyFormat::hex("luc_mcp_").with_successor(KeyKind::from_static("luc_api_"));
const GITHUB: KeyFormat = KeyFormat::base62("ghp_", 30).with_checksum();
const PLAIN: KeyFormat = KeyFormat::base62("p-", 22);
/// A prefix of another prefix: `luc_` and a hex body never parse as `luc_pk_…`, because `p` is not
/// a hex digit.
const SHORT: KeyFormat = KeyFormat::hex_bytes("luc_", 16);
const CHECKED: KeyFormat = KeyFormat::hex_bytes("hc_", 16).with_checksum();

const ALL: [KeyFormat; 8] = [LQT, PUBLIC, API, LEGACY, GITHUB, PLAIN, SHORT, CHECKED];

fn all() -> KeyFormats {
    KeyFormats::new(ALL).unwrap()
}

fn kind_of(formats: &KeyFormats, token: &[u8]) -> Result<KeyKind, ParseError> {
    formats.parse(token).map(|key| key.kind())
}

fn hex(len: usize) -> String {
    "0123456789abcdef".chars().cycle().take(len).collect()
}

/// The CRC-32 (IEEE) of a body in six base62 digits, computed bit by bit.
fn github_checksum(body: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut rest = !crc;
    let mut digits = Vec::new();
    for _ in 0..6 {
        digits.push(
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(rest % 62) as usize],
        );
        rest /= 62;
    }
    digits.reverse();
    String::from_utf8(digits).unwrap()
}

#[test]
fn tokens_are_parsed_strictly() {
    let formats = all();
    let body = hex(64);
    let lqt = LQT.kind();
    let short = |found| Err(ParseError::TooShort { expected: 68, found });
    let long = |found| Err(ParseError::TooLong { expected: 68, found });
    let bad = |position| Err(ParseError::Character { position });
    let unknown = Err(ParseError::UnknownPrefix);
    let mebibyte = "a".repeat(1 << 20);

    let table: Vec<(&str, Vec<u8>, Result<KeyKind, ParseError>)> = vec![
        ("a key", format!("lqt_{body}").into(), Ok(lqt)),
        ("zeros", format!("lqt_{}", "0".repeat(64)).into(), Ok(lqt)),
        ("the empty key", "".into(), Err(ParseError::Empty)),
        ("only the prefix", "lqt_".into(), short(4)),
        ("a part of the prefix", "lqt".into(), unknown),
        ("only the body", body.clone().into(), unknown),
        ("one character short", format!("lqt_{}", &body[1..]).into(), short(67)),
        ("one character long", format!("lqt_{body}0").into(), long(69)),
        ("upper-case hex", format!("lqt_{}", body.to_uppercase()).into(), bad(14)),
        ("one upper-case digit, last", format!("lqt_{}F", &body[..63]).into(), bad(67)),
        ("an upper-case prefix", format!("LQT_{body}").into(), unknown),
        ("a mixed-case prefix", format!("Lqt_{body}").into(), unknown),
        ("a full-width prefix", format!("\u{ff4c}qt_{body}").into(), unknown),
        // Three bytes for one character: too long, or invalid at the first of its bytes.
        ("a full-width digit", format!("lqt_{}\u{ff11}", &body[..63]).into(), long(70)),
        ("a full-width digit, 68 bytes", format!("lqt_{}\u{ff11}", &body[..61]).into(), bad(65)),
        ("a Cyrillic look-alike", format!("lqt_{}\u{0430}", &body[..62]).into(), bad(66)),
        ("NUL alone", "\0".into(), unknown),
        ("NUL inside", format!("lqt_{}\0", &body[..63]).into(), bad(67)),
        ("NUL behind", format!("lqt_{body}\0").into(), long(69)),
        ("NUL before", format!("\0lqt_{body}").into(), unknown),
        ("a blank behind", format!("lqt_{body} ").into(), long(69)),
        ("a blank before", format!(" lqt_{body}").into(), unknown),
        ("a blank inside", format!("lqt_ {}", &body[1..]).into(), bad(4)),
        ("LF behind", format!("lqt_{body}\n").into(), long(69)),
        ("CRLF behind", format!("lqt_{body}\r\n").into(), long(70)),
        ("CRLF for the last two", format!("lqt_{}\r\n", &body[..62]).into(), bad(66)),
        ("a header line inside", format!("lqt_{}\r\nX: y", &body[..58]).into(), bad(62)),
        ("a tab behind", format!("lqt_{body}\t").into(), long(69)),
        ("0x in the body", format!("lqt_0x{}", &body[..62]).into(), bad(5)),
        ("a sign in the body", format!("lqt_+{}", &body[..63]).into(), bad(4)),
        ("percent-encoded", format!("lqt%5F{body}").into(), unknown),
        ("the prefix twice", format!("lqt_lqt_{}", &body[..60]).into(), bad(4)),
        ("two keys", format!("lqt_{body}lqt_{body}").into(), long(136)),
        ("two keys and a comma", format!("lqt_{body},lqt_{body}").into(), long(137)),
        ("in quotes", format!("\"lqt_{body}\"").into(), unknown),
        ("1 MiB of a", mebibyte.clone().into(), unknown),
        ("the prefix and 1 MiB of a", format!("lqt_{mebibyte}").into(), long((1 << 20) + 4)),
        ("underscores alone", "____".into(), unknown),
        // The body of one kind with the prefix of others.
        ("another prefix", format!("luc_pk_{body}").into(), Ok(PUBLIC.kind())),
        ("a legacy prefix", format!("luc_mcp_{body}").into(), Ok(LEGACY.kind())),
        ("no kind's prefix", format!("luc_oat_{body}").into(), {
            // The longest matching prefix is `luc_`, whose keys are shorter.
            Err(ParseError::TooLong { expected: 36, found: 72 })
        }),
        ("hex under a base62 prefix", format!("ghp_{body}").into(), {
            Err(ParseError::TooLong { expected: 40, found: 68 })
        }),
        ("base62 under a hex prefix", format!("lqt_{}", "Zz".repeat(32)).into(), bad(4)),
        // Prefixes that contain underscores; the longest one wins.
        ("the shorter of two prefixes", format!("luc_{}", hex(32)).into(), Ok(SHORT.kind())),
        ("the longer, too short", format!("luc_pk_{}", hex(29)).into(), {
            // 36 bytes are a valid length for `luc_`, but the longer prefix decides.
            Err(ParseError::TooShort { expected: 71, found: 36 })
        }),
        ("part of the longer one", format!("luc_pk{}", hex(30)).into(), bad(4)),
        ("one underscore more", format!("luc__{}", hex(31)).into(), bad(4)),
        // Hyphens.
        ("a hyphen in the prefix", format!("p-{}", "Az09".repeat(6).split_at(22).0).into(), {
            Ok(PLAIN.kind())
        }),
        ("an underscore in base62", format!("p-{}_", "a".repeat(21)).into(), bad(23)),
        ("a hyphen in base62", format!("p--{}", "a".repeat(21)).into(), bad(2)),
        // GitHub's checksum vectors.
        ("GitHub's first", "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".into(), Ok(GITHUB.kind())),
        ("GitHub's second", "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".into(), Ok(GITHUB.kind())),
        ("checksums swapped", "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0LsakP".into(), {
            Err(ParseError::Checksum)
        }),
        ("checksum in lower case", "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mlq17".into(), {
            Err(ParseError::Checksum)
        }),
        ("checksum not padded", "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJmLq17".into(), {
            Err(ParseError::TooShort { expected: 40, found: 39 })
        }),
        ("checksum of zeros", "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ000000".into(), {
            Err(ParseError::Checksum)
        }),
        ("checksum not base62", "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq1_".into(), {
            Err(ParseError::Checksum)
        }),
        ("two characters swapped", "ghp_QzWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17".into(), {
            Err(ParseError::Checksum)
        }),
        (
            "hex with its checksum",
            format!("hc_{0}{1}", hex(32), github_checksum(hex(32).as_bytes())).into(),
            Ok(CHECKED.kind()),
        ),
    ];
    for (what, token, expected) in &table {
        assert_eq!(kind_of(&formats, token), *expected, "{what}");
    }
    for byte in 0x80..=0xFF {
        assert_eq!(kind_of(&formats, &[byte]), unknown, "{byte:#x} alone");
        let mut token = format!("lqt_{body}").into_bytes();
        token[30] = byte;
        assert_eq!(kind_of(&formats, &token), bad(30), "{byte:#x} inside");
        assert_eq!(
            kind_of(&formats, &[token, vec![byte]].concat()),
            long(69),
            "{byte:#x} appended"
        );
    }
}

#[test]
fn every_parse_error_has_status_401() {
    for error in [
        ParseError::Empty,
        ParseError::UnknownPrefix,
        ParseError::TooShort { expected: 1, found: 0 },
        ParseError::TooLong { expected: 1, found: 2 },
        ParseError::Character { position: 0 },
        ParseError::Checksum,
    ] {
        assert_eq!(error.status(), 401, "{error:?}");
    }
}

#[test]
fn every_single_byte_mutation_is_rejected_or_is_another_well_formed_key() {
    let formats = all();
    let verifier = Verifier::new(KeyHasher::sha256());
    let hash_of = |token: &[u8]| {
        let lookup = verifier.lookup(&formats.parse(token).unwrap());
        let mut hashes = lookup.hashes().copied();
        hashes.next().unwrap()
    };
    let mut rng = StdRng::seed_from_u64(0x6d75_7461);
    for (format, prefix, body, checksum, alphabet) in [
        (LQT, 4, 64, 0, "0123456789abcdef"),
        (PUBLIC, 7, 64, 0, "0123456789abcdef"),
        (API, 8, 64, 0, "0123456789abcdef"),
        (SHORT, 4, 32, 0, "0123456789abcdef"),
        (CHECKED, 3, 32, 6, "0123456789abcdef"),
        (GITHUB, 4, 30, 6, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
        (PLAIN, 2, 22, 0, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    ] {
        let minted = format.mint(&mut rng).unwrap();
        let token = minted.expose().as_bytes();
        assert_eq!(token.len(), prefix + body + checksum);
        assert_eq!(token.len(), format.token_len());
        let original = hash_of(token);
        let (mut refused, mut others) = (0, 0);
        for position in 0..token.len() {
            for byte in 0..=u8::MAX {
                let mut mutant = token.to_vec();
                mutant[position] = byte;
                let expected = if byte == token[position] {
                    Ok(format.kind())
                } else if position < prefix {
                    // No two prefixes of `ALL` with equal lengths differ in only one byte. But a
                    // key that loses its own prefix can still begin with `luc_`, whose keys are
                    // shorter.
                    if position >= 4 && token.starts_with(b"luc_") {
                        Err(ParseError::TooLong { expected: 36, found: token.len() })
                    } else {
                        Err(ParseError::UnknownPrefix)
                    }
                } else if position >= prefix + body {
                    Err(ParseError::Checksum)
                } else if !alphabet.as_bytes().contains(&byte) {
                    Err(ParseError::Character { position })
                } else if checksum > 0 {
                    // A CRC-32 detects every change within 32 bits.
                    Err(ParseError::Checksum)
                } else {
                    Ok(format.kind())
                };
                let found = kind_of(&formats, &mutant);
                assert_eq!(found, expected, "{format:?}: byte {position} is {byte:#x}");
                match found {
                    Err(_) => refused += 1,
                    Ok(_) if byte == token[position] => {}
                    Ok(_) => {
                        others += 1;
                        assert_ne!(hash_of(&mutant), original, "a different key, a different hash");
                    }
                }
            }
        }
        let different = if checksum > 0 { 0 } else { body * (alphabet.len() - 1) };
        assert_eq!(others, different, "{format:?}");
        assert_eq!(refused, token.len() * 255 - different, "{format:?}");
    }
}

#[test]
fn errors_contain_no_part_of_the_token() {
    let formats = all();
    let body = "7f3e9d1c5b8a2604".repeat(4);
    for token in [
        body.clone(),
        format!("lqt_{}", &body[1..]),
        format!("lqt_{body}{body}"),
        format!("lqt_{}", body.to_uppercase()),
        format!("lqt_{}!", &body[..63]),
        format!("luc_oat_{body}"),
        "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0LsakP".to_owned(),
        format!("secret-of-somebody-{body}"),
    ] {
        let error = formats.parse(&token).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}"), format!("{error:#?}")] {
            for window in token.as_bytes().windows(4) {
                let window = std::str::from_utf8(window).unwrap();
                assert!(!shown.contains(window), "{shown:?} contains {window:?}");
            }
        }
    }
}

/// The grammar of each format, as independently written regular expressions.
fn grammar() -> Vec<(KeyKind, regex::bytes::Regex, bool)> {
    [
        (LQT, r"(?-u)\Alqt_([0-9a-f]{64})()\z", false),
        (PUBLIC, r"(?-u)\Aluc_pk_([0-9a-f]{64})()\z", false),
        (API, r"(?-u)\Aluc_api_([0-9a-f]{64})()\z", false),
        (LEGACY, r"(?-u)\Aluc_mcp_([0-9a-f]{64})()\z", false),
        (GITHUB, r"(?-u)\Aghp_([0-9A-Za-z]{30})([0-9A-Za-z]{6})\z", true),
        (PLAIN, r"(?-u)\Ap-([0-9A-Za-z]{22})()\z", false),
        (SHORT, r"(?-u)\Aluc_([0-9a-f]{32})()\z", false),
        (CHECKED, r"(?-u)\Ahc_([0-9a-f]{32})([0-9A-Za-z]{6})\z", true),
    ]
    .map(|(format, regex, checked)| {
        (format.kind(), regex::bytes::Regex::new(regex).unwrap(), checked)
    })
    .into()
}

fn grammatical(grammar: &[(KeyKind, regex::bytes::Regex, bool)], token: &[u8]) -> Option<KeyKind> {
    grammar.iter().find_map(|(kind, regex, checked)| {
        let parts = regex.captures(token)?;
        let fits = !checked || github_checksum(&parts[1]).as_bytes() == &parts[2];
        fits.then_some(*kind)
    })
}

#[test]
fn the_reference_grammar_accepts_exactly_the_minted_keys() {
    let grammar = grammar();
    let mut rng = StdRng::seed_from_u64(1);
    for format in ALL.iter().filter(|format| format.successor().is_none()) {
        let key = format.mint(&mut rng).unwrap();
        assert_eq!(grammatical(&grammar, key.expose().as_bytes()), Some(format.kind()));
        assert_eq!(grammatical(&grammar, &key.expose().as_bytes()[1..]), None);
    }
}

/// Arbitrary bytes, and keys with up to three mutations.
fn tokens() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let near = (0..ALL.len(), any::<u64>(), edits).prop_map(|(at, seed, edits)| {
        // A legacy kind mints no keys, so a key of its successor gets its prefix.
        let format = &ALL[at];
        let all = all();
        let minting = all.minting(format.kind()).unwrap();
        let key = minting.mint(&mut StdRng::seed_from_u64(seed)).unwrap();
        let body = &key.expose()[minting.kind().as_str().len()..];
        let mut token = format!("{}{body}", format.kind()).into_bytes();
        for (edit, at, byte) in edits {
            if token.is_empty() {
                break;
            }
            let at = at.index(token.len());
            match edit {
                0 => token[at] = byte,
                1 => token.insert(at, byte),
                2 => drop(token.remove(at)),
                // From the same alphabet, so that the result is often another well-formed key.
                _ => token[at] = b"0123456789abcdef"[usize::from(byte) % 16],
            }
        }
        token
    });
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..120),
        1 => "(lqt_|luc_|luc_pk_|ghp_|p-|hc_)[0-9a-f]{20,70}".prop_map(String::into_bytes),
        4 => near,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_token_parses_if_and_only_if_the_grammar_matches(token in tokens()) {
        let formats = all();
        let grammar = grammar_once();
        prop_assert_eq!(kind_of(&formats, &token).ok(), grammatical(grammar, &token));
    }
}

fn grammar_once() -> &'static [(KeyKind, regex::bytes::Regex, bool)] {
    static GRAMMAR: std::sync::OnceLock<Vec<(KeyKind, regex::bytes::Regex, bool)>> =
        std::sync::OnceLock::new();
    GRAMMAR.get_or_init(grammar)
}

/// Every set that builds parses the keys of each kind as that kind. A set is rejected only if some
/// key could parse as two of its kinds.
#[test]
fn a_built_set_never_confuses_two_kinds() {
    let mut rng = StdRng::seed_from_u64(0x0073_6574);
    let mut built = 0;
    for _ in 0..5_000 {
        let formats: Vec<KeyFormat> = (0..rng.random_range(1..6))
            .map(|_| {
                let len = rng.random_range(1..5);
                let prefix: String =
                    (0..len).map(|_| char::from(b"aG_-"[rng.random_range(0..4)])).collect();
                match rng.random_range(0..3) {
                    0 => KeyFormat::try_hex(&prefix).unwrap(),
                    1 => KeyFormat::try_base62(&prefix, 22).unwrap().with_checksum(),
                    _ => KeyFormat::try_base62(&prefix, 22).unwrap(),
                }
            })
            .collect();
        let Ok(set) = KeyFormats::new(formats.clone()) else {
            assert!(formats.iter().enumerate().any(|(at, a)| {
                formats.iter().enumerate().any(|(other, b)| {
                    let (a, b) = (a.kind(), b.kind());
                    let rest = b.as_str().strip_prefix(a.as_str());
                    at != other && rest.is_some_and(|rest| !rest.contains(['_', '-']))
                })
            }));
            continue;
        };
        built += 1;
        for format in &formats {
            for _ in 0..4 {
                let key = format.mint(&mut rng).unwrap();
                assert_eq!(set.parse(key.expose()).unwrap().kind(), format.kind(), "{set:?}");
            }
        }
    }
    assert!(built > 500, "only {built} sets were built");
}

fn problem<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Format);
    error.to_string()
}

#[test]
fn invalid_formats_are_rejected_with_the_reason() {
    for (what, found, expected) in [
        ("the empty prefix", KeyFormat::try_hex(""), "a prefix has 1 to 23 characters"),
        ("24 characters", KeyFormat::try_hex(&"k".repeat(24)), "a prefix has 1 to 23 characters"),
        ("a blank", KeyFormat::try_hex("k "), "a prefix has 1 to 23 characters"),
        ("a full-width letter", KeyFormat::try_hex("k\u{ff4c}"), "a prefix has 1 to 23 characters"),
        ("CR", KeyFormat::try_base62("\r", 30), "a prefix has 1 to 23 characters"),
        ("15 bytes", KeyFormat::try_hex_bytes("k_", 15), "KeyFormat::try_hex_bytes"),
        ("65 bytes", KeyFormat::try_hex_bytes("k_", 65), "KeyFormat::try_hex_bytes"),
        ("21 characters", KeyFormat::try_base62("k_", 21), "KeyFormat::try_base62"),
        ("65 characters", KeyFormat::try_base62("k_", 65), "KeyFormat::try_base62"),
        ("a hint of 13", KeyFormat::hex("k_").try_with_hint(13), "KeyFormat::with_hint"),
    ] {
        assert!(problem(found).contains(expected), "{what}");
    }
    let longest = "k".repeat(23);
    assert_eq!(KeyFormat::try_hex_bytes(&longest, 64).unwrap().token_len(), 23 + 128);
    assert_eq!(KeyFormat::try_hex_bytes("k", 16).unwrap().token_len(), 1 + 32);
    assert_eq!(KeyFormat::try_base62("k_", 22).unwrap().token_len(), 24);
    assert_eq!(KeyFormat::try_base62("k_", 64).unwrap().with_checksum().token_len(), 72);
    assert_eq!(KeyFormat::hex("k_").try_with_hint(0).map(|format| format.token_len()), Ok(66));
}

#[test]
fn the_largest_format_is_parsed_completely() {
    let format = KeyFormat::try_hex_bytes(&"k".repeat(23), 64).unwrap();
    let key = format.mint(&mut StdRng::seed_from_u64(2)).unwrap();
    assert_eq!(KeyFormats::from(format).parse(key.expose()).unwrap().kind(), format.kind());
}

#[test]
fn a_single_legacy_format_is_parsed_but_never_minted() {
    let formats = KeyFormats::from(LEGACY);
    assert!(formats.get(LEGACY.kind()).is_some());
    assert!(formats.minting(LEGACY.kind()).is_none());
    let missing = problem(KeyFormats::new([LEGACY]));
    assert!(missing.contains("is not accepted"), "{missing}");
}

mod configured {
    use super::*;

    fn read(json: &str) -> Result<KeyFormat, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn formats_deserialize_from_configuration() {
        for (json, expected) in [
            (r#"{"prefix":"lqt_"}"#, LQT),
            (r#"{"prefix":"lqt_","body":"hex","length":32}"#, LQT),
            (r#"{"prefix":"luc_","body":"hex","length":16,"checksum":false,"hint":8}"#, SHORT),
            (r#"{"prefix":"ghp_","body":"base62","length":30,"checksum":true}"#, GITHUB),
            (r#"{"prefix":"luc_mcp_","successor":"luc_api_"}"#, LEGACY),
            (r#"{"prefix":"lqt_","hint":0}"#, LQT.with_hint(0)),
            (r#"{"prefix":"lqt_","hint":null,"successor":null,"length":null}"#, LQT),
        ] {
            let format = read(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(format, expected, "{json}");
            let again = serde_json::to_string(&format).unwrap();
            assert_eq!(read(&again).unwrap(), format, "{again}");
        }
    }

    #[test]
    fn invalid_formats_fail_to_deserialize() {
        for bad in [
            "null",
            "{}",
            r#""lqt_""#,
            r#"{"prefix":""}"#,
            r#"{"prefix":"l t"}"#,
            r#"{"prefix":"kkkkkkkkkkkkkkkkkkkkkkkk"}"#,
            r#"{"prefix":7}"#,
            r#"{"prefix":"lqt_","body":"base64"}"#,
            r#"{"prefix":"lqt_","body":"HEX"}"#,
            r#"{"prefix":"lqt_","length":15}"#,
            r#"{"prefix":"lqt_","length":65}"#,
            r#"{"prefix":"lqt_","length":-1}"#,
            r#"{"prefix":"lqt_","length":288}"#,
            r#"{"prefix":"lqt_","length":18446744073709551615}"#,
            r#"{"prefix":"lqt_","body":"base62"}"#,
            r#"{"prefix":"lqt_","body":"base62","length":21}"#,
            r#"{"prefix":"lqt_","hint":13}"#,
            r#"{"prefix":"lqt_","hint":264}"#,
            r#"{"prefix":"lqt_","checksum":"yes"}"#,
            r#"{"prefix":"lqt_","successor":""}"#,
            r#"{"prefix":"lqt_","chekcsum":true}"#,
            r#"{"prefix":"lqt_","prefix":"lqx_"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sets_deserialize_from_configuration_in_any_order() {
        let formats = all();
        let json = serde_json::to_string(&formats).unwrap();
        assert_eq!(serde_json::from_str::<KeyFormats>(&json).unwrap(), formats);
        let given: KeyFormats = serde_json::from_str(
            r#"[{"prefix":"luc_","length":16},{"prefix":"luc_pk_"},{"prefix":"old_","successor":"luc_"}]"#,
        )
        .unwrap();
        assert_eq!(given.parse(&format!("luc_pk_{}", hex(64))).unwrap().kind(), PUBLIC.kind());
        assert_eq!(given.minting("old_".parse().unwrap()).unwrap().kind(), SHORT.kind());
    }

    #[test]
    fn invalid_sets_fail_to_deserialize() {
        let many: Vec<String> = (0..33).map(|n| format!(r#"{{"prefix":"k{n}_"}}"#)).collect();
        for (bad, reason) in [
            ("[]".to_owned(), "at least one kind"),
            (format!("[{}]", many.join(",")), "at most 32 kinds"),
            (
                r#"[{"prefix":"a_"},{"prefix":"a_","body":"base62","length":30}]"#.to_owned(),
                "two formats have the prefix a_",
            ),
            (
                r#"[{"prefix":"a_"},{"prefix":"a_b"}]"#.to_owned(),
                "a key of kind a_ could begin with a_b",
            ),
            (
                r#"[{"prefix":"a_","successor":"b_"}]"#.to_owned(),
                "the successor b_ of the legacy kind a_ is not accepted",
            ),
            (
                r#"[{"prefix":"a_","successor":"b_"},{"prefix":"b_","successor":"a_"}]"#.to_owned(),
                "is legacy too",
            ),
        ] {
            let error = serde_json::from_str::<KeyFormats>(&bad).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
        assert!(serde_json::from_str::<KeyFormats>(r#"{"prefix":"a_"}"#).is_err());
    }
}
