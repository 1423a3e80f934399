//! Measures the verification of a stored key, a bare SHA-256, and other crates in one run.
//!
//! `cargo bench -p keyward-compare --bench keys` prints a Markdown table. Machines are noisy, so the
//! contenders take turns of two thousand requests, hundreds of times, and the medians of their
//! batches are compared. A number from another run proves nothing.
//!
//! Each peer follows its documentation: parse the token, find the record in memory, check the secret.
//!
//! - `prefixed-api-key` 0.3 has no store, so it gets a `HashMap` from its public short token to the
//!   hash, without a lock. It has no state, owner, scope or rotation.
//! - `authrs` 0.1 stores its keys behind `&mut self`, so a service would need a lock around it, which
//!   is not measured here. It checks state and expiry, reads the clock and counts usage.
//!
//! A host has just read the token of a request, so the tokens of a batch are copied to a small buffer
//! before the clock starts.

use std::{
    collections::HashMap,
    hint::black_box,
    time::{Duration, Instant},
};

use authrs::api_key::ApiKeyManager;
use keyward::{
    Access, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng, Timestamp,
    key::{KeyFormats, KeyId, KeyRecord, StoredSecret},
    verify::Verifier,
};
use prefixed_api_key::{PrefixedApiKey, PrefixedApiKeyController};
use sha2::{Digest, Sha256};

/// Requests between two readings of the clock.
const BATCH: usize = 64;
/// Measured batches of one contender in a turn. As many unmeasured ones precede them, so that each
/// contender finds its own memory in the caches, as in a service of its own.
const BATCHES: usize = 32;
const TURNS: usize = 200;
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const FORMAT: KeyFormat = KeyFormat::hex("lqt_");

fn main() {
    let mut contenders = [
        Contender::sha256(),
        Contender::keyward(1_024),
        Contender::keyward(100_000),
        Contender::prefixed_api_key(1_024),
        Contender::authrs(1_024),
        Contender::refusal("refused: last character wrong", &format!("lqt_{}g", "a".repeat(63))),
        Contender::refusal("refused: unknown prefix", "sk_live_0123456789abcdef"),
        Contender::refusal("refused: 1 MiB of `a`", &"a".repeat(1 << 20)),
    ];
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..TURNS {
        for contender in &mut contenders {
            // The first half finds the caches full of other contenders' memory and is not measured.
            for batch in 0..2 * BATCHES {
                let taken = contender.take_batch(&mut random);
                if batch >= BATCHES {
                    contender.batches.push(taken);
                }
            }
        }
    }
    let [digest, keyward, ..] = contenders.each_ref().map(Contender::median);
    println!("| one request, {TURNS} interleaved turns | median | of a digest | of keyward |");
    println!("|---|---|---|---|");
    for contender in &contenders {
        let median = contender.median();
        let (name, ns) = (&contender.name, median * 1e9);
        println!("| {name} | {ns:.0} ns | {:.2} | {:.2} |", median / digest, median / keyward);
    }
}

struct Contender {
    name: String,
    /// The presented tokens, drawn uniformly for each request.
    tokens: Vec<String>,
    request: Box<dyn FnMut(&str)>,
    /// Seconds for one request, one entry for each batch.
    batches: Vec<f64>,
}

impl Contender {
    fn new(name: String, tokens: Vec<String>, request: impl FnMut(&str) + 'static) -> Self {
        Self { name, tokens, request: Box::new(request), batches: Vec::new() }
    }

    fn sha256() -> Self {
        let message = [7_u8; 32];
        Self::new("bare SHA-256 of 32 bytes".into(), vec![String::new()], move |_| {
            black_box(Sha256::digest(black_box(&message)));
        })
    }

    fn keyward(keys: usize) -> Self {
        let (formats, hasher) = (KeyFormats::from(FORMAT), KeyHasher::sha256());
        let (verifier, store) = (Verifier::new(hasher.clone()), MemoryStore::new());
        let access = Access::any_key();
        let tokens = (0..keys)
            .map(|n| {
                // Ten keys for each owner, as in a project.
                let owner = format!("proj_{}", n / 10).parse().unwrap();
                let key = FORMAT.mint(&mut SysRng).unwrap();
                let draft = KeyDraft::new(owner, "ingest".parse().unwrap());
                let id = KeyId::random(&mut SysRng).unwrap();
                let secret = StoredSecret::of(&key, &hasher, NOW);
                store.insert_sync(KeyRecord::issue(id, draft, secret, NOW).unwrap()).unwrap();
                key.expose().to_owned()
            })
            .collect();
        Self::new(format!("keyward, {keys} keys"), tokens, move |token| {
            let presented = formats.parse(token).unwrap();
            let lookup = verifier.lookup(&presented);
            let found = store.find_sync(&lookup);
            let verified = verifier.verify(&lookup, found, NOW).unwrap();
            black_box(verified.authorize(&access).unwrap());
        })
    }

    fn prefixed_api_key(keys: usize) -> Self {
        let controller = PrefixedApiKeyController::configure()
            .prefix("lqt".to_owned())
            .seam_defaults()
            .short_token_length(8)
            .long_token_length(32)
            .finalize()
            .unwrap();
        let mut stored = HashMap::new();
        let tokens = (0..keys)
            .map(|_| {
                let (key, hash) = controller.generate_key_and_hash();
                stored.insert(key.short_token().to_owned(), hash);
                key.to_string()
            })
            .collect();
        Self::new(format!("prefixed-api-key 0.3, {keys} keys"), tokens, move |token| {
            let key = PrefixedApiKey::from_string(token).unwrap();
            assert!(controller.check_hash(&key, &stored[key.short_token()]));
            black_box(key);
        })
    }

    fn authrs(keys: usize) -> Self {
        let mut manager = ApiKeyManager::with_default_config();
        let tokens = (0..keys)
            .map(|_| {
                let (key, token) = manager.create_key("owner").build().unwrap();
                manager.add_key(key);
                token
            })
            .collect();
        Self::new(format!("authrs 0.1, {keys} keys"), tokens, move |token| {
            assert!(black_box(manager.validate(token)).is_some());
        })
    }

    fn refusal(name: &str, token: &str) -> Self {
        let formats = KeyFormats::from(FORMAT);
        Self::new(name.to_owned(), vec![token.to_owned()], move |token| {
            assert!(black_box(formats.parse(token)).is_err());
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    /// Returns the seconds for one request, averaged over one batch.
    fn take_batch(&mut self, random: &mut u64) -> f64 {
        let drawn: Vec<&String> = (0..BATCH)
            .map(|_| {
                // xorshift64, for the draw only.
                *random ^= *random << 13;
                *random ^= *random >> 7;
                *random ^= *random << 17;
                &self.tokens[(*random % self.tokens.len() as u64) as usize]
            })
            .collect();
        let copies: String = if self.tokens.len() > 1 {
            drawn.iter().map(|token| token.as_str()).collect()
        } else {
            // One token for all requests is as near as a copy would be.
            String::new()
        };
        let mut start = 0;
        let batch: Vec<&str> = drawn
            .iter()
            .map(|token| match copies.get(start..start + token.len()) {
                Some(copy) if !copies.is_empty() => {
                    start += token.len();
                    copy
                }
                _ => token.as_str(),
            })
            .collect();
        let started = Instant::now();
        for token in batch {
            (self.request)(black_box(token));
        }
        started.elapsed().max(Duration::from_nanos(1)).as_secs_f64() / BATCH as f64
    }

    fn median(&self) -> f64 {
        let mut batches = self.batches.clone();
        batches.sort_by(f64::total_cmp);
        batches[batches.len() / 2]
    }
}
