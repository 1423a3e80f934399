//! A secret's memory is overwritten before it is given back: an allocator of this binary looks
//! into every block that is freed. What lies on the stack it cannot see.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fmt::Write as _,
    hint::black_box,
    slice,
};

use keyward::{
    Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, Timestamp,
    key::{Grace, HashScheme, KeyFormats, MintError, StoredSecret},
    verify::Verifier,
};
use rand::{TryCryptoRng, TryRng};

/// Looks for the canaries of the thread in what it frees.
struct Looking;

/// Long enough to stand for a leak, and not to occur by chance.
const CANARY: usize = 12;

thread_local! {
    static CANARIES: Cell<Option<&'static [[u8; CANARY]]>> = const { Cell::new(None) };
    static BLOCKS: Cell<usize> = const { Cell::new(0) };
    static LEAKS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator with the layout it came with. `realloc` is
// the trait's own: it allocates, copies, and frees the old block, which is then looked into.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that a block can be read to its end though not all of it was written.
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Ok(Some(canaries)) = CANARIES.try_with(Cell::get) {
            // SAFETY: the block is the caller's alone, is as long as its layout says, and was
            // initialized in whole by `alloc`.
            let block = unsafe { slice::from_raw_parts(black_box(pointer), layout.size()) };
            let leaks = block.windows(CANARY).any(|window| canaries.iter().any(|it| it == window));
            let _ended = BLOCKS.try_with(|blocks| blocks.set(blocks.get() + 1));
            let _ended = LEAKS.try_with(|count| count.set(count.get() + usize::from(leaks)));
        }
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// How many blocks were freed in which a part of the canary secret stood, raw or as text.
fn leaks(work: impl FnOnce()) -> usize {
    CANARIES.set(Some(canaries()));
    LEAKS.set(0);
    BLOCKS.set(0);
    work();
    CANARIES.set(None);
    assert!(BLOCKS.get() > 0, "no block was freed, so none was looked into");
    LEAKS.get()
}

/// The bytes of which [`Canary`] makes every secret: no two alike, and all of them digits of
/// base62 when their two highest bits are cut off.
fn secret() -> [u8; 64] {
    std::array::from_fn(|at| ((at * 59 + 7) % 61) as u8 | ((at as u8) << 6))
}

/// Any part of a secret that begins at a multiple of four: as bytes, from behind the 16 that an
/// id takes of the same generator, and as hexadecimal and base62 text, from behind what hints
/// show.
fn canaries() -> &'static [[u8; CANARY]] {
    use std::sync::LazyLock;

    static CANARIES: LazyLock<Vec<[u8; CANARY]>> = LazyLock::new(|| {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let secret = secret();
        let mut hex = String::new();
        secret.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
        let base62: Vec<u8> =
            secret.iter().map(|byte| DIGITS[usize::from(byte & 63)]).skip(12).collect();
        let texts = [&secret[16..], &hex.as_bytes()[12..], &base62];
        texts
            .iter()
            .flat_map(|text| text.windows(CANARY).step_by(4))
            .map(|part| part.try_into().unwrap())
            .collect()
    });
    &CANARIES
}

/// Hands out the canary.
struct Canary {
    /// How much of it at a time; what is beyond is no digit of base62.
    length: usize,
    /// For so many calls.
    calls: usize,
}

impl Canary {
    const fn new() -> Self {
        Self { length: usize::MAX, calls: usize::MAX }
    }
}

impl TryRng for Canary {
    type Error = std::fmt::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.calls = self.calls.checked_sub(1).ok_or(std::fmt::Error)?;
        bytes.fill(u8::MAX);
        let canary = secret();
        bytes
            .iter_mut()
            .zip(canary.iter().cycle().take(self.length))
            .for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl TryCryptoRng for Canary {}

const HEX: KeyFormat = KeyFormat::hex("lqt_");
const GITHUB: KeyFormat = KeyFormat::base62("ghp_", 30).with_checksum();
const LONG: KeyFormat = KeyFormat::base62("k-", 64);
const LARGE: KeyFormat = KeyFormat::hex_bytes("luc_pk_", 64);

fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000)
}

/// Controls: what is dropped as it is, is seen, in each of its forms.
#[test]
fn a_secret_that_is_not_overwritten_is_seen() {
    for format in [HEX, GITHUB, LONG, LARGE] {
        let key = format.mint(&mut Canary::new()).unwrap();
        assert_eq!(leaks(|| drop(black_box(key.expose().to_owned()))), 1, "{format:?}");
        assert!(leaks(|| drop(black_box(format!("a key: {}.", key.expose())))) > 0);
        // Growing leaves a copy behind.
        assert_eq!(
            leaks(|| {
                let mut text = black_box(key.expose().to_owned());
                text.reserve_exact(1_000);
                text.clear();
                black_box(&mut text).push_str(&" ".repeat(500));
            }),
            1
        );
    }
    assert_eq!(leaks(|| drop(black_box(secret().to_vec()))), 1, "the bytes themselves");
    assert_eq!(leaks(|| drop(black_box(secret()[32..].to_vec()))), 1, "a half of them");
    assert_eq!(leaks(|| drop(black_box(vec![7; 64]))), 0);
    // Overwritten by hand, but not in the part that is no longer in use.
    let mut text = black_box(HEX.mint(&mut Canary::new()).unwrap().expose().to_owned());
    text.truncate(4);
    assert_eq!(leaks(|| drop(text)), 1);
}

#[test]
fn a_minted_key_is_overwritten_when_it_is_dropped() {
    for format in [HEX, GITHUB, LONG, LARGE] {
        let count = leaks(|| drop(black_box(format.mint(&mut Canary::new()).unwrap())));
        assert_eq!(count, 0, "{format:?}");
    }
}

#[test]
fn a_key_that_was_only_half_minted_is_overwritten() {
    for calls in 0..2 {
        // 40 of the 64 digits, and no more.
        let count = leaks(|| {
            let failed = LONG.mint(&mut Canary { length: 40, calls });
            assert!(matches!(black_box(failed), Err(MintError::Rng(_))));
        });
        assert_eq!(count, 0, "{calls} calls");
    }
}

#[test]
fn what_is_made_of_a_key_leaves_no_copy_of_it() {
    let pepper = [1; 32];
    for format in [HEX, GITHUB, LONG, LARGE] {
        for hasher in [
            KeyHasher::sha256(),
            KeyHasher::hmac_sha256(1, &pepper).unwrap(),
            KeyHasher::sha256().accept(HashScheme::Sha256Token).unwrap(),
        ] {
            let formats = KeyFormats::from(format);
            let count = leaks(|| {
                let key = format.mint(&mut Canary::new()).unwrap();
                let secret = StoredSecret::of(&key, &hasher, now());
                let presented = formats.parse(key.expose()).unwrap();
                let lookup = Verifier::new(hasher.clone()).lookup(&presented);
                let shown = format!("{key:?} {secret:?} {presented:?} {lookup:?}");
                drop(black_box((key, secret, lookup, shown)));
            });
            assert_eq!(count, 0, "{format:?} {hasher:?}");
        }
    }
}

#[test]
fn issuing_and_rotating_leave_no_copy() {
    let count = leaks(|| {
        let issuer = Issuer::new(MemoryStore::new(), HEX, KeyHasher::sha256());
        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
        let mut rng = Canary::new();
        let issued = pollster::block_on(issuer.issue(HEX.kind(), draft, &mut rng, now())).unwrap();
        // The canary is the same secret again, which is refused once it was minted.
        let id = issued.record.id();
        let refused = pollster::block_on(issuer.rotate(id, Grace::DAY, &mut rng, now()));
        drop(black_box((refused.unwrap_err(), issued, issuer)));
    });
    assert_eq!(count, 0);
}
