//! Stored hashes: the three schemes, their text form, and migration between them.

use std::{
    process::{Command, Stdio},
    sync::Arc,
};

use hmac::{Hmac, KeyInit, Mac};
use keyward::{
    Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, Timestamp,
    error::ConfigErrorKind,
    key::{HashScheme, KeyFormats, KeyHash, KeyId, KeyRecord, Owner, PlaintextKey, StoredSecret},
    store::{Lookup, StoredKey},
    verify::{Verifier, VerifyError},
};
use rand::{SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

const LQT: KeyFormat = KeyFormat::hex("lqt_");
const GITHUB: KeyFormat = KeyFormat::base62("ghp_", 30).with_checksum();
const LARGEST: KeyFormat = KeyFormat::hex_bytes("a-prefix-of-23-letters_", 64).with_checksum();
const PEPPER_1: &[u8] = b"a pepper of at least 32 bytes, v1";
const PEPPER_2: &[u8] = b"a pepper of at least 32 bytes, v2";

fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000)
}

fn mint(format: KeyFormat, seed: u64) -> PlaintextKey {
    format.mint(&mut StdRng::seed_from_u64(seed)).unwrap()
}

fn lookup(hasher: &KeyHasher, key: &PlaintextKey) -> Lookup {
    let formats = KeyFormats::new([LQT, GITHUB, LARGEST]).unwrap();
    Verifier::new(hasher.clone()).lookup(&formats.parse(key.expose()).unwrap())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The input of the default scheme: the prefix, then the decoded body.
fn message(key: &PlaintextKey, body_len: usize, is_hex: bool) -> Vec<u8> {
    let (prefix, rest) = key.expose().split_at(key.kind().as_str().len());
    let body = &rest[..body_len];
    [prefix.as_bytes(), &if is_hex { unhex(body) } else { body.as_bytes().to_vec() }].concat()
}

fn record(secret: StoredSecret) -> KeyRecord {
    let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
    KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret, now()).unwrap()
}

fn found(record: &KeyRecord) -> Option<StoredKey> {
    let owner = Arc::new(Owner::new(record.owner().clone()));
    Some(StoredKey::join(record.clone(), owner).unwrap())
}

// ---------------------------------------------------------------------------------------
// The schemes.

/// Runs `printf %s "$KEY" | sha256sum` in a real shell.
fn sha256sum(key: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", r#"printf %s "$KEY" | sha256sum"#])
        .env("KEY", key)
        .stdin(Stdio::null())
        .output()
        .expect("a shell with sha256sum is needed to run this test");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn the_import_scheme_matches_sha256sum() {
    assert_eq!(sha256sum("abc"), hex(Sha256::digest("abc")), "sha256sum itself is correct");
    let hasher = KeyHasher::sha256().accept(HashScheme::Sha256Token).unwrap();
    for (format, seed) in [(LQT, 1), (GITHUB, 2), (LARGEST, 3)] {
        let key = mint(format, seed);
        let digest = sha256sum(key.expose());
        let imported: KeyHash = format!("sha256:{digest}").parse().unwrap();
        assert_eq!(lookup(&hasher, &key).hashes().nth(1), Some(&imported));
        // A record with this hash verifies.
        let imported = StoredSecret::new(imported, key.kind(), now());
        let verified = Verifier::new(hasher.clone()).verify(
            &lookup(&hasher, &key),
            found(&record(imported)),
            now(),
        );
        assert!(verified.is_ok(), "{format:?}");
    }
}

#[test]
fn the_default_scheme_is_sha_256_of_prefix_and_decoded_secret() {
    for seed in 0..50 {
        for (format, body_len, is_hex) in
            [(LQT, 64, true), (GITHUB, 30, false), (LARGEST, 128, true)]
        {
            let key = mint(format, seed);
            let message = message(&key, body_len, is_hex);
            let expected: [u8; 32] = Sha256::digest(&message).into();
            let hash = KeyHasher::sha256().hash(&key);
            assert_eq!(hash.scheme(), HashScheme::Sha256Secret);
            assert_eq!(*hash.digest(), expected, "{format:?}");
            assert!(lookup(&KeyHasher::sha256(), &key).hashes().eq([&hash]));
        }
    }
    let lqt = message(&mint(LQT, 1), 64, true);
    assert!(lqt.len() <= 55, "one SHA-256 block: {} bytes", lqt.len());
}

/// The same secret with two prefixes has two hashes.
#[test]
fn the_prefix_is_part_of_the_hash() {
    let (a, b) = (mint(KeyFormat::hex("a_"), 1), mint(KeyFormat::hex("b_"), 1));
    assert_eq!(a.expose()[2..], b.expose()[2..]);
    for hasher in [KeyHasher::sha256(), KeyHasher::hmac_sha256(1, PEPPER_1).unwrap()] {
        assert_ne!(hasher.hash(&a), hasher.hash(&b));
    }
}

/// HMAC as defined in RFC 2104, on top of SHA-256.
fn rfc_2104(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::digest([block.map(|byte| byte ^ 0x36).as_slice(), message].concat());
    Sha256::digest([block.map(|byte| byte ^ 0x5C).as_slice(), &inner].concat()).into()
}

#[test]
fn the_peppered_scheme_is_hmac_of_the_default_scheme_input() {
    let long = [0xA5; 200];
    for pepper in [PEPPER_1, PEPPER_2, &long[..64], &long[..65], &long] {
        for (format, body_len, is_hex) in
            [(LQT, 64, true), (GITHUB, 30, false), (LARGEST, 128, true)]
        {
            let key = mint(format, 9);
            let hash = KeyHasher::hmac_sha256(3, pepper).unwrap().hash(&key);
            assert_eq!(hash.scheme(), HashScheme::HmacSha256 { pepper: 3 });
            let message = message(&key, body_len, is_hex);
            assert_eq!(*hash.digest(), rfc_2104(pepper, &message), "{format:?}");
        }
    }
}

// ---------------------------------------------------------------------------------------
// Third-party vectors, through the crates that keyward links.

fn unbase64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = alphabet.iter().position(|each| *each == digit).unwrap();
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

fn lines(file: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    file.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect())
}

#[test]
fn sha_256_matches_the_nist_vectors() {
    let (mut messages, mut lengths, mut checkpoints) = (0, 0, 0);
    let mut seed = Vec::new();
    for line in lines(include_str!("vectors/sha256_cavp.txt")) {
        match line.as_slice() {
            ["msg", message, digest] => {
                let message = unbase64(message);
                assert_eq!(hex(Sha256::digest(&message)), *digest, "{} bytes", message.len());
                messages += 1;
                lengths += message.len();
            }
            ["seed", text] => seed = unhex(text),
            ["monte", digest] => {
                // SHAVS 6.4: each checkpoint is a thousand digests of the last three.
                let mut last = [seed.clone(), seed.clone(), seed];
                for _ in 0..1_000 {
                    let next = Sha256::digest(last.concat()).to_vec();
                    last = [last[1].clone(), last[2].clone(), next];
                }
                seed = last[2].clone();
                assert_eq!(hex(&seed), *digest, "checkpoint {checkpoints}");
                checkpoints += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((messages, checkpoints), (129, 100));
    // 0 to 64 bytes, and 163 to 6,400 in steps of 99.
    assert_eq!(lengths, 64 * 65 / 2 + 64 * (163 + 6_400) / 2);
}

#[test]
fn hmac_matches_the_rfc_4231_and_wycheproof_vectors() {
    let (mut valid, mut invalid, mut usable) = (0, 0, 0);
    let key_of_ours = mint(LQT, 1);
    let message_of_ours = message(&key_of_ours, 64, true);
    for line in lines(include_str!("vectors/hmac_sha256.txt")) {
        let [source, key, message, tag, result] = line.as_slice() else { panic!("{line:?}") };
        let bytes = |text: &str| if text == "-" { Vec::new() } else { unhex(text) };
        let (key, message, tag) = (bytes(key), bytes(message), bytes(tag));
        let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(&message);
        let full = mac.clone().finalize().into_bytes();
        assert_eq!(
            <[u8; 32]>::from(full),
            rfc_2104(&key, &message),
            "the independent RFC 2104 computation"
        );
        match *result {
            "valid" => {
                assert_eq!(full[..tag.len()], tag, "{source}");
                assert!(mac.verify_truncated_left(&tag).is_ok());
                valid += 1;
            }
            "invalid" => {
                assert_ne!(full[..tag.len()], tag, "{source}");
                assert!(mac.verify_truncated_left(&tag).is_err());
                invalid += 1;
            }
            other => panic!("{other}"),
        }
        // Each key that is long enough serves as a pepper.
        match KeyHasher::hmac_sha256(1, &key) {
            Ok(hasher) => {
                let expected = rfc_2104(&key, &message_of_ours);
                assert_eq!(*hasher.hash(&key_of_ours).digest(), expected);
                usable += 1;
            }
            Err(error) => {
                assert!(key.len() < 32 && error.to_string().contains("at least 32 bytes"))
            }
        }
    }
    assert_eq!((valid, invalid), (6 + 66, 108));
    assert!(usable > 100, "{usable}");
}

// ---------------------------------------------------------------------------------------
// The text form.

#[test]
fn a_hash_has_exactly_one_text_form() {
    let digest = "0123456789abcdef".repeat(4);
    let bytes: [u8; 32] = unhex(&digest).try_into().unwrap();
    for (scheme, text) in [
        (HashScheme::Sha256Secret, format!("sha256-secret:{digest}")),
        (HashScheme::Sha256Token, format!("sha256:{digest}")),
        (HashScheme::HmacSha256 { pepper: 0 }, format!("hmac-sha256.0:{digest}")),
        (HashScheme::HmacSha256 { pepper: 7 }, format!("hmac-sha256.7:{digest}")),
        (HashScheme::HmacSha256 { pepper: 10 }, format!("hmac-sha256.10:{digest}")),
        (HashScheme::HmacSha256 { pepper: u16::MAX }, format!("hmac-sha256.65535:{digest}")),
    ] {
        let hash = KeyHash::new(scheme, bytes);
        assert_eq!(hash.to_string(), text);
        let read: KeyHash = text.parse().unwrap();
        assert_eq!((read.scheme(), *read.digest()), (scheme, bytes), "{text}");
        {
            let json = serde_json::to_string(&hash).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<KeyHash>(&json).unwrap(), hash);
        }
    }
    for (bad, error) in [
        (String::new(), "begins with sha256-secret:"),
        (digest.clone(), "begins with sha256-secret:"),
        (format!(":{digest}"), "begins with sha256-secret:"),
        (format!("md5:{digest}"), "begins with sha256-secret:"),
        (format!("SHA256:{digest}"), "begins with sha256-secret:"),
        (format!(" sha256:{digest}"), "begins with sha256-secret:"),
        (format!("sha256 :{digest}"), "begins with sha256-secret:"),
        (format!("sha256.1:{digest}"), "begins with sha256-secret:"),
        (format!("sha512:{digest}{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.01:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.00:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.+1:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.-1:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256. 1:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.1.2:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.65536:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha256.\u{ff11}:{digest}"), "begins with sha256-secret:"),
        (format!("hmac-sha2561:{digest}"), "begins with sha256-secret:"),
        ("sha256:".to_owned(), "digest has 64"),
        (format!("sha256:{}", &digest[1..]), "digest has 64"),
        (format!("sha256:{}", &digest[2..]), "digest has 64"),
        (format!("sha256:{digest}0"), "digest has 64"),
        (format!("sha256:{digest}00"), "digest has 64"),
        (format!("sha256:{digest} "), "digest has 64"),
        (format!("sha256:{digest}\n"), "digest has 64"),
        (format!("sha256: {digest}"), "digest has 64"),
        (format!("sha256::{digest}"), "digest has 64"),
        (format!("sha256:0x{}", &digest[2..]), "digest has 64"),
        (format!("sha256:{}", digest.to_uppercase()), "digest has 64"),
        (format!("sha256:{}g", &digest[1..]), "digest has 64"),
        (format!("sha256:{}\0", &digest[1..]), "digest has 64"),
        (format!("sha256:{}\u{ff10}", &digest[3..]), "digest has 64"),
        (format!("sha256-secret:{}", "0".repeat(1 << 20)), "digest has 64"),
    ] {
        let refused = bad.parse::<KeyHash>().unwrap_err();
        assert!(refused.expected().contains(error), "{:?}", bad.get(..90).unwrap_or(&bad));
        assert!(serde_json::from_value::<KeyHash>(bad.into()).is_err());
    }
}

/// Digests that differ in any one bit are unequal, and so are equal digests of two schemes.
#[test]
fn hash_comparison_covers_every_bit_and_the_scheme() {
    let digest: [u8; 32] = Sha256::digest("a key").into();
    let hash = KeyHash::new(HashScheme::Sha256Secret, digest);
    assert_eq!(hash, KeyHash::new(HashScheme::Sha256Secret, digest));
    for bit in 0..256 {
        let mut other = digest;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(hash, KeyHash::new(HashScheme::Sha256Secret, other), "bit {bit}");
    }
    for (a, b) in [(0, 8), (8, 16), (16, 24), (0, 24)] {
        // Differences that would cancel out in a sum of words.
        let mut other = digest;
        other[a] ^= 0x80;
        other[b] ^= 0x80;
        assert_ne!(hash, KeyHash::new(HashScheme::Sha256Secret, other));
    }
    let schemes = [
        HashScheme::Sha256Secret,
        HashScheme::Sha256Token,
        HashScheme::HmacSha256 { pepper: 1 },
        HashScheme::HmacSha256 { pepper: 2 },
    ];
    for (at, a) in schemes.into_iter().enumerate() {
        for (other, b) in schemes.into_iter().enumerate() {
            assert_eq!(KeyHash::new(a, digest) == KeyHash::new(b, digest), at == other);
        }
    }
}

// ---------------------------------------------------------------------------------------
// Hashers.

#[test]
fn a_hasher_rejects_invalid_configurations() {
    let one = KeyHasher::hmac_sha256(1, PEPPER_1).unwrap();
    let four = one
        .clone()
        .accept_pepper(2, PEPPER_2)
        .and_then(|hasher| hasher.accept(HashScheme::Sha256Secret))
        .and_then(|hasher| hasher.accept(HashScheme::Sha256Token))
        .unwrap();
    for (what, hasher, expected) in [
        ("no pepper", KeyHasher::hmac_sha256(1, b""), "at least 32 bytes"),
        ("31 bytes", KeyHasher::hmac_sha256(1, &[7; 31]), "at least 32 bytes"),
        ("31 bytes, accepted", one.clone().accept_pepper(2, &[7; 31]), "at least 32 bytes"),
        ("one version twice", one.clone().accept_pepper(1, PEPPER_2), "pepper 1 was given already"),
        ("the current scheme", KeyHasher::sha256().accept(HashScheme::Sha256Secret), {
            "accepted already"
        }),
        ("no such pepper", one.clone().accept(HashScheme::HmacSha256 { pepper: 2 }), {
            "KeyHasher::accept_pepper"
        }),
        ("a fifth scheme", four.accept_pepper(3, PEPPER_1), "at most 4 schemes"),
    ] {
        let error = hasher.unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Hasher, "{what}");
        assert!(error.to_string().contains(expected), "{what}: {error}");
    }
    assert!(KeyHasher::hmac_sha256(1, &[7; 32]).is_ok());
}

/// Every step from a table of plain digests to the second pepper. A hash of any older scheme
/// verifies, reports its replacement, and is current afterwards.
#[test]
fn keys_are_rehashed_to_the_current_scheme_on_use() {
    let key = mint(LQT, 5);
    let plain = KeyHasher::sha256().accept(HashScheme::Sha256Token).unwrap();
    let first = KeyHasher::hmac_sha256(1, PEPPER_1).unwrap();
    let hasher = KeyHasher::hmac_sha256(2, PEPPER_2)
        .and_then(|hasher| hasher.accept_pepper(1, PEPPER_1))
        .and_then(|hasher| hasher.accept(HashScheme::Sha256Secret))
        .and_then(|hasher| hasher.accept(HashScheme::Sha256Token))
        .unwrap();
    let verifier = Verifier::new(hasher.clone());
    let current = hasher.hash(&key);
    assert_eq!(current.scheme(), HashScheme::HmacSha256 { pepper: 2 });
    let candidates = lookup(&hasher, &key);
    let token = *lookup(&plain, &key).hashes().nth(1).unwrap();
    let all = [current, first.hash(&key), plain.hash(&key), token];
    let mut hashes = candidates.hashes();
    assert!(hashes.clone().eq(&all), "{candidates:?}");
    // The number of remaining hashes at every step.
    for left in (0..=all.len()).rev() {
        assert_eq!(hashes.len(), left);
        assert_eq!(hashes.next().is_some(), left > 0);
    }

    for old in [first.hash(&key), plain.hash(&key), token] {
        let old_record = record(StoredSecret::new(old, key.kind(), now()));
        let verified = verifier.verify(&candidates, found(&old_record), now()).unwrap();
        let rehash = verified.rehash().copied().expect("an older scheme");
        assert_eq!((rehash.old, rehash.new), (old, current));
        let moved = verified.record().rehash(&rehash.old, rehash.new).unwrap();
        assert_eq!(moved.current().hash, current);
        assert_eq!(moved.revision(), old_record.revision() + 1);
        // From here on it is current, and the older hash no longer verifies.
        let verified = verifier.verify(&candidates, found(&moved), now()).unwrap();
        assert_eq!(verified.rehash(), None);
        let strict = Verifier::new(KeyHasher::hmac_sha256(2, PEPPER_2).unwrap());
        let only = lookup(&KeyHasher::hmac_sha256(2, PEPPER_2).unwrap(), &key);
        assert!(strict.verify(&only, found(&moved), now()).is_ok());
        let refused = strict.verify(&only, found(&old_record), now());
        assert_eq!(refused.err(), Some(VerifyError::Mismatch));
    }
}

#[test]
fn an_issuer_saves_a_repeated_rehash_once() {
    pollster::block_on(async {
        let mut rng = StdRng::seed_from_u64(6);
        let old =
            Issuer::new(MemoryStore::new(), LQT, KeyHasher::hmac_sha256(1, PEPPER_1).unwrap());
        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
        let issued = old.issue(LQT.kind(), draft, &mut rng, now()).await.unwrap();

        let rotated = KeyHasher::hmac_sha256(2, PEPPER_2).unwrap();
        let hasher = rotated.clone().accept_pepper(1, PEPPER_1).unwrap();
        let issuer = Issuer::new(old.registry(), LQT, hasher.clone());
        let verifier = Verifier::new(hasher.clone());
        let verify = || {
            let lookup = lookup(&hasher, &issued.key);
            let found = old.registry().find_sync(&lookup);
            verifier.verify(&lookup, found, now()).unwrap()
        };
        let verified = verify();
        assert!(verified.rehash().is_some());
        assert_eq!(issuer.rehash(&verified, now()).await, Ok(true));
        // A request in progress at the same time saves the same rehash, which is harmless.
        assert_eq!(issuer.rehash(&verified, now()).await, Ok(false));
        assert_eq!(verify().rehash(), None);
        assert_eq!(issuer.rehash(&verify(), now()).await, Ok(false));
        // The old pepper can be removed.
        let lookup = lookup(&rotated, &issued.key);
        let found = old.registry().find_sync(&lookup);
        assert!(Verifier::new(rotated).verify(&lookup, found, now()).is_ok());
    });
}

/// A leaked row proves nothing: its digest cannot be computed without the pepper, and the digest
/// itself is not a key.
#[test]
fn a_row_hashed_with_another_pepper_never_verifies() {
    let key = mint(LQT, 7);
    let hasher = KeyHasher::hmac_sha256(1, PEPPER_1).unwrap();
    for (what, forged) in [
        ("plain SHA-256", KeyHasher::sha256().hash(&key)),
        ("another pepper", KeyHasher::hmac_sha256(1, PEPPER_2).unwrap().hash(&key)),
        ("another version", KeyHasher::hmac_sha256(2, PEPPER_1).unwrap().hash(&key)),
        ("the dummy", KeyHash::new(HashScheme::Sha256Secret, [0x5A; 32])),
        ("zeros", KeyHash::new(HashScheme::HmacSha256 { pepper: 1 }, [0; 32])),
        ("the digest under another scheme", {
            KeyHash::new(HashScheme::Sha256Token, *hasher.hash(&key).digest())
        }),
    ] {
        let row = record(StoredSecret::new(forged, key.kind(), now()));
        let verified =
            Verifier::new(hasher.clone()).verify(&lookup(&hasher, &key), found(&row), now());
        assert_eq!(verified.err(), Some(VerifyError::Mismatch), "{what}");
    }
}

#[test]
fn debug_and_errors_never_contain_a_pepper() {
    let hasher = KeyHasher::hmac_sha256(2, PEPPER_2)
        .and_then(|hasher| hasher.accept_pepper(1, PEPPER_1))
        .unwrap();
    let key = mint(LQT, 8);
    let issuer = Issuer::new(MemoryStore::new(), LQT, hasher.clone());
    for shown in [
        format!("{hasher:?}"),
        format!("{hasher:#?}"),
        format!("{:?}", Verifier::new(hasher.clone())),
        format!("{issuer:?}"),
        format!("{:?}", lookup(&hasher, &key)),
        format!("{:?}", hasher.clone().accept_pepper(1, PEPPER_1)),
    ] {
        for pepper in [PEPPER_1, PEPPER_2] {
            let text = std::str::from_utf8(pepper).unwrap();
            let bytes = format!("{pepper:?}");
            for secret in [&text[..12], &hex(pepper)[..12], &bytes[1..24]] {
                assert!(!shown.to_lowercase().contains(secret), "{secret} in {shown}");
            }
        }
    }
}
