//! Shows under valgrind that comparing digests, and verifying a key, takes no branch and reads
//! no address that depends on stored digests.
//!
//! Memcheck reports a jump or an address that depends on undefined memory. So the stored
//! digests, which are the secret of a comparison, are marked undefined, and then compared by
//! the library's release build. `.ci/constant-time` runs this:
//!
//! - `compare` must be free of reports, and each control, which leaks on purpose, is caught.
//! - `verify` branches on the verdict, which is public and shows in the answer, in the function
//!   `proved` alone. `verdict.supp` lets jumps of that function pass, and nothing else may be
//!   reported. Without that file the jumps must be reported, and copies of the library with a
//!   leak planted in them must be caught with it.
//!
//! The secret is the stored digest alone. Reading the characters of a presented key and
//! looking up its digest in a table branch by nature. That is safe: whoever sends a key
//! knows its characters, and nobody can steer the bytes of its SHA-256.

use std::{arch::asm, env, hint::black_box, process::ExitCode, sync::Arc, time::Duration};

use keyward::{
    KeyDraft, KeyFormat, KeyHasher, Timestamp,
    key::{
        Grace, HashScheme, KeyFormats, KeyHash, KeyId, KeyRecord, Owner, PlaintextKey, StoredSecret,
    },
    store::StoredKey,
    verify::{MatchedSecret, Verifier, VerifyError},
};
use subtle::ConstantTimeEq;

fn main() -> ExitCode {
    if request(RUNNING_ON_VALGRIND, 0, 0) == 0 {
        eprintln!("run this under valgrind, as .ci/constant-time does");
        return ExitCode::from(2);
    }
    let compare: fn(&KeyHash, &KeyHash) -> u8 = match env::args().nth(1).as_deref() {
        Some("verify") => {
            verify_all();
            return ExitCode::SUCCESS;
        }
        Some("compare") => |a, b| a.ct_eq(b).unwrap_u8(),
        Some("control-early-exit") => early_exit,
        Some("control-slices") => {
            |a, b| u8::from(black_box(&a.digest()[..]) == black_box(&b.digest()[..]))
        }
        Some("control-table") => |a, b| TABLE[usize::from(a.digest()[0] ^ b.digest()[0])],
        _ => {
            eprintln!(
                "usage: compare | verify | control-early-exit | control-slices | control-table"
            );
            return ExitCode::from(2);
        }
    };
    compare_all(compare);
    ExitCode::SUCCESS
}

fn compare_all(compare: fn(&KeyHash, &KeyHash) -> u8) {
    let stored = [0x5A; 32];
    for scheme in [HashScheme::Sha256Secret, HashScheme::HmacSha256 { pepper: 1 }] {
        // Equal, and different in the first, a middle and the last byte.
        for (differing, expected) in [(None, 1), (Some(0), 0), (Some(17), 0), (Some(31), 0)] {
            let mut presented = stored;
            if let Some(at) = differing {
                presented[at] ^= 1;
            }
            let secret = KeyHash::new(scheme, stored);
            let presented = KeyHash::new(scheme, presented);
            let digest = secret.digest();
            mark(MAKE_MEM_UNDEFINED, digest.as_ptr(), digest.len());
            let answer = black_box(compare)(black_box(&presented), black_box(&secret));
            // Only the answer becomes public.
            mark(MAKE_MEM_DEFINED, &raw const answer, 1);
            assert_eq!(answer, expected, "{differing:?}");
        }
    }
}

/// Verifies each secret of a key, and one that it does not have, under one scheme and under
/// several, in each state of the key.
fn verify_all() {
    let formats = KeyFormats::from(LQT);
    let now = Timestamp::from_unix_secs(1_700_000_000);
    let hmac = || KeyHasher::hmac_sha256(1, &[1; 32]);
    let (old, new) = (KeyHasher::sha256(), hmac().unwrap());
    let both = hmac().unwrap().accept(HashScheme::Sha256Secret).unwrap();
    for (stored_under, hasher) in [(&old, &old), (&new, &new), (&old, &both), (&new, &both)] {
        let keys: Vec<PlaintextKey> = (0..5).map(|_| LQT.mint_system().unwrap()).collect();
        let secret = |at: usize| StoredSecret::of(&keys[at], stored_under, now);
        let active = record(secret(3), now)
            .and_then(|it| it.rotate(secret(2), Grace::DAY, now))
            .and_then(|it| it.rotate(secret(1), Grace::DAY, now))
            .and_then(|it| it.rotate(secret(0), Grace::DAY, now))
            .unwrap();
        let after = now + Grace::DAY.duration();
        let expiring = active.expire_at(after + Duration::from_secs(1), now).unwrap();
        for (record, at, refused) in [
            (active.clone(), now, None),
            (active.clone(), after, Some(VerifyError::PastGrace)),
            (active.suspend(now).unwrap(), now, Some(VerifyError::Suspended)),
            (active.revoke(now).unwrap(), now, Some(VerifyError::Revoked)),
            (expiring, after + Duration::from_secs(1), Some(VerifyError::Expired)),
        ] {
            for (place, key) in keys.iter().enumerate() {
                let expected = match (place, refused) {
                    (4, _) => Err(VerifyError::Mismatch),
                    (0, None | Some(VerifyError::PastGrace)) => Ok(MatchedSecret::Current),
                    (_, Some(refused)) => Err(refused),
                    (_, None) => Ok(MatchedSecret::Retiring { valid_until: after }),
                };
                let found = undefined(record.clone());
                let verifier = Verifier::new(hasher.clone());
                let lookup = verifier.lookup(&formats.parse(key.expose()).unwrap());
                let verified = black_box(&verifier).verify(black_box(&lookup), Some(found), at);
                assert_eq!(verified.map(|it| it.matched()), expected, "secret {place}");
            }
        }
    }
}

const LQT: KeyFormat = KeyFormat::hex("lqt_");

fn record(
    secret: StoredSecret,
    now: Timestamp,
) -> Result<KeyRecord, keyward::key::TransitionError> {
    let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
    KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret, now)
}

/// What a store finds, with all its digests marked undefined.
fn undefined(record: KeyRecord) -> StoredKey {
    let owner = Arc::new(Owner::new(record.owner().clone()));
    let found = StoredKey::join(record, owner).unwrap();
    for hash in found.record().hashes() {
        mark(MAKE_MEM_UNDEFINED, hash.digest().as_ptr(), hash.digest().len());
    }
    black_box(found)
}

fn early_exit(a: &KeyHash, b: &KeyHash) -> u8 {
    for at in 0..32 {
        if black_box(a.digest()[at]) != black_box(b.digest()[at]) {
            return 0;
        }
    }
    1
}

/// 1 for no difference: a table that is read at an address which depends on the secret.
static TABLE: [u8; 256] = {
    let mut table = [0; 256];
    table[0] = 1;
    table
};

const RUNNING_ON_VALGRIND: usize = 0x1001;
const MAKE_MEM_UNDEFINED: usize = 0x4D43_0001;
const MAKE_MEM_DEFINED: usize = 0x4D43_0002;

fn mark(as_what: usize, start: *const u8, len: usize) {
    request(as_what, start.addr(), len);
}

/// A request to valgrind as `valgrind.h` encodes it; outside valgrind it answers 0.
#[cfg(target_arch = "x86_64")]
fn request(code: usize, first: usize, second: usize) -> usize {
    let arguments = [code, first, second, 0, 0, 0];
    let mut answer = 0_usize;
    // SAFETY: the rotations add up to whole turns of rdi, the exchange is of a register with
    // itself, and valgrind reads the six words at rax and writes rdx alone.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
            inout("rdi") 0_usize => _,
        );
    }
    answer
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_code: usize, _first: usize, _second: usize) -> usize {
    0
}
