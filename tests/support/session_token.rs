//! The tokens of dashboard sessions.

use serde_json::Value;

/// Returns the claims of a session token, decoded without its secret.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    let mut bits = (0_u32, 0_u32);
    let mut bytes = Vec::new();
    for symbol in payload.bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => panic!("invalid base64url: {payload}"),
        };
        bits = (bits.0 << 6 | u32::from(value), bits.1 + 6);
        if bits.1 >= 8 {
            bits.1 -= 8;
            bytes.push((bits.0 >> bits.1) as u8);
            bits.0 &= (1 << bits.1) - 1;
        }
    }
    serde_json::from_slice(&bytes).expect("claims")
}
