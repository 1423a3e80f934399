//! Edge cases of the key lifecycle: rejected changes, their statuses, and extreme clock values.

use std::time::Duration;

use keyward::{
    KeyDraft, Quota, Quotas, Timestamp,
    key::{
        Allowlist, Grace, HashScheme, IpNetwork, KeyHash, KeyId, KeyKind, KeyMetadata, KeyName,
        KeyRecord, KeyState, KeyStatus, Origin, RecordError, RetiringSecret, Revocation,
        RevocationReason, ScopeSet, StoredRecord, StoredSecret, TransitionError,
    },
    quota::{Overrides, PolicyName},
};

const DAY: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000)
}

fn secret(number: u8, created_at: Timestamp) -> StoredSecret {
    let hash = KeyHash::new(HashScheme::Sha256Token, [number; 32]);
    StoredSecret::new(hash, KeyKind::from_static("lqt_"), created_at)
}

fn draft() -> KeyDraft {
    KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap())
}

fn id() -> KeyId {
    KeyId::from_bytes([1; 16])
}

fn name() -> KeyName {
    "another name".parse().unwrap()
}

fn scopes() -> ScopeSet {
    "read:lucent write:issues".parse().unwrap()
}

fn overrides() -> Overrides {
    Overrides::single(PolicyName::DEFAULT, Quota::new(7, DAY).unwrap())
}

const LEAKED: RevocationReason = RevocationReason::from_static("leaked");

fn networks() -> Option<Allowlist<IpNetwork>> {
    Some("10.0.0.0/8 2001:db8::/32".parse().unwrap())
}

fn origins() -> Option<Allowlist<Origin>> {
    Some("https://app.example.com".parse().unwrap())
}

fn metadata() -> Option<KeyMetadata> {
    Some(r#"{"team":"core"}"#.parse().unwrap())
}

fn issued(at: Timestamp) -> KeyRecord {
    KeyRecord::issue(id(), draft(), secret(0, at), at).unwrap()
}

#[test]
fn zero_and_oversized_graces_and_quotas_are_rejected() {
    for (duration, expected) in [
        (Duration::ZERO, None),
        (Duration::from_nanos(999_999), None),
        (MILLISECOND, Some(MILLISECOND)),
        (Duration::from_micros(1_999), Some(MILLISECOND)),
        (DAY, Some(DAY)),
        (DAY * 90, Some(DAY * 90)),
        (DAY * 90 + Duration::from_nanos(1), None),
        (DAY * 36_525, None),
        (Duration::MAX, None),
    ] {
        assert_eq!(Grace::new(duration).ok().map(Grace::duration), expected, "{duration:?}");
    }
    for (limit, window, expected) in [
        (0, DAY, None),
        (0, Duration::ZERO, None),
        (1, Duration::ZERO, None),
        (1, DAY * 367, None),
        (1, MILLISECOND, Some(1)),
        (u32::MAX, DAY * 366, Some(u32::MAX)),
    ] {
        assert_eq!(Quota::new(limit, window).ok().map(|quota| quota.limit()), expected);
    }
    assert!(Quotas::new(&[]).is_err());
}

#[test]
fn a_revoked_or_expired_key_rejects_every_reviving_change() {
    let expired = {
        let draft = draft().with_expiry(now() + DAY);
        KeyRecord::issue(id(), draft, secret(0, now()), now()).unwrap()
    };
    let later = now() + DAY;
    let revoked = issued(now()).revoke(now()).unwrap();
    let revoked_asleep = issued(now()).suspend(now()).unwrap().revoke(now()).unwrap();
    for (what, record, error) in [
        ("revoked", &revoked, TransitionError::Revoked),
        ("revoked while suspended", &revoked_asleep, TransitionError::Revoked),
        ("expired", &expired, TransitionError::Expired),
    ] {
        let new = secret(1, later);
        assert_eq!(record.rotate(new.clone(), Grace::DAY, later), Err(error), "{what}");
        assert_eq!(record.rotate_now(new, later), Err(error), "{what}");
        assert_eq!(record.resume(later), Err(error), "{what}");
        assert_eq!(record.expire_at(Timestamp::MAX, later), Err(error), "{what}");
        assert_eq!(record.rename(name(), later), Err(error), "{what}");
        assert_eq!(record.set_scopes(scopes(), later), Err(error), "{what}");
        assert_eq!(record.set_overrides(overrides(), later), Err(error), "{what}");
        assert_eq!(record.set_overrides(Overrides::none(), later), Err(error), "{what}");
        assert_eq!(error.status(), 409);
        // Revocation is always possible, also repeatedly.
        let dead = record.revoke(later).unwrap();
        assert_eq!(dead.status(later), KeyStatus::Revoked);
        assert_eq!(dead.revision(), record.revision() + 1);
    }
    let again = revoked.revoke(later).unwrap();
    assert_eq!(
        again.state(),
        KeyState::Revoked { since: now() },
        "keeps the time of the first revocation"
    );
    assert_eq!(revoked.suspend(later), Err(TransitionError::Revoked));
    // One millisecond before its expiry the key is active.
    let before = Timestamp::from_unix_millis(later.as_unix_millis() - 1);
    assert!(expired.rotate(secret(1, before), Grace::DAY, before).is_ok());
    assert!(expired.rename(name(), before).is_ok());
    assert!(expired.set_scopes(scopes(), before).is_ok());
    assert!(expired.set_overrides(Overrides::none(), before).is_ok());
}

#[test]
fn a_change_to_an_active_key_modifies_only_the_requested_fields() {
    let rotated = issued(now()).rotate(secret(1, now()), Grace::DAY, now()).unwrap();
    let asleep = rotated.suspend(now()).unwrap().expire_at(now() + DAY * 2, now()).unwrap();
    for record in [issued(now()), rotated, asleep] {
        let changed = |change: fn(&mut StoredRecord)| {
            let mut parts = record.clone().into_parts();
            parts.revision += 1;
            change(&mut parts);
            parts.build()
        };
        let renamed = record.rename(name(), now()).unwrap();
        assert_eq!(changed(|parts| parts.name = name()), Ok(renamed.clone()));
        let scoped = record.set_scopes(scopes(), now()).unwrap();
        assert_eq!(changed(|parts| parts.scopes = scopes()), Ok(scoped.clone()));
        let limited = record.set_overrides(overrides(), now()).unwrap();
        assert_eq!(changed(|parts| parts.overrides = overrides()), Ok(limited.clone()));
        let networked = record.set_networks(networks(), now()).unwrap();
        assert_eq!(changed(|parts| parts.networks = networks()), Ok(networked.clone()));
        let on_pages = record.set_origins(origins(), now()).unwrap();
        assert_eq!(changed(|parts| parts.origins = origins()), Ok(on_pages.clone()));
        let noted = record.set_metadata(metadata(), now()).unwrap();
        assert_eq!(changed(|parts| parts.metadata = metadata()), Ok(noted.clone()));
        let revoked = record.revoke(Revocation::at(now()).because(LEAKED)).unwrap();
        let expected = changed(|parts| {
            parts.state = KeyState::Revoked { since: now() };
            parts.revocation_reason = Some(LEAKED);
        });
        assert_eq!(expected, Ok(revoked));
        // And back, two revisions later.
        for back in [
            renamed.rename(record.name().clone(), now()),
            scoped.set_scopes(ScopeSet::empty(), now()),
            limited.set_overrides(Overrides::none(), now()),
            networked.set_networks(None, now()),
            on_pages.set_origins(None, now()),
            noted.set_metadata(None, now()),
        ] {
            let mut parts = back.unwrap().into_parts();
            parts.revision -= 2;
            assert_eq!(parts.build(), Ok(record.clone()));
        }
    }
}

#[test]
fn a_rotation_keeps_what_the_host_keeps() {
    let draft = draft()
        .with_networks(networks().unwrap())
        .with_origins(origins().unwrap())
        .with_metadata(metadata().unwrap())
        .with_creator("user_42".parse().unwrap());
    let record = KeyRecord::issue(id(), draft, secret(0, now()), now()).unwrap();
    for rotated in [
        record.rotate(secret(1, now()), Grace::DAY, now()).unwrap(),
        record.rotate_now(secret(1, now()), now()).unwrap(),
    ] {
        assert_eq!(rotated.networks(), networks().as_ref());
        assert_eq!(rotated.origins(), origins().as_ref());
        assert_eq!(rotated.metadata(), metadata().as_ref());
        assert_eq!(rotated.created_by().unwrap().as_str(), "user_42");
        assert_eq!(rotated.nonce(), record.nonce());
        assert!(record.is_followed_by(&rotated) && !rotated.is_followed_by(&record));
    }
}

#[test]
fn ending_the_grace_keeps_the_current_secret() {
    let rotated = issued(now())
        .rotate(secret(1, now()), Grace::DAY, now())
        .and_then(|record| record.rotate(secret(2, now()), Grace::new(DAY * 9).unwrap(), now()))
        .unwrap();
    // The first grace has ended when the others are ended.
    let then = now() + DAY * 2;
    let ended = rotated.end_grace(then).unwrap();
    assert_eq!(ended.current(), rotated.current());
    let deadlines: Vec<_> = ended.retiring().iter().map(|it| it.valid_until).collect();
    assert_eq!(deadlines, [now() + DAY, then], "no deadline moves later");
    assert_eq!(ended.revision(), rotated.revision() + 1);
    assert_eq!(ended.end_grace(then), Err(TransitionError::NoGrace));
    assert_eq!(issued(now()).end_grace(now()), Err(TransitionError::NoGrace));
    // The places are free again.
    let more = (3..6).try_fold(ended, |record, n| record.rotate(secret(n, then), Grace::DAY, then));
    assert_eq!(more.unwrap().retiring().len(), 3);
    let revoked = rotated.revoke(then).unwrap();
    assert_eq!(revoked.end_grace(then), Err(TransitionError::Revoked));
}

#[test]
fn an_expiry_can_be_removed() {
    let expiring = issued(now())
        .rotate(secret(1, now()), Grace::DAY, now())
        .and_then(|record| record.expire_at(now() + MILLISECOND, now()))
        .unwrap();
    let kept = expiring.expire_at(None, now()).unwrap();
    assert_eq!((kept.expires_at(), kept.ends_at()), (None, None));
    let deadline = kept.retiring()[0].valid_until;
    assert_eq!(deadline, now() + MILLISECOND, "a grace never moves later");
    let late = now() + MILLISECOND;
    assert_eq!(expiring.expire_at(None, late), Err(TransitionError::Expired), "it is too late");
    assert_eq!(
        expiring.revoke(now()).unwrap().expire_at(None, now()),
        Err(TransitionError::Revoked)
    );
}

#[test]
fn invalid_changes_are_rejected() {
    let record = issued(now());
    let expiring = |at| KeyRecord::issue(id(), draft().with_expiry(at), secret(0, now()), now());
    let before = Timestamp::from_unix_millis(now().as_unix_millis() - 1);
    let suspended = record.suspend(now()).unwrap();
    let unknown = KeyHash::new(HashScheme::Sha256Token, [9; 32]);
    let full = (1..=3).fold(record.clone(), |record, number| {
        record.rotate(secret(number, now()), Grace::DAY, now()).unwrap()
    });
    let from_future = secret(0, now() + MILLISECOND);
    for (what, result, error, status) in [
        ("an expiry now", expiring(now()), TransitionError::ExpiryInPast, 422),
        ("an expiry before", expiring(before), TransitionError::ExpiryInPast, 422),
        ("an expiry at 0", expiring(Timestamp::ZERO), TransitionError::ExpiryInPast, 422),
        ("a new expiry now", record.expire_at(now(), now()), TransitionError::ExpiryInPast, 422),
        (
            "an import from the future",
            KeyRecord::import(id(), draft(), from_future, now()),
            { TransitionError::SecretFromFuture },
            422,
        ),
        ("suspending twice", suspended.suspend(now()), TransitionError::AlreadySuspended, 409),
        ("resuming what is in use", record.resume(now()), TransitionError::NotSuspended, 409),
        (
            "rotating to the same secret",
            record.rotate(secret(0, now()), Grace::DAY, now()),
            { TransitionError::DuplicateSecret },
            409,
        ),
        (
            "rotating to a retiring one",
            full.rotate_now(secret(1, now()), now()),
            { TransitionError::DuplicateSecret },
            409,
        ),
        (
            "a fourth grace period",
            full.rotate(secret(4, now()), Grace::DAY, now()),
            { TransitionError::TooManyRetiring },
            409,
        ),
        (
            "rehashing an unknown secret",
            record.rehash(&unknown, unknown),
            { TransitionError::UnknownSecret },
            409,
        ),
        (
            "rehashing to an existing hash",
            full.rehash(&secret(1, now()).hash, secret(2, now()).hash),
            { TransitionError::DuplicateSecret },
            409,
        ),
    ] {
        assert_eq!(result, Err(error), "{what}");
        assert_eq!(error.status(), status, "{what}");
    }
    // With three grace periods: wait until one ends, or rotate without a grace period.
    assert_eq!(full.rotate_now(secret(4, now()), now()).unwrap().retiring(), []);
    let later = now() + DAY;
    assert_eq!(full.rotate(secret(4, later), Grace::DAY, later).unwrap().retiring().len(), 1);
}

#[test]
fn extreme_clock_values_neither_panic_nor_admit() {
    for at in [Timestamp::ZERO, Timestamp::MAX] {
        let record = issued(at);
        assert_eq!(record.status(at), KeyStatus::Active);
        assert_eq!(record.rotation_due_at(), at + DAY * 90);
        let rotated = record.rotate(secret(1, at), Grace::DAY, at).unwrap();
        assert_eq!(rotated.retiring()[0].valid_until, at + DAY);
        assert!(record.suspend(at).unwrap().resume(at).is_ok());
    }
    let record = issued(now());
    let skew = KeyRecord::MAX_CLOCK_SKEW;
    let tolerated = now().saturating_sub(skew);
    let behind = now().saturating_sub(skew + MILLISECOND);
    for (at, expected) in [
        (tolerated, Ok(())),
        (behind, Err(TransitionError::ClockBehind)),
        (Timestamp::ZERO, Err(TransitionError::ClockBehind)),
    ] {
        let rotated = record.rotate(secret(1, at), Grace::DAY, at).map(|_| ());
        assert_eq!(rotated, expected, "{at}");
        assert_eq!(record.rotate_now(secret(1, at), at).map(|_| ()), expected, "{at}");
        assert_eq!(record.expire_at(now() + DAY, at).map(|_| ()), expected, "{at}");
        assert_eq!(record.rename(name(), at).map(|_| ()), expected, "{at}");
        assert_eq!(record.set_scopes(scopes(), at).map(|_| ()), expected, "{at}");
        assert_eq!(record.set_overrides(Overrides::none(), at).map(|_| ()), expected, "{at}");
        // A leaked key can be revoked at every clock value.
        assert_eq!(record.revoke(at).unwrap().status(now()), KeyStatus::Revoked);
        assert!(record.suspend(at).is_ok());
    }
    assert_eq!(TransitionError::ClockBehind.status(), 503);
    // After a century the key is due for rotation and still valid.
    let century = now() + DAY * 36_525;
    assert!(record.is_rotation_due(century));
    assert_eq!(record.status(century), KeyStatus::Active);
}

#[test]
fn a_rotation_is_due_after_90_days() {
    let record = issued(now());
    let due = now() + DAY * 90;
    assert_eq!(record.rotation_due_at(), due);
    let before = Timestamp::from_unix_millis(due.as_unix_millis() - 1);
    assert!(!record.is_rotation_due(before));
    assert!(record.is_rotation_due(due));
    let rotated = record.rotate(secret(1, due), Grace::DAY, due).unwrap();
    assert!(!rotated.is_rotation_due(due));
    // The age of an imported key counts from its original creation.
    let imported = KeyRecord::import(id(), draft(), secret(0, now()), due).unwrap();
    assert!(imported.is_rotation_due(due));
    assert_eq!(imported.created_at(), now());
}

#[test]
fn inconsistent_record_parts_are_rejected() {
    let parts = || issued(now()).into_parts();
    let retiring = |number, until| RetiringSecret::new(secret(number, now()), until);
    let with = |change: fn(&mut StoredRecord)| {
        let mut parts = parts();
        change(&mut parts);
        parts.build()
    };
    assert_eq!(parts().build(), Ok(issued(now())));
    assert_eq!(with(|parts| parts.revision = 0), Err(RecordError::ZeroRevision));
    let unrevoked = with(|parts| parts.revocation_reason = Some(LEAKED));
    assert_eq!(unrevoked, Err(RecordError::ReasonWithoutRevocation));
    for (retired, expiry, error) in [
        (vec![1, 2, 3, 4], None, RecordError::TooManyRetiring),
        (vec![0], None, RecordError::DuplicateSecret),
        (vec![1, 2, 1], None, RecordError::DuplicateSecret),
        (vec![1], Some(now()), RecordError::GraceBeyondExpiry),
    ] {
        let mut parts = parts();
        parts.retiring = retired.iter().map(|number| retiring(*number, now() + DAY)).collect();
        parts.expires_at = expiry;
        assert_eq!(parts.clone().build(), Err(error), "{retired:?}");
        {
            let json = serde_json::to_string(&parts).unwrap();
            let read = serde_json::from_str::<StoredRecord>(&json).unwrap();
            assert_eq!(read.build(), Err(error), "{retired:?}, read from serde");
        }
    }
    for revision in [KeyRecord::MAX_REVISION + 1, u64::MAX] {
        let mut parts = parts();
        parts.revision = revision;
        assert_eq!(parts.build(), Err(RecordError::RevisionTooHigh), "{revision}");
    }
    // The highest storable revision leaves room for one more, so that revocation always works.
    let last = with(|parts| parts.revision = KeyRecord::MAX_REVISION).unwrap();
    assert_eq!(last.revoke(now()).unwrap().status(now()), KeyStatus::Revoked);
    assert!(last.rotate_now(secret(1, now()), now()).is_ok());
}
