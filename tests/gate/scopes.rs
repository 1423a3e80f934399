//! Scopes at a gate: alternatives, resources and roles, from the route to the response.

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore,
    Outcome, Scope, Timestamp,
    error::ConfigErrorKind,
    gate::{CheckedRoute, Refusal},
    issue::IssuerError,
    key::{GrantError, OwnerId, ScopeCatalog, ScopePattern, ScopeSet},
    request::PlainHead,
    verify::RequiredScope,
};
use pollster::block_on;
use rand::{SeedableRng, rngs::StdRng};

const API: KeyFormat = KeyFormat::hex("acme_");
const READ: Scope = Scope::from_static("read");
const ADMIN: Scope = Scope::from_static("admin");
const AUDITOR: Scope = Scope::from_static("auditor");
const READ_REPO: ScopePattern = ScopePattern::from_static("repo:read:{owner}/{repo}");
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

struct World {
    issuer: Issuer<MemoryStore>,
    gate: Gate,
}

impl World {
    fn new() -> Self {
        let every_repo = || Scope::from_static("repo:read:*/*");
        let catalog = ScopeCatalog::new([READ, ADMIN])
            .and_then(|catalog| catalog.with_pattern(READ_REPO))
            .and_then(|catalog| catalog.with_role(AUDITOR, [READ, every_repo()]))
            .and_then(|catalog| catalog.allow(API.kind(), [], [READ, ADMIN, every_repo()]))
            .unwrap();
        let issuer = Issuer::with_catalog(MemoryStore::new(), API, KeyHasher::sha256(), catalog);
        let challenge = Challenge::bearer("acme").unwrap().with_scope().with_errors();
        let gate = Gate::builder(API, issuer.verifier(), CredentialSource::bearer())
            .with_challenge(challenge)
            .build()
            .unwrap();
        Self { issuer, gate }
    }

    /// A request with a new key that holds these scopes.
    fn request(&self, scopes: &str) -> PlainHead {
        let draft = KeyDraft::new(OwnerId::from_static("acme"), "ci".parse().unwrap())
            .with_scopes(scopes.parse().unwrap());
        let rng = &mut StdRng::seed_from_u64(self.issuer.registry().len() as u64);
        let issued = block_on(self.issuer.issue(API.kind(), draft, rng, NOW)).unwrap();
        PlainHead::new().with_header("authorization", format!("Bearer {}", issued.key.expose()))
    }

    fn decide(&self, head: &PlainHead, route: &CheckedRoute) -> Result<(), Box<Refusal>> {
        match self.gate.check_sync(head, route, self.issuer.registry(), NOW) {
            Outcome::Admitted(_) => Ok(()),
            Outcome::Refused(refusal) => Err(Box::new(refusal)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_route_for_a_resource_is_decided_by_the_resource_of_the_request() {
    let world = World::new();
    let route = world.gate.route(Access::scope_on(READ_REPO)).unwrap();
    for (held, owner, repo, admitted) in [
        ("repo:read:acme/site", "acme", "site", true),
        ("repo:read:acme/site repo:read:acme/shop", "acme", "shop", true),
        ("repo:read:acme/site", "acme", "other", false),
        ("repo:read:acme/*", "acme", "anything", true),
        ("repo:read:acme/*", "other", "site", false),
        ("auditor", "any", "thing", true),
        ("admin read", "acme", "site", false),
        ("repo:read:acme/*", "acme", "*", false),
        ("repo:read:*/*", "acme/site", "x", false),
    ] {
        let head = world.request(held);
        let of_request = route.clone().with_resource("owner", owner).with_resource("repo", repo);
        let result = world.decide(&head, &of_request);
        assert_eq!(result.is_ok(), admitted, "{held} {owner}/{repo}");
        // The route itself, which a layer shares, is as it was: without a resource nobody passes.
        assert!(world.decide(&head, &route).is_err());
    }
}

#[test]
fn a_refusal_names_the_pattern_and_nothing_of_the_path() {
    let world = World::new();
    let route = world.gate.route(Access::scope_on(READ_REPO)).unwrap();
    let secret = format!("acme_{}", "ab".repeat(32));
    let route = route.with_resource("owner", "acme").with_resource("repo", &secret);
    let refusal = world.decide(&world.request("read"), &route).unwrap_err();
    assert_eq!(refusal.status(), 403);
    let body = str::from_utf8(refusal.body()).unwrap();
    assert_eq!(body, r#"{"error":"Missing required scope: repo:read:{owner}/{repo}"}"#);
    let headers: Vec<String> = refusal.headers().map(|header| header.to_string()).collect();
    assert!(
        headers.contains(
            &r#"www-authenticate: Bearer realm="acme", scope="repo:read:{owner}/{repo}", error="insufficient_scope""#
                .to_owned()
        ),
        "{headers:?}"
    );
    let log = format!("{refusal:?} {} {headers:?} {body}", refusal.reason());
    assert!(!log.contains(&secret[5..]), "{log}");
}

#[test]
fn one_of_several_scopes_is_enough() {
    let world = World::new();
    let access = Access::any_of([RequiredScope::from(READ_REPO), ADMIN.into()])
        .with_resource("owner", "acme");
    let route = world.gate.route(access).unwrap().with_resource("repo", "site");
    for (held, admitted) in [
        ("admin", true),
        ("repo:read:acme/site", true),
        ("repo:read:*/site", true),
        ("auditor", true),
        ("read", false),
        ("repo:read:acme/shop", false),
        ("", false),
    ] {
        let result = world.decide(&world.request(held), &route);
        assert_eq!(result.is_ok(), admitted, "{held:?}");
        if let Err(refusal) = result {
            assert_eq!(refusal.message(), "Missing required scope: repo:read:{owner}/{repo}");
        }
    }
}

#[test]
fn routes_require_only_what_the_catalogue_defines() {
    let world = World::new();
    let other = ScopePattern::from_static("repo:write:{repo}");
    for (access, named) in [
        (Access::scope(AUDITOR), "role"),
        (Access::scope(Scope::from_static("repo:read:acme/site")), "Access::scope_on"),
        (Access::scope(Scope::from_static("*")), "ScopeCatalog::new"),
        (Access::scope_on(other.clone()), "ScopeCatalog::with_pattern"),
        (Access::any_of([RequiredScope::from(READ), other.into()]), "ScopeCatalog::with_pattern"),
        (Access::any_of([READ, Scope::from_static("raed")]), "raed"),
    ] {
        let error = world.gate.route(access.clone()).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Route, "{access:?}");
        assert!(error.to_string().contains(named), "{error}");
    }
    for access in [
        Access::any_of([READ, ADMIN]),
        Access::scope_on(READ_REPO),
        Access::any_of([] as [Scope; 0]), // refuses every caller, as configured
    ] {
        assert!(world.gate.route(access).is_ok());
    }
}

#[test]
fn an_issuer_grants_only_scopes_that_mean_something() {
    let world = World::new();
    let rng = &mut StdRng::seed_from_u64(1);
    for scopes in ["*", "repo:*", "repo:read:*", "repo:read:acme/s*", "repo:read:{owner}/{repo}"] {
        let draft = KeyDraft::new(OwnerId::from_static("acme"), "ci".parse().unwrap())
            .with_scopes(scopes.parse::<ScopeSet>().unwrap());
        let refused = block_on(world.issuer.issue(API.kind(), draft, rng, NOW)).unwrap_err();
        assert_eq!(refused, IssuerError::Grant(GrantError::UnknownScope), "{scopes}");
    }
}
