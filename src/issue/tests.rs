use std::time::Duration;

use ::rand::rngs::SysRng;

use crate::{
    clock::timestamp::Timestamp,
    issue::{error::IssuerError, issuer::Issuer},
    key::{
        format::KeyFormat,
        hash::{HashScheme, KeyHash, KeyHasher},
        id::KeyId,
        owner::OwnerId,
        record::KeyDraft,
        secret::StoredSecret,
    },
    store::{listing::PageRequest, memory::MemoryStore},
    verify::VerifyError,
};

#[test]
fn confining_never_widens() {
    pollster::block_on(async {
        const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
        let now = Timestamp::from_unix_secs(1_700_000_000);
        let issuer = Issuer::new(MemoryStore::new(), FORMAT, KeyHasher::sha256());
        let [acme, victim] = ["acme", "victim"].map(OwnerId::from_static);
        let draft = KeyDraft::new(victim.clone(), "key".parse().unwrap());
        let key = issuer.issue(FORMAT.kind(), draft.clone(), &mut SysRng, now).await.unwrap();
        let id = key.record.id();
        let twice = issuer.within(victim.clone());
        assert!(twice.within(victim.clone()).get(id).await.is_ok(), "the same owner twice");
        let acmes = issuer.within(acme.clone());
        let nobodys = acmes.within(victim.clone());
        let back = nobodys.within(acme.clone());
        let again = back.within(victim.clone());
        assert_eq!(again.get(id).await.unwrap_err(), IssuerError::NotFound);
        assert_eq!(nobodys.get(id).await.unwrap_err(), IssuerError::NotFound);
        assert_eq!(nobodys.revoke(id, now).await.unwrap_err(), IssuerError::NotFound);
        let issued = nobodys.issue(FORMAT.kind(), draft.clone(), &mut SysRng, now).await;
        assert_eq!(issued.unwrap_err(), IssuerError::ForeignOwner);
        for owner in [&acme, &victim] {
            let listed = nobodys.list(owner, PageRequest::first(1)).await;
            assert_eq!(listed.unwrap_err(), IssuerError::ForeignOwner);
        }
    });
}

#[test]
fn a_purge_keeps_what_has_not_ended_for_long_enough() {
    pollster::block_on(async {
        const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
        const KEPT: Duration = Duration::from_secs(30 * 86_400);
        let now = Timestamp::from_unix_secs(1_700_000_000);
        let issuer = Issuer::new(MemoryStore::new(), FORMAT, KeyHasher::sha256());
        let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        let mut issued = Vec::new();
        for expiry in [None, Some(now + Duration::from_millis(1)), None] {
            let draft = KeyDraft { expires_at: expiry, ..draft.clone() };
            issued.push(issuer.issue(FORMAT.kind(), draft, &mut SysRng, now).await.unwrap());
        }
        let [living, expired, revoked] = issued.as_slice() else { unreachable!() };
        issuer.revoke(revoked.record.id(), now).await.unwrap();
        let confined = issuer.within("acme".parse().unwrap());
        let refused = confined.purge(KEPT, 9, now + 2 * KEPT).await;
        assert_eq!(refused.unwrap_err(), IssuerError::ForeignOwner);
        let millis = Duration::from_millis;
        for (after, ids) in [
            (Duration::ZERO, vec![]),
            (KEPT, vec![]),
            (KEPT + millis(1), vec![revoked.record.id()]),
            (KEPT + millis(1), vec![]),
            (KEPT + millis(2), vec![expired.record.id()]),
            (Duration::MAX, vec![]),
        ] {
            assert_eq!(issuer.purge(KEPT, 9, now + after).await, Ok(ids), "{after:?} later");
        }
        assert!(issuer.get(living.record.id()).await.is_ok());
        // A clock at zero purges nothing.
        issuer.revoke(living.record.id(), Timestamp::ZERO).await.unwrap();
        assert_eq!(issuer.purge(Duration::ZERO, 9, Timestamp::ZERO).await, Ok(vec![]));
        // A purged key is refused as an unknown one.
        let verifier = issuer.verifier();
        let lookup = verifier.lookup(&revoked.key.present().unwrap());
        let found = issuer.registry().find_sync(&lookup);
        let refused = verifier.verify(&lookup, found, now).unwrap_err();
        assert_eq!((refused, refused.status()), (VerifyError::Unknown, 401));
        let gone = issuer.revoke(revoked.record.id(), now).await;
        assert_eq!(gone.unwrap_err(), IssuerError::NotFound);
    });
}

#[test]
fn importing_a_row_again_brings_nothing_back() {
    pollster::block_on(async {
        const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
        let now = Timestamp::from_unix_secs(1_700_000_000);
        let issuer = Issuer::new(MemoryStore::new(), FORMAT, KeyHasher::sha256());
        let row = KeyId::from_bytes([7; 16]);
        let leaked = FORMAT.mint(&mut SysRng).unwrap();
        let secret = StoredSecret::of(&leaked, &KeyHasher::sha256(), now);
        let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
        issuer.import(row, draft.clone(), secret.clone(), now).await.unwrap();
        issuer.rotate_now(row, &mut SysRng, now).await.unwrap();
        let again = issuer.import(row, draft.clone(), secret, now).await;
        assert_eq!(again.unwrap_err(), IssuerError::DuplicateId);
        let lookup = issuer.verifier().lookup(&leaked.present().unwrap());
        assert!(issuer.registry().find_sync(&lookup).is_none());

        let foreign = KeyHash::new(HashScheme::Sha256Token, [1; 32]);
        let secret = StoredSecret::new(foreign, FORMAT.kind(), now);
        let refused = issuer.import(KeyId::from_bytes([8; 16]), draft, secret, now).await;
        assert_eq!(refused.unwrap_err(), IssuerError::UnacceptedScheme);
    });
}
