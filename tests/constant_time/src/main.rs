//! Shows under valgrind that comparing digests takes no branch, and reads no address,
//! that depends on them.
//!
//! Memcheck reports a jump or an address that depends on undefined memory. So the stored
//! digest, which is the secret of a comparison, is marked undefined, and then compared by
//! the library's release build. `.ci/constant-time` runs this: `compare` must be free of
//! reports, and each control, which leaks on purpose, must be caught.
//!
//! The secret is the stored digest alone. Reading the characters of a presented key and
//! looking up its digest in a table branch by nature. That is safe: whoever sends a key
//! knows its characters, and nobody can steer the bytes of its SHA-256.

use std::{arch::asm, env, hint::black_box, process::ExitCode};

use keyward::{HashScheme, KeyHash};
use subtle::ConstantTimeEq;

fn main() -> ExitCode {
    if request(RUNNING_ON_VALGRIND, 0, 0) == 0 {
        eprintln!("run this under valgrind, as .ci/constant-time does");
        return ExitCode::from(2);
    }
    let compare: fn(&KeyHash, &KeyHash) -> u8 = match env::args().nth(1).as_deref() {
        Some("compare") => |a, b| a.ct_eq(b).unwrap_u8(),
        Some("control-early-exit") => early_exit,
        Some("control-slices") => {
            |a, b| u8::from(black_box(&a.digest()[..]) == black_box(&b.digest()[..]))
        }
        Some("control-table") => |a, b| TABLE[usize::from(a.digest()[0] ^ b.digest()[0])],
        _ => {
            eprintln!("usage: compare | control-early-exit | control-slices | control-table");
            return ExitCode::from(2);
        }
    };
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
    ExitCode::SUCCESS
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
