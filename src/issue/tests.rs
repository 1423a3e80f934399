use std::time::Duration;

use ::rand::rngs::SysRng;

use crate::{
    clock::timestamp::Timestamp,
    issue::{error::IssuerError, issuer::Issuer},
    key::{
        draft::KeyDraft,
        format::KeyFormat,
        grace::Grace,
        hash::{HashScheme, KeyHash},
        hasher::KeyHasher,
        id::KeyId,
        owner::OwnerId,
        secret::StoredSecret,
    },
    store::{listing::PageRequest, memory::MemoryStore},
    verify::{error::VerifyError, verified::MatchedSecret},
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

#[test]
fn a_leaked_key_is_found_by_its_text_in_one_call() {
    pollster::block_on(async {
        const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
        let now = Timestamp::from_unix_secs(1_700_000_000);
        // Its keys have hashes of two schemes.
        let old = KeyHasher::hmac_sha256(1, &[1; 32]).unwrap();
        let both = KeyHasher::hmac_sha256(2, &[2; 32]).unwrap().accept_pepper(1, &[1; 32]).unwrap();
        let store = MemoryStore::new();
        let draft = KeyDraft::new(OwnerId::from_static("acme"), "key".parse().unwrap());
        let before = Issuer::new(&store, FORMAT, old);
        let first = before.issue(FORMAT.kind(), draft.clone(), &mut SysRng, now).await.unwrap();
        let issuer = Issuer::new(&store, FORMAT, both);
        let id = first.record.id();
        let second = issuer.rotate(id, Grace::DAY, &mut SysRng, now).await.unwrap();
        let retiring = MatchedSecret::Retiring { valid_until: now + Grace::DAY.duration() };
        let found = async |text: &str| {
            let leaked = issuer.find_leaked(text).await.unwrap()?;
            assert_eq!((leaked.key.record().id(), leaked.key.owner().id.as_str()), (id, "acme"));
            Some(leaked.matched)
        };
        assert_eq!(found(first.key.expose()).await, Some(retiring));
        assert_eq!(found(second.key.expose()).await, Some(MatchedSecret::Current));
        let pasted = format!(" \t{}\r\n", second.key.expose());
        assert_eq!(found(&pasted).await, Some(MatchedSecret::Current));
        // A key that is no longer accepted is found too.
        issuer.revoke(id, now).await.unwrap();
        assert_eq!(found(first.key.expose()).await, Some(retiring));
        // It is no key of this service, or an unknown one.
        let unknown = FORMAT.mint(&mut SysRng).unwrap();
        for text in ["", "lqt_", "ghp_0123456789", "\u{1f511}", unknown.expose()] {
            assert!(found(text).await.is_none(), "{text}");
        }
        let leaked = issuer.find_leaked(first.key.expose()).await.unwrap().unwrap();
        assert!(!format!("{leaked:?}").contains(first.key.expose()));
        // A confined issuer finds the keys of its owner alone.
        let own = issuer.within(OwnerId::from_static("acme"));
        assert!(own.find_leaked(first.key.expose()).await.unwrap().is_some());
        let others = issuer.within(OwnerId::from_static("victim"));
        assert!(others.find_leaked(first.key.expose()).await.unwrap().is_none());
    });
}
