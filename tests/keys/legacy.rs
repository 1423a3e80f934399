//! Keys that other systems minted: which texts are read, which sets are unambiguous, and what is
//! hashed.

use keyward::{
    Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng, Timestamp,
    error::ConfigError,
    issue::IssuerError,
    key::{
        Alphabet, Grace, HashScheme, KeyFormats, KeyHash, KeyId, KeyKind, LegacyFormat, MintError,
        ParseError, StoredSecret,
    },
    verify::{Verifier, VerifyError},
};
use pollster::block_on;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const NEW: KeyFormat = KeyFormat::hex("acme_");
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

const fn legacy(kind: &'static str, alphabet: Alphabet, min: usize, max: usize) -> LegacyFormat {
    LegacyFormat::new(kind, alphabet, min..=max).with_successor(NEW.kind())
}

const UUID: LegacyFormat = legacy("uuid", Alphabet::LOWER_HEX.with('-'), 36, 36);
const BASE64URL: LegacyFormat = legacy("base64url", Alphabet::BASE64URL, 43, 43);
const SANCTUM: LegacyFormat =
    legacy("sanctum", Alphabet::BASE62, 40, 48).with_identifier(Alphabet::DIGITS, 1..=20, '|');
const UPPER_HEX: LegacyFormat = legacy("upper", Alphabet::UPPER_HEX, 64, 64);
const SUPABASE: LegacyFormat =
    legacy("supabase", Alphabet::BASE64URL, 31, 31).with_prefix("sb_secret_");
const PREFIXED: LegacyFormat = legacy("prefixed", Alphabet::BASE62, 24, 24)
    .with_prefix("company_")
    .with_identifier(Alphabet::BASE62, 8..=8, '_');
const SENDGRID: LegacyFormat = legacy("sendgrid", Alphabet::BASE64URL, 43, 43)
    .with_prefix("SG.")
    .with_identifier(Alphabet::BASE64URL, 22..=22, '.');

const ALL: [LegacyFormat; 7] = [UUID, BASE64URL, SANCTUM, UPPER_HEX, SUPABASE, PREFIXED, SENDGRID];

fn set(formats: impl IntoIterator<Item = LegacyFormat>) -> Result<KeyFormats, ConfigError> {
    formats.into_iter().try_fold(KeyFormats::new([NEW])?, KeyFormats::with_legacy)
}

fn kind_of(formats: &KeyFormats, token: &str) -> Result<&'static str, ParseError> {
    let kind = formats.parse(token)?.kind();
    let all = ALL.iter().map(LegacyFormat::kind).chain([NEW.kind()]);
    let name = all.clone().find(|known| *known == kind).expect("one of the set");
    Ok(match name.as_str() {
        "uuid" => "uuid",
        "base64url" => "base64url",
        "sanctum" => "sanctum",
        "upper" => "upper",
        "supabase" => "supabase",
        "prefixed" => "prefixed",
        "sendgrid" => "sendgrid",
        _ => "acme_",
    })
}

const SANCTUM_SECRET: &str = "pT6oGsuvFVuIZAbkSEDRlGMoQoBwYrSPTBVXcWcL4f6c18be";

#[test]
fn keys_of_other_systems_are_read_and_nothing_else_is() {
    let formats = set(ALL).unwrap();
    let secret = SANCTUM_SECRET;
    let unknown = Err(ParseError::UnknownPrefix);
    for (token, expected) in [
        (format!("acme_{}", "0a".repeat(32)), Ok("acme_")),
        ("7c9e6679-7425-40de-944b-e07fc1f90ae7".into(), Ok("uuid")),
        ("7C9E6679-7425-40DE-944B-E07FC1F90AE7".into(), unknown),
        ("7c9e6679-7425-40de-944b-e07fc1f90ae".into(), unknown),
        ("7c9e6679-7425-40de-944b-e07fc1f90ae70".into(), unknown),
        ("7c9e6679-7425-40de-944b-e07fc1f90ae\n".into(), unknown),
        ("x_-X".repeat(10) + "abc", Ok("base64url")),
        ("x_-X".repeat(10) + "ab=", unknown),
        (format!("17|{secret}"), Ok("sanctum")),
        (format!("17|{}", &secret[..40]), Ok("sanctum")),
        (format!("12345678901234567890|{secret}"), Ok("sanctum")),
        (format!("123456789012345678901|{secret}"), unknown),
        (format!("|{secret}"), unknown),
        (format!("x|{secret}"), unknown),
        (format!("17|{}", &secret[..39]), unknown),
        (format!("17|{secret}0"), unknown),
        (format!("17||{}", &secret[1..]), unknown),
        (format!("17|17|{}", &secret[3..]), unknown),
        ("0123456789ABCDEF".repeat(4), Ok("upper")),
        ("0123456789ABCDEF".repeat(4).to_lowercase(), unknown),
        ("sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz".into(), Ok("supabase")),
        ("sb_publishable_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz".into(), unknown),
        ("company_BRTRKFsL_51FwqftsmMDHHbJAMEXXHCgG".into(), Ok("prefixed")),
        ("company_BRTRKFs_51FwqftsmMDHHbJAMEXXHCgGL".into(), unknown),
        ("company_BRTRKFsL51FwqftsmMDHHbJAMEXXHCgG".into(), unknown),
        (format!("SG.{}.{}", "a_-".repeat(7) + "b", "c_-".repeat(14) + "d"), Ok("sendgrid")),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl".into(), unknown),
        ("a".repeat(1 << 20), unknown),
        (format!("17|{}", "a".repeat(1 << 20)), unknown),
        (String::new(), Err(ParseError::Empty)),
    ] {
        assert_eq!(kind_of(&formats, &token), expected, "{}", &token[..token.len().min(80)]);
    }
}

/// A mistyped key of a service's own format has the error of that format, and an old key that begins
/// with the prefix of another format is still read.
#[test]
fn the_prefix_of_another_format_hides_no_old_key() {
    let formats = set([BASE64URL]).unwrap();
    let old = format!("acme_{}", "x".repeat(38));
    assert_eq!(formats.parse(&old).unwrap().kind(), BASE64URL.kind());
    let short = format!("acme_{}", "0".repeat(63));
    let expected = ParseError::TooShort { expected: 69, found: 68 };
    assert_eq!(formats.parse(&short).unwrap_err(), expected);
    let spoilt = format!("acme_{}X", "0".repeat(63));
    assert_eq!(formats.parse(&spoilt).unwrap_err(), ParseError::Character { position: 68 });
}

#[test]
fn sets_in_which_a_text_can_be_two_keys_are_refused_with_the_remedy() {
    let wide = legacy("wide", Alphabet::BASE64URL, 20, 128);
    for (one, other) in [
        (wide, BASE64URL),
        (wide, UUID),
        (wide, SUPABASE),
        (UUID, legacy("other", Alphabet::LOWER_HEX.with('-'), 30, 40)),
        // A key of the one could have the prefix of the other.
        (SUPABASE, legacy("other", Alphabet::BASE64URL, 41, 41)),
        // An identifier of some length makes both as long.
        (SANCTUM, legacy("other", Alphabet::BASE62.with('|'), 50, 50)),
        (PREFIXED, legacy("other", Alphabet::BASE64URL, 41, 41)),
    ] {
        for pair in [[one, other], [other, one]] {
            let error = set(pair).unwrap_err().to_string();
            assert!(error.contains("a text can be a key of kind"), "{error}");
            assert!(error.contains("LegacyFormat::with_prefix"), "{error}");
        }
    }
    // A key of the new format.
    for (new, old) in [
        (NEW, legacy("old", Alphabet::BASE64URL, 60, 70)),
        (NEW, legacy("old", Alphabet::LOWER_HEX, 64, 64).with_prefix("acme_")),
        (KeyFormat::base62("k", 30), legacy("old", Alphabet::BASE62, 31, 31)),
        // The checksum alone does not tell them apart.
        (KeyFormat::base62("k", 30).with_checksum(), legacy("old", Alphabet::BASE62, 37, 37)),
    ] {
        let old = old.with_successor(new.kind());
        let error = KeyFormats::new([new]).unwrap().with_legacy(old).unwrap_err().to_string();
        assert!(error.contains("LegacyFormat::with_prefix"), "{error}");
    }
    // These are told apart by length, by a character, or by the prefix.
    for (one, other) in [
        (BASE64URL, legacy("other", Alphabet::BASE64URL, 42, 42)),
        (UUID, legacy("other", Alphabet::UPPER_HEX.with('-').with('_'), 37, 40)),
        (SUPABASE, legacy("other", Alphabet::LETTERS, 41, 41)),
        (SANCTUM, legacy("other", Alphabet::BASE62, 50, 50)),
    ] {
        assert!(set([one, other]).is_ok(), "{one:?} {other:?}");
    }
    assert!(set([legacy("old", Alphabet::LOWER_HEX, 40, 40).with_prefix("acme_")]).is_ok());
}

#[test]
fn a_legacy_format_needs_a_kind_of_its_own_and_a_successor_that_is_minted() {
    let problem = |result: Result<KeyFormats, ConfigError>| result.unwrap_err().to_string();
    let alone = LegacyFormat::new("uuid", Alphabet::LOWER_HEX.with('-'), 36..=36);
    assert!(problem(set([alone])).contains("LegacyFormat::with_successor"));
    let unknown = alone.with_successor(KeyKind::from_static("other_"));
    assert!(problem(set([unknown])).contains("is not minted"));
    let of_legacy = alone.with_successor(SANCTUM.kind());
    assert!(problem(set([SANCTUM, of_legacy])).contains("is not minted"));
    let old = KeyFormat::hex("old_").with_successor(NEW.kind());
    let of_old = KeyFormats::new([NEW, old]).unwrap().with_legacy(alone.with_successor(old.kind()));
    assert!(problem(of_old).contains("is not minted"));
    assert!(problem(set([UUID, UUID])).contains("two formats have the kind uuid"));
    let taken = legacy("acme_", Alphabet::UPPER_HEX, 64, 64);
    assert!(problem(set([taken])).contains("two formats have the kind acme_"));
    let many = (0..40).map(|n| {
        let format = LegacyFormat::try_new(&format!("k{n}"), Alphabet::LOWER_HEX, 32..=32).unwrap();
        format.try_with_prefix(&format!("k{n}.")).unwrap().with_successor(NEW.kind())
    });
    assert!(problem(set(many)).contains("at most 32"));
}

#[test]
fn formats_that_cannot_be_are_refused() {
    let problem = |result: Result<LegacyFormat, ConfigError>| result.unwrap_err().to_string();
    let hex = Alphabet::LOWER_HEX;
    assert!(problem(LegacyFormat::try_new("", hex, 32..=32)).contains("a kind has 1 to 23"));
    #[expect(clippy::reversed_empty_ranges, reason = "this is the mistake")]
    let reversed = LegacyFormat::try_new("k", hex, 33..=32);
    assert!(problem(reversed).contains("the shorter length comes first"));
    assert!(problem(LegacyFormat::try_new("k", hex, 32..=257)).contains("at most 256"));
    assert!(LegacyFormat::try_new("k", hex, 20..=256).is_ok());
    assert!(problem(LegacyFormat::try_new("k", hex, 19..=64)).contains("fewer than 80 bits"));
    assert!(problem(LegacyFormat::try_new("k", Alphabet::DIGITS, 16..=16)).contains("80 bits"));
    let format = LegacyFormat::try_new("k", hex, 32..=32).unwrap();
    assert!(format.try_with_prefix(&"p".repeat(31)).is_ok());
    assert!(problem(format.try_with_prefix(&"p".repeat(32))).contains("at most 31"));
    for bad in ["a b", "a;b", "a\"b", "ä", "\n"] {
        assert!(problem(format.try_with_prefix(bad)).contains("an Alphabet can have"), "{bad:?}");
    }
    let with = |min, max, separator| format.try_with_identifier(hex, min..=max, separator);
    assert!(with(1, 64, '|').is_ok());
    for (min, max) in [(0, 4), (4, 65), (5, 4)] {
        assert!(problem(with(min, max, '|')).contains("1 to 64 characters"));
    }
    for separator in ['a', '0', ' ', ';', 'ä', '\u{17c}'] {
        assert!(problem(with(1, 4, separator)).contains("the separator"), "{separator:?}");
    }
}

#[test]
fn a_legacy_format_never_mints() {
    block_on(async {
        let formats = set([UUID]).unwrap();
        let issuer = Issuer::new(MemoryStore::new(), formats.clone(), KeyHasher::sha256());
        let draft = || KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let refused = issuer.issue(UUID.kind(), draft(), &mut SysRng, NOW).await.unwrap_err();
        let legacy = MintError::Legacy { kind: UUID.kind(), successor: NEW.kind() };
        assert_eq!(refused, IssuerError::Mint(legacy));
        assert_eq!(formats.get(UUID.kind()), None);
        assert_eq!(formats.minting(UUID.kind()), Some(&NEW));
        assert!(formats.accepts(UUID.kind()));

        let key = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
        let id = KeyId::from_bytes([1; 16]);
        issuer.import_plaintext(id, draft(), key, NOW, NOW).await.unwrap();
        let rotated = issuer.rotate(id, Grace::DAY, &mut SysRng, NOW).await.unwrap();
        assert!(rotated.key.expose().starts_with("acme_"));
        assert_eq!(rotated.record.kind(), NEW.kind());
        // The old key works during its grace.
        let verifier = issuer.verifier();
        let lookup = verifier.lookup(&formats.parse(key).unwrap());
        let found = issuer.registry().find_sync(&lookup);
        assert_eq!(verifier.verify(&lookup, found, NOW).unwrap().kind(), UUID.kind());
    });
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The schemes of the old tables, and the current ones, of each format.
#[test]
fn the_hashes_are_those_of_other_systems() {
    let formats = set(ALL).unwrap();
    let hasher = KeyHasher::sha256()
        .accept(HashScheme::Sha256Token)
        .and_then(|hasher| hasher.accept(HashScheme::Sha256Body))
        .unwrap();
    let supabase = "N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz";
    for (before, secret, kind) in [
        ("", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "uuid"),
        ("17|", SANCTUM_SECRET, "sanctum"),
        ("sb_secret_", supabase, "supabase"),
        ("company_BRTRKFsL_", "51FwqftsmMDHHbJAMEXXHCgG", "prefixed"),
    ] {
        let token = format!("{before}{secret}");
        let lookup = Verifier::new(hasher.clone()).lookup(&formats.parse(&token).unwrap());
        let hash = |scheme, text: &str| KeyHash::new(scheme, sha256(text));
        let expected = [
            hash(HashScheme::Sha256Secret, &format!("{kind}\0{secret}")),
            hash(HashScheme::Sha256Token, &token),
            hash(HashScheme::Sha256Body, secret),
        ];
        assert!(lookup.hashes().eq(&expected), "{token}");
    }
    // Of a minted key the scheme is over everything behind the prefix, with the checksum.
    let checked = KeyFormat::base62("ghp_", 30).with_checksum();
    let token = "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";
    let formats = KeyFormats::from(checked);
    let lookup = Verifier::new(hasher).lookup(&formats.parse(token).unwrap());
    assert_eq!(*lookup.hashes().nth(2).unwrap().digest(), sha256(&token[4..]));
    // The text of such a hash.
    let text = format!("sha256-body:{}", "ab".repeat(32));
    let hash: KeyHash = text.parse().unwrap();
    assert_eq!((hash.scheme(), hash.to_string()), (HashScheme::Sha256Body, text));
}

/// A client that sends its secret behind another identifier must not lock out those who send the
/// right one.
#[test]
fn a_rehash_does_not_depend_on_the_identifier_that_was_sent() {
    block_on(async {
        let formats = set([SANCTUM]).unwrap();
        let hasher = KeyHasher::hmac_sha256(1, &[7; 32])
            .and_then(|hasher| hasher.accept(HashScheme::Sha256Body))
            .unwrap();
        let issuer = Issuer::new(MemoryStore::new(), formats.clone(), hasher);
        let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let hash = KeyHash::new(HashScheme::Sha256Body, sha256(SANCTUM_SECRET));
        let secret = StoredSecret::new(hash, SANCTUM.kind(), NOW);
        issuer.import(KeyId::from_bytes([1; 16]), draft, secret, NOW).await.unwrap();
        let verifier = issuer.verifier();
        let verify = |identifier: &str| {
            let token = format!("{identifier}|{SANCTUM_SECRET}");
            let lookup = verifier.lookup(&formats.parse(&token).unwrap());
            let found = issuer.registry().find_sync(&lookup);
            verifier.verify(&lookup, found, NOW)
        };
        let verified = verify("99").unwrap();
        assert!(issuer.rehash(&verified, NOW).await.unwrap());
        for identifier in ["17", "99"] {
            let verified = verify(identifier).unwrap();
            assert!(verified.rehash().is_none(), "{identifier}");
        }
    });
}

/// The hash of the text behind the prefix is the same for two kinds; the kind of the record decides.
#[test]
fn the_same_secret_behind_another_prefix_is_another_key() {
    let (live, test) = (KeyFormat::hex("live_"), KeyFormat::hex("test_"));
    let formats = KeyFormats::new([live, test]).unwrap();
    let hasher = KeyHasher::sha256().accept(HashScheme::Sha256Body).unwrap();
    let secret = "0a".repeat(32);
    let issuer = Issuer::new(MemoryStore::new(), formats.clone(), hasher);
    let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
    let hash = KeyHash::new(HashScheme::Sha256Body, sha256(&secret));
    let imported = StoredSecret::new(hash, live.kind(), NOW);
    block_on(issuer.import(KeyId::from_bytes([1; 16]), draft, imported, NOW)).unwrap();
    let verifier = issuer.verifier();
    for (prefix, expected) in [("live_", None), ("test_", Some(VerifyError::WrongKind))] {
        let token = format!("{prefix}{secret}");
        let lookup = verifier.lookup(&formats.parse(&token).unwrap());
        let found = issuer.registry().find_sync(&lookup);
        assert_eq!(verifier.verify(&lookup, found, NOW).err(), expected, "{prefix}");
    }
}

#[test]
fn plaintext_keys_are_imported_by_one_call() {
    block_on(async {
        let formats = set(ALL).unwrap();
        let issuer = Issuer::new(MemoryStore::new(), formats.clone(), KeyHasher::sha256());
        let draft = || KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let created = Timestamp::from_unix_secs(1_600_000_000);
        for (number, (token, hint)) in [
            ("7c9e6679-7425-40de-944b-e07fc1f90ae7".to_owned(), Some("7c9e6679")),
            // 24 characters have 142 bits, so eight may be shown.
            ("company_BRTRKFsL_51FwqftsmMDHHbJAMEXXHCgG".to_owned(), Some("company_51Fwqfts")),
            ("sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz".to_owned(), Some("sb_secret_N7UND0Ug")),
            (format!("17|{SANCTUM_SECRET}"), Some("pT6oGsuv")),
            (format!("acme_{}", "0123456789abcdef".repeat(4)), Some("acme_01234567")),
        ]
        .into_iter()
        .enumerate()
        {
            let id = KeyId::from_bytes([number as u8; 16]);
            let record = issuer.import_plaintext(id, draft(), &token, created, NOW).await.unwrap();
            assert_eq!(record.hint().map(|hint| hint.as_str()), hint);
            assert_eq!((record.created_at(), record.revision()), (created, 1));
            assert_eq!(record.current().hash.scheme(), HashScheme::Sha256Secret);
            let verifier = issuer.verifier();
            let lookup = verifier.lookup(&formats.parse(&token).unwrap());
            let found = issuer.registry().find_sync(&lookup);
            assert!(verifier.verify(&lookup, found, NOW).unwrap().rehash().is_none());
            let again = issuer.import_plaintext(id, draft(), &token, created, NOW).await;
            assert_eq!(again.unwrap_err(), IssuerError::DuplicateId);
        }
        let id = KeyId::from_bytes([99; 16]);
        let unread = issuer.import_plaintext(id, draft(), "nothing", created, NOW).await;
        let error = unread.unwrap_err();
        assert_eq!(error, IssuerError::Parse(ParseError::UnknownPrefix));
        assert_eq!(error.status(), 422);
    });
}

/// No hint leaves fewer than 80 bits hidden.
#[test]
fn the_hint_of_a_short_key_shows_less() {
    for (length, shown) in [(20, 0), (21, 1), (24, 4), (28, 8), (40, 8)] {
        let format = LegacyFormat::try_new("old", Alphabet::LOWER_HEX, length..=64).unwrap();
        let format = format.with_prefix("k.").with_successor(NEW.kind());
        let issuer = Issuer::new(MemoryStore::new(), set([format]).unwrap(), KeyHasher::sha256());
        let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let token = format!("k.{}", "a".repeat(length));
        let id = KeyId::from_bytes([1; 16]);
        let record = block_on(issuer.import_plaintext(id, draft, &token, NOW, NOW)).unwrap();
        let expected = format!("k.{}", "a".repeat(shown));
        assert_eq!(record.hint().map(|hint| hint.as_str()), Some(expected.as_str()));
    }
}

#[test]
fn a_set_with_legacy_formats_survives_serde() {
    let formats = set(ALL).unwrap();
    let json = serde_json::to_string(&formats).unwrap();
    assert_eq!(serde_json::from_str::<KeyFormats>(&json).unwrap(), formats);
    let uuid = serde_json::to_value(UUID).unwrap();
    let expected = serde_json::json!({
        "kind": "uuid", "alphabet": "-0123456789abcdef", "min": 36, "max": 36, "successor": "acme_",
    });
    assert_eq!(uuid, expected);
    for bad in [
        r#"[{"prefix":"acme_"},{"kind":"k","alphabet":"0","min":40,"max":40,"successor":"acme_"}]"#,
        r#"[{"prefix":"acme_"},{"kind":"k","alphabet":"ab","min":128,"max":128}]"#,
        r#"[{"prefix":"acme_"},{"kind":"k","alphabet":"ab","min":128,"max":128,"more":1}]"#,
        r#"[{"kind":"k","alphabet":"ab","min":128,"max":128,"successor":"acme_"}]"#,
    ] {
        assert!(serde_json::from_str::<KeyFormats>(bad).is_err(), "{bad}");
    }
}

#[test]
fn debug_output_of_a_format_shows_its_grammar() {
    assert_eq!(
        format!("{SANCTUM:?}"),
        "LegacyFormat(sanctum: \"\" + 1..=20 [0123456789] '|' + 40..=48 \
         [0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz], becomes acme_)"
    );
}

// ---------------------------------------------------------------------------------------
// Any set that is accepted is unambiguous.

/// An independently written reader of a format.
fn regex_of(format: &Described) -> regex::Regex {
    let class = |alphabet: &str| {
        let escaped: String =
            alphabet.chars().map(|c| format!("\\x{:02x}", u32::from(c))).collect();
        format!("[{escaped}]")
    };
    let identifier = match format.identifier {
        None => String::new(),
        Some((alphabet, min, max, separator)) => {
            let separator = regex::escape(&separator.to_string());
            format!("{}{{{min},{max}}}{separator}", class(alphabet))
        }
    };
    let (prefix, secret) = (regex::escape(format.prefix), class(format.alphabet));
    let text = format!(r"\A{prefix}{identifier}{secret}{{{},{}}}\z", format.min, format.max);
    regex::Regex::new(&text).unwrap()
}

#[derive(Clone, Debug)]
struct Described {
    prefix: &'static str,
    identifier: Option<(&'static str, usize, usize, char)>,
    alphabet: &'static str,
    min: usize,
    max: usize,
}

impl Described {
    fn build(&self, number: usize) -> LegacyFormat {
        let alphabet = Alphabet::try_of(self.alphabet).unwrap();
        let format = LegacyFormat::try_new(&format!("k{number}"), alphabet, self.min..=self.max);
        let mut format = format.unwrap().try_with_prefix(self.prefix).unwrap();
        if let Some((alphabet, min, max, separator)) = self.identifier {
            let alphabet = Alphabet::try_of(alphabet).unwrap();
            format = format.try_with_identifier(alphabet, min..=max, separator).unwrap();
        }
        format.with_successor(NEW.kind())
    }
}

/// Few characters and lengths, so that formats often meet.
fn described() -> impl Strategy<Value = Described> {
    let alphabets = prop::sample::select(vec!["ab", "abc|", "b-", "abcdefghijklmnop_", "|_"]);
    let prefixes = prop::sample::select(vec!["", "a", "ab", "a_", "acme_", "|"]);
    let ids = prop::sample::select(vec!["ab", "a", "abc"]);
    let separators = prop::sample::select(vec!['|', '_', '-']);
    let identifier = prop::option::of((ids, 1..3_usize, 0..2_usize, separators));
    (prefixes, identifier, alphabets, 80..84_usize, 0..3_usize).prop_map(
        |(prefix, identifier, alphabet, min, more)| {
            let identifier = identifier
                .map(|(alphabet, min, more, separator)| (alphabet, min, min + more, separator));
            Described { prefix, identifier, alphabet, min, max: min + more }
        },
    )
}

/// A text of the grammar of a format, by a stream of choices.
fn text_of(format: &Described, choices: &[u8]) -> String {
    let mut choices = choices.iter().cycle().map(|choice| usize::from(*choice));
    let mut some = |alphabet: &str, min: usize, max: usize| -> String {
        let len = min + choices.next().unwrap() % (max - min + 1);
        (0..len)
            .map(|_| {
                let at = choices.next().unwrap() % alphabet.len();
                char::from(alphabet.as_bytes()[at])
            })
            .collect()
    };
    let mut text = format.prefix.to_owned();
    if let Some((alphabet, min, max, separator)) = format.identifier {
        text += &some(alphabet, min, max);
        text.push(separator);
    }
    text + &some(format.alphabet, format.min, format.max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_text_is_a_key_of_at_most_one_kind(
        formats in prop::collection::vec(described(), 1..5),
        choices in prop::collection::vec(any::<u8>(), 97),
    ) {
        let regexes: Vec<_> = formats.iter().map(regex_of).collect();
        let texts: Vec<_> = formats.iter().map(|format| text_of(format, &choices)).collect();
        let built = formats.iter().enumerate().map(|(number, format)| format.build(number));
        let Ok(set) = set(built) else { return Ok(()) };
        for text in texts {
            let of: Vec<usize> =
                (0..regexes.len()).filter(|at| regexes[*at].is_match(&text)).collect();
            prop_assert_eq!(of.len(), 1, "{:?} is of several formats of {:?}", text, formats);
            let kind = set.parse(&text).map(|key| key.kind().to_string());
            prop_assert_eq!(kind, Ok(format!("k{}", of[0])), "{}", text);
        }
    }

    /// Two formats that are refused have a text in common.
    #[test]
    fn formats_are_refused_only_if_they_meet(one in described(), other in described()) {
        if set([one.build(0), other.build(1)]).is_err() {
            // The other format reads some text of the one: try every first choice at each position.
            prop_assert!(meet(&one, &other), "{:?} {:?}", one, other);
        }
    }
}

/// Whether two formats have a text in common, by walking both grammars a character at a time.
fn meet(one: &Described, other: &Described) -> bool {
    fn shapes(format: &Described) -> Vec<Vec<String>> {
        let prefix: Vec<String> = format.prefix.chars().map(String::from).collect();
        let heads: Vec<Vec<String>> = match format.identifier {
            None => vec![prefix],
            Some((alphabet, min, max, separator)) => (min..=max)
                .map(|len| {
                    let identifier = std::iter::repeat_n(alphabet.to_owned(), len);
                    prefix
                        .iter()
                        .cloned()
                        .chain(identifier)
                        .chain([separator.to_string()])
                        .collect()
                })
                .collect(),
        };
        heads
            .into_iter()
            .flat_map(|head| {
                (format.min..=format.max).map(move |len| {
                    let secret = std::iter::repeat_n(format.alphabet.to_owned(), len);
                    head.iter().cloned().chain(secret).collect()
                })
            })
            .collect()
    }
    let others = shapes(other);
    shapes(one).iter().any(|shape| {
        others.iter().any(|other| {
            shape.len() == other.len()
                && shape.iter().zip(other).all(|(a, b)| a.chars().any(|c| b.contains(c)))
        })
    })
}
