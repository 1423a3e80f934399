//! Access decisions: kinds × scopes × routes × tiers × owners, and the reasons of refusals.

use std::sync::Arc;

use keyward::{
    Access, Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, Quota, Scope, Timestamp,
    issue::IssuerError,
    key::{
        Grace, GrantError, HashScheme, KeyFormats, KeyHash, KeyId, KeyKind, KeyRecord, KeyState,
        Owner, OwnerId, RecordError, RetiringSecret, ScopeCatalog, ScopePattern, ScopeSet,
        StoredRecord, StoredSecret, Tier, TransitionError,
    },
    quota::{Overrides, PolicyName},
    store::{Lookup, StoredKey},
    verify::{Forbidden, KeyCaller, MatchedSecret, RequiredScope, Verified, Verifier, VerifyError},
};
use rand::{SeedableRng, rngs::StdRng};

const PK: KeyKind = KeyKind::from_static("luc_pk_");
const API: KeyKind = KeyKind::from_static("luc_api_");
const OAT: KeyKind = KeyKind::from_static("luc_oat_");
const MCP: KeyKind = KeyKind::from_static("luc_mcp_");
const LUCI: KeyKind = KeyKind::from_static("luci_");

const READ: Scope = Scope::from_static("read:lucent");
const WRITE: Scope = Scope::from_static("write:issues");

fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000)
}

fn formats() -> KeyFormats {
    KeyFormats::new([
        KeyFormat::hex("luc_pk_"),
        KeyFormat::hex("luc_api_"),
        KeyFormat::hex("luc_oat_"),
        KeyFormat::hex("luc_mcp_").with_successor(API),
        KeyFormat::hex("luci_"),
    ])
    .unwrap()
}

fn catalog() -> ScopeCatalog {
    ScopeCatalog::new([READ, WRITE])
        .and_then(|catalog| catalog.allow(PK, [], []))
        .and_then(|catalog| catalog.allow(API, [READ], [READ, WRITE]))
        .and_then(|catalog| catalog.allow(OAT, [], [READ, WRITE]))
        .and_then(|catalog| catalog.allow(MCP, [READ], [READ]))
        .unwrap()
}

/// A presented key of any kind, including legacy kinds.
fn lookup(kind: KeyKind, digit: char) -> Lookup {
    let token = format!("{kind}{}", digit.to_string().repeat(64));
    Verifier::new(KeyHasher::sha256()).lookup(&formats().parse(&token).unwrap())
}

fn hash(lookup: &Lookup) -> KeyHash {
    *lookup.hashes().next().unwrap()
}

fn owner_id(text: &str) -> OwnerId {
    text.parse().unwrap()
}

/// Builds a record without the issuer and its catalogue, with arbitrary scopes, as if the table had
/// been edited.
fn forged(lookup: &Lookup, scopes: &[&str], owner: &str) -> KeyRecord {
    let scopes = scopes.iter().map(|scope| Scope::new(scope).unwrap());
    let draft = KeyDraft::new(owner_id(owner), "a key".parse().unwrap())
        .with_scopes(ScopeSet::new(scopes).unwrap());
    let secret = StoredSecret::new(hash(lookup), lookup.kind(), now());
    KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret, now()).unwrap()
}

fn owned(record: KeyRecord, tier: Option<&str>) -> StoredKey {
    let mut owner = Owner::new(record.owner().clone());
    owner.tier = tier.map(|tier| Tier::new(tier).unwrap());
    StoredKey::join(record, Arc::new(owner)).unwrap()
}

// ---------------------------------------------------------------------------------------
// The matrix.

/// A route as an `Access`, and independently as plain values.
struct Route {
    name: &'static str,
    access: Access,
    kinds: Option<&'static str>,
    /// All of them are required.
    scopes: &'static str,
    /// One of them is required, if there is one.
    any_of: &'static str,
    tiers: Option<&'static str>,
    owner: Option<&'static str>,
}

fn routes() -> Vec<Route> {
    let open = |name, access| Route {
        name,
        access,
        kinds: None,
        scopes: "",
        any_of: "",
        tiers: None,
        owner: None,
    };
    let tiers = |names: &[&'static str]| -> Vec<Tier> {
        names.iter().map(|name| Tier::new(name).unwrap()).collect()
    };
    let data = || [API, OAT, MCP];
    vec![
        open("any key", Access::any_key()),
        Route { kinds: Some("luc_pk_"), ..open("ingest", Access::kinds([PK])) },
        Route {
            scopes: "read:lucent",
            kinds: Some("luc_api_ luc_oat_ luc_mcp_"),
            ..open("GET issues", Access::scope(READ).with_kinds(data()))
        },
        Route {
            scopes: "write:issues",
            kinds: Some("luc_api_ luc_oat_ luc_mcp_"),
            ..open("PATCH issue", Access::scope(WRITE).with_kinds(data()))
        },
        Route { scopes: "read:lucent", ..open("read, any kind", Access::scope(READ)) },
        Route {
            scopes: "read:lucent write:issues",
            ..open("both", Access::scope(READ).with_scope(WRITE))
        },
        Route {
            scopes: "admin:all",
            ..open("an unknown scope", Access::scope(Scope::from_static("admin:all")))
        },
        Route {
            scopes: "READ:LUCENT",
            ..open("case", Access::scope("READ:LUCENT".parse().unwrap()))
        },
        Route { scopes: "read", ..open("a scope's start", Access::scope("read".parse().unwrap())) },
        Route {
            any_of: "read:lucent write:issues",
            ..open("either", Access::any_of([READ, WRITE]))
        },
        Route {
            any_of: "admin:all write:issues",
            ..open("an unknown scope or another", {
                Access::any_of([Scope::from_static("admin:all"), WRITE])
            })
        },
        Route {
            scopes: "read:lucent",
            any_of: "write:issues admin:all",
            kinds: Some("luc_api_ luc_oat_"),
            ..open(
                "one and either",
                Access::scope(READ)
                    .with_any_of([WRITE, Scope::from_static("admin:all")])
                    .with_kinds([API, OAT]),
            )
        },
        Route { kinds: Some(""), ..open("no alternative", Access::any_of([] as [Scope; 0])) },
        Route {
            tiers: Some("enterprise"),
            ..open("compliance", Access::any_key().with_tiers(tiers(&["enterprise"])))
        },
        Route {
            tiers: Some("higher enterprise"),
            kinds: Some("luci_"),
            ..open("datasets", Access::kinds([LUCI]).with_tiers(tiers(&["higher", "enterprise"])))
        },
        Route {
            tiers: Some("enterprise"),
            ..open(
                "two tier lists",
                Access::any_key()
                    .with_tiers(tiers(&["higher", "enterprise"]))
                    .with_tiers(tiers(&["standard", "enterprise"])),
            )
        },
        Route {
            owner: Some("org_a"),
            ..open("org_a's", Access::any_key().with_owner(owner_id("org_a")))
        },
        Route {
            owner: Some("org_b"),
            scopes: "write:issues",
            tiers: Some("standard"),
            kinds: Some("luc_api_"),
            ..open(
                "everything at once",
                Access::scope(WRITE)
                    .with_kinds([API])
                    .with_owner(owner_id("org_b"))
                    .with_tiers(tiers(&["standard"])),
            )
        },
        Route { kinds: Some(""), ..open("no kind", Access::kinds([])) },
        Route { tiers: Some(""), ..open("no tier", Access::any_key().with_tiers([])) },
        Route {
            kinds: Some("luc_api_"),
            ..open("two kind lists", Access::kinds([PK, API]).with_kinds([API, OAT]))
        },
        Route { kinds: Some(""), ..open("disjoint kinds", Access::kinds([PK]).with_kinds([API])) },
    ]
}

/// The ceiling of a kind, as the services' documents state it.
const CAN_HOLD: [(&str, &str); 5] = [
    ("luc_pk_", ""),
    ("luc_api_", "read:lucent write:issues"),
    ("luc_oat_", "read:lucent write:issues"),
    ("luc_mcp_", "read:lucent"),
    ("luci_", ""),
];

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Returns the expected refusal from the plain values: the first in the documented order.
fn objection(
    route: &Route,
    kind: &str,
    holds: &[&str],
    tier: Option<&str>,
    owner: &str,
) -> Option<&'static str> {
    if let Some(kinds) = route.kinds
        && !words(kinds).contains(&kind)
    {
        return Some("kind");
    }
    for required in words(route.scopes) {
        if !holds.contains(&required) {
            return Some("scope");
        }
    }
    let any_of = words(route.any_of);
    if !any_of.is_empty() && !any_of.iter().any(|scope| holds.contains(scope)) {
        return Some("scope");
    }
    if route.owner.is_some_and(|required| required != owner) {
        return Some("owner");
    }
    if let Some(tiers) = route.tiers
        && !tier.is_some_and(|tier| words(tiers).contains(&tier))
    {
        return Some("tier");
    }
    None
}

#[test]
fn every_access_combination_matches_the_plain_rules() {
    let unchecked = Verifier::new(KeyHasher::sha256());
    let held = unchecked.clone().with_catalog(catalog());
    let routes = routes();
    let (mut admitted, mut cells) = (0, 0);
    for (kind, can_hold) in CAN_HOLD {
        let lookup = lookup(kind.parse().unwrap(), 'a');
        for written in [
            "",
            "read:lucent",
            "write:issues",
            "read:lucent write:issues",
            "admin:all",
            "admin:all read:lucent",
        ] {
            for tier in
                [None, Some("standard"), Some("higher"), Some("enterprise"), Some("Enterprise")]
            {
                for owner in ["org_a", "org_b"] {
                    let record = forged(&lookup, &words(written), owner);
                    let found = owned(record, tier);
                    for (verifier, ceiling) in [(&unchecked, None), (&held, Some(can_hold))] {
                        let holds: Vec<&str> = words(written)
                            .into_iter()
                            .filter(|scope| ceiling.is_none_or(|all| words(all).contains(scope)))
                            .collect();
                        let verified =
                            verifier.verify(&lookup, Some(found.clone()), now()).unwrap();
                        let shown = verified.scopes().to_string();
                        assert_eq!(words(&shown), holds, "{kind} {written}");
                        for route in &routes {
                            let result = verified.clone().authorize(&route.access);
                            let refused = result.as_ref().err().map(|forbidden| match forbidden {
                                Forbidden::Kind { .. } => "kind",
                                Forbidden::Scope { .. } => "scope",
                                Forbidden::Owner => "owner",
                                Forbidden::Tier { .. } => "tier",
                                _ => "something new",
                            });
                            assert_eq!(
                                refused,
                                objection(route, kind, &holds, tier, owner),
                                "{} with a {kind} key of {owner} ({tier:?}) holding {holds:?}",
                                route.name
                            );
                            cells += 1;
                            if let Ok(caller) = result {
                                admitted += 1;
                                assert_eq!(caller.owner_id().as_str(), owner);
                                assert_eq!(caller.tier().map(Tier::as_str), tier);
                                assert_eq!(caller.kind().as_str(), kind);
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(cells, 5 * 6 * 5 * 2 * 2 * routes.len());
    // Some combinations are admitted and some are refused.
    assert!(admitted > cells / 10 && admitted < cells / 2, "{admitted} of {cells}");
}

/// The rows of the services' documents, written out, so that the plain rules above cannot share a
/// mistake with the code.
#[test]
fn documented_access_rows_are_decided_as_documented() {
    let verifier = Verifier::new(KeyHasher::sha256()).with_catalog(catalog());
    let routes = routes();
    for (route, kind, scopes, tier, admitted) in [
        ("ingest", PK, "", "standard", true),
        ("ingest", API, "read:lucent write:issues", "standard", false),
        ("ingest", MCP, "read:lucent", "standard", false),
        ("GET issues", API, "read:lucent", "standard", true),
        ("GET issues", OAT, "read:lucent", "standard", true),
        ("GET issues", MCP, "read:lucent", "standard", true),
        ("GET issues", PK, "read:lucent", "standard", false),
        ("GET issues", API, "write:issues", "standard", false),
        ("GET issues", API, "", "standard", false),
        ("PATCH issue", API, "read:lucent", "standard", false),
        ("PATCH issue", API, "read:lucent write:issues", "standard", true),
        ("PATCH issue", OAT, "write:issues", "standard", true),
        ("PATCH issue", MCP, "write:issues", "standard", false),
        ("compliance", LUCI, "", "standard", false),
        ("compliance", LUCI, "", "higher", false),
        ("compliance", LUCI, "", "enterprise", true),
        ("any key", LUCI, "", "standard", true),
        ("no kind", API, "read:lucent write:issues", "enterprise", false),
        ("no tier", API, "read:lucent write:issues", "enterprise", false),
    ] {
        let lookup = lookup(kind, 'b');
        let found = owned(forged(&lookup, &words(scopes), "org_a"), Some(tier));
        let verified = verifier.verify(&lookup, Some(found), now()).unwrap();
        let access = &routes.iter().find(|each| each.name == route).unwrap().access;
        assert_eq!(verified.authorize(access).is_ok(), admitted, "{route} {kind} {scopes} {tier}");
    }
}

#[test]
fn empty_and_conflicting_access_rules_admit_nothing() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let lookup = lookup(API, 'c');
    let all = ["read:lucent", "write:issues"];
    let found = owned(forged(&lookup, &all, "org_a"), Some("enterprise"));
    let powerful = verifier.verify(&lookup, Some(found), now()).unwrap();
    let enterprise = Tier::from_static("enterprise");
    for (what, access) in [
        ("no kinds", Access::kinds([])),
        ("no kinds, then some", Access::kinds([]).with_kinds([API])),
        ("some kinds, then none", Access::kinds([API]).with_kinds([])),
        ("no tiers", Access::any_key().with_tiers([])),
        ("no tiers, then some", Access::any_key().with_tiers([]).with_tiers([enterprise.clone()])),
        (
            "two owners",
            Access::any_key().with_owner(owner_id("org_a")).with_owner(owner_id("org_b")),
        ),
        ("two owners, the right one last", {
            Access::any_key().with_owner(owner_id("org_b")).with_owner(owner_id("org_a"))
        }),
        ("two owners, then kinds", {
            Access::any_key()
                .with_owner(owner_id("org_b"))
                .with_owner(owner_id("org_a"))
                .with_kinds([API])
        }),
        ("an owner in upper case", Access::any_key().with_owner(owner_id("ORG_A"))),
        ("an owner's start", Access::any_key().with_owner(owner_id("org_"))),
    ] {
        assert!(powerful.clone().authorize(&access).is_err(), "{what}");
    }
    let same_twice = Access::any_key().with_owner(owner_id("org_a")).with_owner(owner_id("org_a"));
    assert!(powerful.authorize(&same_twice).is_ok());

    // A key without scopes and an owner without a tier are refused by routes that require one.
    let found = owned(forged(&lookup, &[], "org_a"), None);
    let plain = verifier.verify(&lookup, Some(found), now()).unwrap();
    assert!(plain.clone().authorize(&Access::scope(READ)).is_err());
    assert_eq!(
        plain.clone().authorize(&Access::any_key().with_tiers([enterprise])).err(),
        Some(Forbidden::Tier { found: None })
    );
    assert!(plain.authorize(&Access::any_key()).is_ok());
}

#[test]
fn a_refusal_names_the_missing_permission() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let lookup = lookup(API, 'd');
    let found = owned(forged(&lookup, &["read:lucent"], "org_a"), Some("standard"));
    let verified = verifier.verify(&lookup, Some(found), now()).unwrap();
    let both = Access::scope(READ).with_scope(WRITE);
    let refused = verified.clone().authorize(&both).unwrap_err();
    assert_eq!(refused, Forbidden::Scope { missing: WRITE });
    assert_eq!(refused.to_string(), "missing required scope: write:issues");
    assert_eq!(both.required_scopes(), [READ, WRITE]);
    let others = Access::any_key().with_owner(owner_id("org_secret"));
    let refused = verified.authorize(&others).unwrap_err();
    assert!(!format!("{refused:?} {refused}").contains("org_secret"), "{refused:?}");
    for forbidden in [
        Forbidden::Owner,
        Forbidden::Kind { found: API },
        Forbidden::Scope { missing: READ },
        Forbidden::Tier { found: None },
    ] {
        assert_eq!(forbidden.status(), 403);
    }
}

// ---------------------------------------------------------------------------------------
// Scopes with a resource, and roles.

const READ_REPO: ScopePattern = ScopePattern::from_static("repo:read:{owner}/{repo}");
const ADMIN_ORG: ScopePattern = ScopePattern::from_static("org:{owner}:admin");

/// What a key may hold, where `/` separates an owner and a repository.
const HELD: [&str; 20] = [
    "repo:read:acme/site",
    "repo:read:acme/shop",
    "repo:read:other/site",
    "repo:read:acme/*",
    "repo:read:*/site",
    "repo:read:*/*",
    "repo:read:acme/s*",
    "repo:read:acme/*/*",
    "repo:read:acme",
    "repo:read:acme/",
    "repo:read:acme:site",
    "repo:read:*",
    "repo:*",
    "*",
    "*:*:*/*",
    "repo:write:acme/site",
    "REPO:READ:acme/site",
    "repo:read:{owner}/{repo}",
    "repo:read:acme/{repo}",
    "xrepo:read:acme/site",
];

/// The plain rule of `repo:read:{owner}/{repo}`, without the code that it tests.
fn reads_repo(held: &str, owner: &str, repo: &str) -> bool {
    let wanted = [owner, repo];
    // The characters of a scope (RFC 6749 §3.3).
    let is_of_scope = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    let is_value = |value: &str| {
        let has_syntax = value.contains([':', '/', '*', '{', '}']);
        !value.is_empty() && !has_syntax && value.bytes().all(is_of_scope)
    };
    if wanted.iter().any(|value| !is_value(value)) {
        return false;
    }
    [
        format!("repo:read:{owner}/{repo}"),
        format!("repo:read:{owner}/*"),
        format!("repo:read:*/{repo}"),
        "repo:read:*/*".to_owned(),
    ]
    .contains(&held.to_owned())
}

#[test]
fn every_resource_is_reached_by_its_scopes_alone() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let lookup = lookup(API, 'a');
    let (mut admitted, mut cells) = (0, 0);
    for held in HELD {
        let found = owned(forged(&lookup, &[held], "org_a"), None);
        let verified = verifier.verify(&lookup, Some(found), now()).unwrap();
        for owner in
            ["acme", "other", "ACME", "", "*", "acme/site", "{owner}", "repo", "a b", "ü", "x\0"]
        {
            for repo in ["site", "shop", "", "*", "site/", "si:te", "{repo}", "s*"] {
                let access = Access::scope_on(READ_REPO);
                let access = access.with_resource("owner", owner).with_resource("repo", repo);
                let expected = reads_repo(held, owner, repo);
                let result = verified.clone().authorize(&access);
                assert_eq!(result.is_ok(), expected, "{held:?} reads {owner:?}/{repo:?}");
                admitted += u32::from(expected);
                cells += 1;
            }
        }
    }
    assert!(admitted > 10 && admitted < cells / 10, "{admitted} of {cells}");
}

#[test]
fn a_resource_that_is_not_bound_or_bound_twice_admits_nobody() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let lookup = lookup(API, 'a');
    let all = ["repo:read:*/*", "repo:read:acme/site", "*"];
    let found = owned(forged(&lookup, &all, "org_a"), None);
    let powerful = verifier.verify(&lookup, Some(found), now()).unwrap();
    let read = || Access::scope_on(READ_REPO);
    for (what, access) in [
        ("nothing bound", read()),
        ("one of two bound", read().with_resource("owner", "acme")),
        ("another parameter", read().with_resource("owner", "acme").with_resource("name", "site")),
        (
            "two values",
            read()
                .with_resource("owner", "acme")
                .with_resource("repo", "site")
                .with_resource("owner", "other"),
        ),
        (
            "two values, the right one last",
            read()
                .with_resource("owner", "other")
                .with_resource("owner", "acme")
                .with_resource("repo", "site"),
        ),
    ] {
        let refused = powerful.clone().authorize(&access).unwrap_err();
        // The refusal names the pattern and nothing of the request.
        let missing = Scope::from_static("repo:read:{owner}/{repo}");
        assert_eq!(refused, Forbidden::Scope { missing }, "{what}");
    }
    let twice = read().with_resource("owner", "acme").with_resource("repo", "site");
    assert!(powerful.clone().authorize(&twice.with_resource("repo", "site")).is_ok());

    // Alternatives with and without a resource share the parameters that they have in common.
    let either = Access::any_of([RequiredScope::from(ADMIN_ORG), READ_REPO.into(), WRITE.into()])
        .with_resource("owner", "acme");
    for (held, repo, admitted) in [
        ("org:acme:admin", None, true),
        ("org:other:admin", None, false),
        ("repo:read:acme/site", None, false),
        ("repo:read:acme/site", Some("site"), true),
        ("repo:read:acme/site", Some("shop"), false),
        ("write:issues", None, true),
        ("", Some("site"), false),
    ] {
        let found = owned(forged(&lookup, &words(held), "org_a"), None);
        let verified = verifier.verify(&lookup, Some(found), now()).unwrap();
        let access =
            repo.map_or_else(|| either.clone(), |repo| either.clone().with_resource("repo", repo));
        let result = verified.authorize(&access);
        assert_eq!(result.is_ok(), admitted, "{held:?} {repo:?}");
        if let Err(refused) = result {
            assert_eq!(refused.to_string(), "missing required scope: org:{owner}:admin");
        }
    }
}

/// The catalogue of a service with resources and roles.
fn resources() -> ScopeCatalog {
    ScopeCatalog::new([READ, WRITE])
        .and_then(|catalog| catalog.with_pattern(READ_REPO))
        .and_then(|catalog| catalog.with_role(role("editor"), [READ, WRITE]))
        .and_then(|catalog| {
            catalog.with_role(role("reader"), [READ, Scope::from_static("repo:read:acme/*")])
        })
        .and_then(|catalog| catalog.allow(PK, [], []))
        .and_then(|catalog| {
            let ceiling = [READ, WRITE, Scope::from_static("repo:read:*/*")];
            catalog.allow(API, [role("editor")], ceiling)
        })
        .and_then(|catalog| catalog.allow(OAT, [], [role("reader")]))
        .and_then(|catalog| catalog.allow(MCP, [READ], [READ]))
        .unwrap()
}

fn role(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

/// What each kind can be given of what is asked for, written out, and what the key may then do. A
/// database that was edited by hand gives the key no more than that.
#[test]
fn resources_and_roles_stay_within_the_ceiling_of_the_kind() {
    let catalog = resources();
    let verifier = Verifier::new(KeyHasher::sha256()).with_catalog(catalog.clone());
    let above = |scope: &str, kind| Err(GrantError::AboveCeiling { scope: role(scope), kind });
    let unknown = || Err(GrantError::UnknownScope);
    for (kind, asked, granted, effective) in [
        (API, "repo:read:acme/site", Ok(()), "repo:read:acme/site"),
        (API, "repo:read:*/*", Ok(()), "repo:read:*/*"),
        (API, "editor", Ok(()), "read:lucent write:issues"),
        (API, "reader", Ok(()), "read:lucent repo:read:acme/*"),
        (API, "editor reader", Ok(()), "read:lucent repo:read:acme/* write:issues"),
        (API, "editor read:lucent", Ok(()), "read:lucent write:issues"),
        (API, "Editor", unknown(), ""),
        (API, "owner", unknown(), ""),
        (API, "*", unknown(), ""),
        (API, "repo:read:*", unknown(), ""),
        (API, "repo:*", unknown(), ""),
        (API, "repo:read:acme/s*", unknown(), ""),
        (API, "repo:read:{owner}/{repo}", unknown(), ""),
        (API, "read:lucent *", unknown(), "read:lucent"),
        (OAT, "repo:read:acme/site", Ok(()), "repo:read:acme/site"),
        (OAT, "repo:read:acme/*", Ok(()), "repo:read:acme/*"),
        (OAT, "repo:read:other/site", above("repo:read:{owner}/{repo}", OAT), ""),
        (OAT, "repo:read:*/site", above("repo:read:{owner}/{repo}", OAT), ""),
        (OAT, "repo:read:*/*", above("repo:read:{owner}/{repo}", OAT), ""),
        (OAT, "reader", Ok(()), "read:lucent repo:read:acme/*"),
        // Of a role above the ceiling a key that was edited by hand gets what the kind can have.
        (OAT, "editor", above("editor", OAT), "read:lucent"),
        (MCP, "reader", above("reader", MCP), "read:lucent"),
        (MCP, "repo:read:acme/site", above("repo:read:{owner}/{repo}", MCP), ""),
        (PK, "editor", above("editor", PK), ""),
        (PK, "repo:read:acme/site", above("repo:read:{owner}/{repo}", PK), ""),
        (LUCI, "editor", above("editor", LUCI), ""),
    ] {
        let asked = words(asked);
        let set = ScopeSet::new(asked.iter().map(|scope| role(scope))).unwrap();
        assert_eq!(catalog.check(kind, &set), granted, "{kind} {asked:?}");
        assert_eq!(catalog.grant(kind, Some(&asked)).map(drop), granted, "{kind} {asked:?}");
        let lookup = lookup(kind, 'a');
        let found = owned(forged(&lookup, &asked, "org_a"), None);
        let verified = verifier.verify(&lookup, Some(found), now()).unwrap();
        assert_eq!(verified.scopes().to_string(), effective, "{kind} {asked:?}");
        // The name of a role is no scope of the key.
        assert!(verified.authorize(&Access::scope(role("editor"))).is_err());
    }
    // The key that was issued holds the role, so that a change of the role reaches it.
    assert_eq!(catalog.grant(API, None).unwrap().to_string(), "editor");
    assert_eq!(catalog.role("editor").unwrap().to_string(), "read:lucent write:issues");
    assert_eq!(catalog.ceiling(OAT).to_string(), "read:lucent repo:read:acme/*");
}

#[test]
fn a_role_means_what_the_catalogue_says_at_the_decision() {
    let narrow = ScopeCatalog::new([READ, WRITE])
        .and_then(|catalog| catalog.with_role(role("editor"), [READ]))
        .and_then(|catalog| catalog.allow(API, [], [READ, WRITE]))
        .unwrap();
    let without = catalog();
    let lookup = lookup(API, 'a');
    for (catalog, effective) in
        [(resources(), "read:lucent write:issues"), (narrow, "read:lucent"), (without, "")]
    {
        let verifier = Verifier::new(KeyHasher::sha256()).with_catalog(catalog);
        let found = owned(forged(&lookup, &["editor"], "org_a"), None);
        let verified = verifier.verify(&lookup, Some(found), now()).unwrap();
        assert_eq!(verified.scopes().to_string(), effective);
    }
}

#[test]
fn catalogues_in_which_a_text_means_nothing_or_two_things_are_refused() {
    let pattern = |text: &str| ScopePattern::new(text).unwrap();
    let base = || ScopeCatalog::new([READ]).and_then(|all| all.with_pattern(READ_REPO)).unwrap();
    for text in ["*", "repo:*", "repo:read:*/*", "repo:{x}", "a*b", "}"] {
        assert!(ScopeCatalog::new([READ, role(text)]).is_err(), "the scope {text}");
        assert!(base().with_role(role(text), [READ]).is_err(), "the role {text}");
    }
    for (what, result) in [
        ("two patterns of one scope", base().with_pattern(pattern("repo:read:acme/{repo}"))),
        ("the same pattern", base().with_pattern(READ_REPO)),
        ("a pattern of a known scope", base().with_pattern(pattern("read:{x}"))),
        (
            "a pattern of a role",
            base().with_role(role("role:a"), [READ]).unwrap().with_pattern(pattern("role:{x}")),
        ),
        ("a role of a known scope", base().with_role(READ, [])),
        ("a role of an instance", base().with_role(role("repo:read:a/b"), [READ])),
        ("a role twice", base().with_role(role("r"), []).unwrap().with_role(role("r"), [])),
        (
            "a role in a role",
            base().with_role(role("r"), []).unwrap().with_role(role("s"), [role("r")]),
        ),
        ("an unknown scope in a role", base().with_role(role("r"), [WRITE])),
        ("no instance in a role", base().with_role(role("r"), [role("repo:read:acme")])),
        ("no instance in a ceiling", base().allow(API, [], [role("repo:read:*")])),
        (
            "a default above the ceiling",
            base().allow(API, [role("repo:read:*/*")], [role("repo:read:acme/*")]),
        ),
        (
            "a default role above the ceiling",
            base().with_role(role("r"), [READ]).unwrap().allow(API, [role("r")], []),
        ),
    ] {
        assert!(result.is_err(), "{what}");
    }
    assert!(base().with_pattern(pattern("repo:read:{owner}")).is_ok());
    assert!(base().allow(API, [role("repo:read:acme/a")], [role("repo:read:acme/*")]).is_ok());
}

// ---------------------------------------------------------------------------------------
// Ceilings.

fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

#[test]
fn ceilings_are_enforced_at_issue() {
    let mut rng = StdRng::seed_from_u64(1);
    let issuer =
        Issuer::with_catalog(MemoryStore::new(), formats(), KeyHasher::sha256(), catalog());
    let draft = |scopes: Option<&str>| {
        let draft = KeyDraft::new(owner_id("org_a"), "a key".parse().unwrap());
        match scopes {
            Some(scopes) => draft.with_scopes(scopes.parse().unwrap()),
            None => draft,
        }
    };
    let above = |scope, kind| Err(GrantError::AboveCeiling { scope, kind });
    for (kind, asked, expected) in [
        (PK, None, Ok("")),
        (PK, Some(""), Ok("")),
        (PK, Some("read:lucent"), above(READ, PK)),
        (PK, Some("write:issues"), above(WRITE, PK)),
        (API, None, Ok("read:lucent")),
        (API, Some(""), Ok("")),
        (API, Some("write:issues read:lucent"), Ok("read:lucent write:issues")),
        (API, Some("read:lucent admin:all"), Err(GrantError::UnknownScope)),
        (API, Some("Read:lucent"), Err(GrantError::UnknownScope)),
        (API, Some("read:lucent/"), Err(GrantError::UnknownScope)),
        (OAT, None, Ok("")),
        (OAT, Some("write:issues"), Ok("write:issues")),
        (LUCI, None, Ok("")),
        (LUCI, Some("read:lucent"), above(READ, LUCI)),
        (MCP, Some("write:issues"), above(WRITE, MCP)),
    ] {
        let before = issuer.registry().len();
        let result = block_on(issuer.issue(kind, draft(asked), &mut rng, now()));
        let scopes = result.map(|issued| issued.record.scopes().to_string());
        let expected = expected.map(str::to_owned).map_err(IssuerError::Grant);
        assert_eq!(scopes, expected, "{kind} asking for {asked:?}");
        assert_eq!(issuer.registry().len() - before, usize::from(expected.is_ok()));

        // The same for an import.
        let hash = KeyHash::new(HashScheme::Sha256Secret, [before as u8 + 100; 32]);
        let id = KeyId::from_bytes([before as u8 + 100; 16]);
        let secret = StoredSecret::new(hash, kind, now());
        let result = block_on(issuer.import(id, draft(asked), secret, now()));
        assert_eq!(result.map(|record| record.scopes().to_string()), expected, "{kind} {asked:?}");
    }
    let unknown = KeyKind::from_static("nobody_");
    let result = block_on(issuer.issue(unknown, draft(None), &mut rng, now()));
    assert_eq!(result.err(), Some(IssuerError::UnknownKind));
    let error: IssuerError<std::convert::Infallible> = GrantError::UnknownScope.into();
    assert_eq!(error.status(), 422);
}

#[test]
fn ceilings_are_enforced_when_scopes_are_set() {
    let issuer =
        Issuer::with_catalog(MemoryStore::new(), formats(), KeyHasher::sha256(), catalog());
    let above = |scope, kind| Err(GrantError::AboveCeiling { scope, kind });
    for (digit, (kind, asked, expected)) in ('0'..).zip([
        (PK, "", Ok("")),
        (PK, "read:lucent", above(READ, PK)),
        (API, "write:issues read:lucent", Ok("read:lucent write:issues")),
        (API, "read:lucent admin:all", Err(GrantError::UnknownScope)),
        (OAT, "write:issues", Ok("write:issues")),
        (LUCI, "read:lucent", above(READ, LUCI)),
        (MCP, "read:lucent", Ok("read:lucent")),
        (MCP, "write:issues", above(WRITE, MCP)),
    ]) {
        let presented = lookup(kind, digit);
        let id = KeyId::from_bytes([digit as u8; 16]);
        let draft = KeyDraft::new(owner_id("org_a"), "a key".parse().unwrap())
            .with_scopes(ScopeSet::empty());
        let secret = StoredSecret::new(hash(&presented), kind, now());
        block_on(issuer.import(id, draft, secret, now())).unwrap();
        let strangers = issuer.within(owner_id("org_b"));
        let name = "stolen".parse().unwrap();
        let refused = block_on(strangers.set_scopes(id, ScopeSet::empty(), now()));
        assert_eq!(refused.unwrap_err(), IssuerError::NotFound, "the key belongs to another owner");
        let refused = block_on(strangers.rename(id, name, now()));
        assert_eq!(refused.unwrap_err(), IssuerError::NotFound, "another owner's key");
        let refused = block_on(strangers.set_overrides(id, Overrides::none(), now()));
        assert_eq!(refused.unwrap_err(), IssuerError::NotFound, "another owner's key");

        let expected = expected.map(str::to_owned).map_err(IssuerError::Grant);
        let set = block_on(issuer.set_scopes(id, asked.parse().unwrap(), now()));
        let set = set.map(|record| record.scopes().to_string());
        assert_eq!(set, expected, "{kind} given {asked:?}");
        // The next decision uses the new scopes; a refused change has no effect.
        let found = issuer.registry().find_sync(&presented);
        let verified = issuer.verifier().verify(&presented, found, now()).unwrap();
        assert_eq!(verified.scopes().to_string(), *expected.as_deref().unwrap_or(""));
        assert_eq!(verified.record().revision(), 1 + u64::from(expected.is_ok()));
    }
}

#[test]
fn names_and_overrides_are_changed_through_the_issuer() {
    let issuer =
        Issuer::with_catalog(MemoryStore::new(), formats(), KeyHasher::sha256(), catalog());
    let mut rng = StdRng::seed_from_u64(3);
    let draft = KeyDraft::new(owner_id("org_a"), "a key".parse().unwrap());
    let issued = block_on(issuer.issue(API, draft, &mut rng, now())).unwrap();
    let id = issued.record.id();
    let overrides = Overrides::single(PolicyName::DEFAULT, Quota::per_minute(1));
    let renamed = block_on(issuer.rename(id, "another".parse().unwrap(), now())).unwrap();
    let limited = block_on(issuer.set_overrides(id, overrides.clone(), now())).unwrap();
    let stored = issuer.registry().find_by_id_sync(id).unwrap();
    assert_eq!((renamed.name().as_str(), limited.overrides()), ("another", &overrides));
    assert_eq!(*stored.record(), limited);
    assert_eq!(limited.name(), renamed.name());
    let unlimited = block_on(issuer.set_overrides(id, Overrides::none(), now())).unwrap();
    assert_eq!((unlimited.overrides().len(), unlimited.revision()), (0, 4));
    block_on(issuer.revoke(id, now())).unwrap();
    let refused = block_on(issuer.rename(id, "again".parse().unwrap(), now()));
    assert_eq!(refused.unwrap_err(), IssuerError::Transition(TransitionError::Revoked));
}

#[test]
fn unknown_and_malformed_scopes_are_rejected() {
    for (bad, position) in [
        ("write issues", Some(5)),
        (" read:lucent", Some(0)),
        ("read:lucent ", Some(11)),
        ("read:lucent\n", Some(11)),
        ("read:\"lucent\"", Some(5)),
        ("", None),
    ] {
        assert_eq!(Scope::new(bad).unwrap_err().position(), position, "{bad:?}");
        assert_eq!(catalog().scope(bad), Err(GrantError::UnknownScope), "{bad:?}");
        assert!(catalog().grant(API, Some(&[bad])).is_err(), "{bad:?}");
    }
    assert_eq!(catalog().scope("read:lucent"), Ok(READ));
    assert_eq!(catalog().scope("read:lucen"), Err(GrantError::UnknownScope));
    assert_eq!(catalog().scope("*"), Err(GrantError::UnknownScope));
    assert_eq!(catalog().grant(API, Some(&[])).map(|scopes| scopes.len()), Ok(0));
}

/// A rotation of a legacy key must not carry a scope beyond the ceiling of the successor kind. The
/// old secret in its grace period is limited to the ceiling of its own kind.
#[test]
fn ceilings_are_enforced_by_a_rotation_to_another_kind() {
    let mut rng = StdRng::seed_from_u64(2);
    let catalog = ScopeCatalog::new([READ, WRITE])
        .and_then(|catalog| catalog.allow(MCP, [], [READ, WRITE]))
        .and_then(|catalog| catalog.allow(API, [READ], [READ]))
        .unwrap();
    let hasher = KeyHasher::sha256();
    let issuer =
        Issuer::with_catalog(MemoryStore::new(), formats(), hasher.clone(), catalog.clone());
    let verifier = Verifier::new(hasher).with_catalog(catalog);
    for (digit, scopes, fits) in [('1', "read:lucent", true), ('2', "write:issues", false)] {
        let old = lookup(MCP, digit);
        let draft = KeyDraft::new(owner_id("org_a"), "old".parse().unwrap())
            .with_scopes(scopes.parse().unwrap());
        let secret = StoredSecret::new(hash(&old), MCP, now());
        let record =
            block_on(issuer.import(KeyId::from_bytes([digit as u8; 16]), draft, secret, now()))
                .unwrap();
        let rotated = block_on(issuer.rotate(record.id(), Grace::DAY, &mut rng, now()));
        match rotated {
            Ok(rotated) => {
                assert!(fits);
                assert_eq!(rotated.record.kind(), API);
                assert_eq!(rotated.key.kind(), API);
                let found = issuer.registry().find_sync(&old);
                let verified = verifier.verify(&old, found, now()).unwrap();
                assert_eq!(verified.kind(), MCP, "a secret in its grace period keeps its kind");
                assert_eq!(verified.key_id(), record.id());
            }
            Err(error) => {
                assert!(!fits);
                let refused = GrantError::AboveCeiling { scope: WRITE, kind: API };
                assert_eq!(error, IssuerError::Grant(refused));
                let stored = issuer.registry().find_by_id_sync(record.id()).unwrap();
                assert_eq!(*stored.record(), record);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------
// Owners.

#[test]
fn an_owner_tier_change_applies_to_all_keys_immediately() {
    let store = MemoryStore::new();
    let verifier = Verifier::new(KeyHasher::sha256());
    let compliance = Access::any_key().with_tiers([Tier::from_static("enterprise")]);
    let lookups = ['1', '2', '3'].map(|digit| lookup(LUCI, digit));
    for (id, lookup) in (1..).zip(&lookups) {
        let mut parts = forged(lookup, &[], "org_a").into_parts();
        parts.id = KeyId::from_bytes([id; 16]);
        store.insert_sync(parts.build().unwrap()).unwrap();
    }
    let owner = || Owner::new(owner_id("org_a"));
    for (owner, admitted) in [
        (None, false),
        (Some(owner().with_tier(Tier::from_static("enterprise"))), true),
        (Some(owner().with_tier(Tier::from_static("standard"))), false),
        (Some(owner().with_tier(Tier::from_static("enterprise"))), true),
        (Some(owner()), false),
    ] {
        if let Some(owner) = owner {
            store.put_owner_sync(owner);
        }
        for lookup in &lookups {
            let found = store.find_sync(lookup);
            let verified = verifier.verify(lookup, found, now()).unwrap();
            assert_eq!(verified.authorize(&compliance).is_ok(), admitted);
        }
    }
}

#[test]
fn an_issuer_confined_to_an_owner_sees_no_other_s_keys() {
    block_on(async {
        let mut rng = StdRng::seed_from_u64(3);
        let issuer =
            Issuer::with_catalog(MemoryStore::new(), formats(), KeyHasher::sha256(), catalog());
        let draft = |owner| KeyDraft::new(owner_id(owner), "a key".parse().unwrap());
        let theirs = issuer.issue(API, draft("org_b"), &mut rng, now()).await.unwrap();
        let id = theirs.record.id();
        let ours = issuer.within(owner_id("org_a"));
        let not_found = Some(IssuerError::NotFound);
        assert_eq!(ours.get(id).await.err(), not_found);
        assert_eq!(ours.rotate(id, Grace::DAY, &mut rng, now()).await.err(), not_found);
        assert_eq!(ours.rotate_now(id, &mut rng, now()).await.err(), not_found);
        assert_eq!(ours.revoke(id, now()).await.err(), not_found);
        assert_eq!(ours.suspend(id, now()).await.err(), not_found);
        assert_eq!(ours.resume(id, now()).await.err(), not_found);
        assert_eq!(ours.expire_at(id, Timestamp::MAX, now()).await.err(), not_found);
        let page = keyward::store::PageRequest::first(10);
        let foreign = Some(IssuerError::ForeignOwner);
        assert_eq!(ours.list(&owner_id("org_b"), page).await.err(), foreign);
        assert_eq!(ours.issue(API, draft("org_b"), &mut rng, now()).await.err(), foreign);
        assert_eq!(*issuer.get(id).await.unwrap().record(), theirs.record, "nothing has changed");
        let own = ours.issue(API, draft("org_a"), &mut rng, now()).await.unwrap();
        assert!(ours.revoke(own.record.id(), now()).await.is_ok());
    });
}

// ---------------------------------------------------------------------------------------
// The secret is verified before the state.

/// Every combination of simultaneous faults reports the first one in the documented order, so that
/// nobody without the secret learns the state.
#[test]
fn the_secret_is_verified_before_the_state() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let (presented, other) = (lookup(API, '7'), lookup(API, '8'));
    let hour = std::time::Duration::from_secs(3_600);
    for bits in 0_u32..1 << 7 {
        let wrong = |bit: u32| bits >> bit & 1 == 1;
        let [mismatch, kind, clock, revoked, expired, suspended, past_grace] =
            [0, 1, 2, 3, 4, 5, 6].map(wrong);
        let stored = if mismatch {
            KeyHash::new(HashScheme::Sha256Secret, [9; 32])
        } else {
            hash(&presented)
        };
        let mut secret = StoredSecret::new(stored, if kind { OAT } else { API }, now());
        let before = now().saturating_sub(hour);
        let mut parts = StoredRecord::new(
            KeyId::from_bytes([1; 16]),
            owner_id("org_a"),
            "k".parse().unwrap(),
            secret.clone(),
        );
        if past_grace {
            secret.hash = hash(&other);
            let retiring = std::mem::replace(&mut parts.current, secret);
            parts.retiring = vec![RetiringSecret::new(retiring, before)];
        }
        // One millisecond more than the tolerated clock difference of a day.
        let ahead = KeyRecord::MAX_CLOCK_SKEW + std::time::Duration::from_millis(clock.into());
        parts.created_at = now() + ahead;
        parts.expires_at = expired.then(|| if past_grace { before } else { now() });
        if suspended {
            parts.state = KeyState::Suspended { since: now() };
        }
        if revoked {
            parts.state = KeyState::Revoked { since: now() };
        }
        let record = parts.build().unwrap();
        // Whatever else is wrong, another owner's tier and overrides are not to be had.
        let stranger = Arc::new(Owner::new(owner_id("org_b")));
        assert_eq!(
            StoredKey::join(record.clone(), stranger),
            Err(RecordError::ForeignOwner),
            "{bits:07b}"
        );
        let found = owned(record, None);
        let expected = [
            (mismatch, VerifyError::Mismatch),
            (kind, VerifyError::WrongKind),
            (clock, VerifyError::ClockBehind),
            (revoked, VerifyError::Revoked),
            (expired, VerifyError::Expired),
            (suspended, VerifyError::Suspended),
            (past_grace, VerifyError::PastGrace),
        ]
        .into_iter()
        .find_map(|(applies, error)| applies.then_some(error));
        let result = verifier.verify(&presented, Some(found), now());
        assert_eq!(result.err(), expected, "{bits:07b}");
    }
    assert_eq!(verifier.verify(&presented, None, now()).err(), Some(VerifyError::Unknown));
}

/// A store whose tables contradict each other has nothing to answer with but an error: a
/// record with another owner's tier and overrides cannot be made.
#[test]
fn a_record_cannot_be_joined_with_another_owner() {
    let record = forged(&lookup(API, '9'), &["read:lucent"], "org_a");
    for stranger in ["org_b", "ORG_A", "org_", "org_a1", "org_a/"] {
        let stranger = Owner::new(owner_id(stranger)).with_tier(Tier::from_static("enterprise"));
        let refused = StoredKey::join(record.clone(), Arc::new(stranger)).unwrap_err();
        assert_eq!(refused, RecordError::ForeignOwner);
        assert!(!format!("{refused:?} {refused}").contains("org"), "{refused:?}");
    }
    let own = Arc::new(Owner::new(owner_id("org_a")).with_tier(Tier::from_static("standard")));
    let found = StoredKey::join(record.clone(), Arc::clone(&own)).unwrap();
    assert_eq!((found.record(), found.owner()), (&record, &own));
}

/// The same body of another kind has another digest, but a faulty store could return it anyway.
#[test]
fn a_secret_is_valid_only_for_the_kind_it_was_minted_as() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let (pk, api) = (lookup(PK, '4'), lookup(API, '4'));
    assert_ne!(hash(&pk), hash(&api), "the same body under another prefix");
    let record = forged(&api, &["read:lucent"], "org_a");
    let result = verifier.verify(&pk, Some(owned(record, None)), now());
    assert_eq!(result.err(), Some(VerifyError::Mismatch));
    let mut parts = forged(&api, &["read:lucent"], "org_a").into_parts();
    parts.current.hash = hash(&pk);
    let result = verifier.verify(&pk, Some(owned(parts.build().unwrap(), None)), now());
    assert_eq!(result.err(), Some(VerifyError::WrongKind));
}

#[test]
fn keys_are_rejected_from_the_deadline_on() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let (old, new) = (lookup(API, '5'), lookup(API, '6'));
    let grace = Grace::new(std::time::Duration::from_millis(10)).unwrap();
    let secret = StoredSecret::new(hash(&new), API, now());
    let rotated = forged(&old, &[], "org_a").rotate(secret, grace, now()).unwrap();
    let deadline = rotated.retiring()[0].valid_until;
    let at = |offset: i64| {
        Timestamp::from_unix_millis(deadline.as_unix_millis().saturating_add_signed(offset))
    };
    let verify = |lookup: &Lookup, record: &KeyRecord, now| {
        let found = Some(owned(record.clone(), None));
        verifier.verify(lookup, found, now).map(|verified| verified.matched())
    };
    let retiring = MatchedSecret::Retiring { valid_until: deadline };
    for (offset, expected) in [
        (-10, Ok(retiring)),
        (-1, Ok(retiring)),
        (0, Err(VerifyError::PastGrace)),
        (1, Err(VerifyError::PastGrace)),
    ] {
        assert_eq!(verify(&old, &rotated, at(offset)), expected, "{offset} ms");
        assert_eq!(verify(&new, &rotated, at(offset)), Ok(MatchedSecret::Current));
    }
    let expiring = forged(&new, &[], "org_a").expire_at(deadline, now()).unwrap();
    for (offset, expected) in [
        (-1, Ok(MatchedSecret::Current)),
        (0, Err(VerifyError::Expired)),
        (1, Err(VerifyError::Expired)),
    ] {
        assert_eq!(verify(&new, &expiring, at(offset)), expected, "{offset} ms");
    }
    // The smallest and the largest clock values.
    let forever = forged(&new, &[], "org_a");
    assert_eq!(verify(&new, &forever, Timestamp::MAX), Ok(MatchedSecret::Current));
    assert_eq!(verify(&new, &forever, Timestamp::ZERO), Err(VerifyError::ClockBehind));
}

#[test]
fn each_refusal_has_its_documented_status() {
    for (error, status) in [
        (VerifyError::Unknown, 401),
        (VerifyError::Mismatch, 401),
        (VerifyError::WrongKind, 401),
        (VerifyError::Revoked, 401),
        (VerifyError::Expired, 401),
        (VerifyError::Suspended, 401),
        (VerifyError::PastGrace, 401),
        (VerifyError::ClockBehind, 503),
    ] {
        assert_eq!(error.status(), status, "{error:?}");
    }
}

#[test]
fn values_attached_to_a_request_are_owned_and_thread_safe() {
    fn travels<T: Clone + Send + Sync + 'static>() {}
    travels::<Verified>();
    travels::<KeyCaller>();
    travels::<Lookup>();
    travels::<StoredKey>();
    travels::<Access>();
    travels::<Verifier>();
    travels::<VerifyError>();
    travels::<Forbidden>();
}
