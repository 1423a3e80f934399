//! The details of a gRPC refusal: a `google.rpc.Status`, encoded for `grpc-status-details-bin`.
//!
//! The messages have seven fields of two wire types, so no code generator is needed.

/// The facts of a refusal.
pub(crate) struct Details<'d> {
    /// The gRPC code.
    pub(crate) code: u8,
    pub(crate) message: &'d str,
    /// The code for programs, such as `RATE_LIMITED`.
    pub(crate) reason: &'d str,
    /// The name of the limit that refused.
    pub(crate) limit: Option<&'d str>,
    /// The whole seconds after which to try again.
    pub(crate) retry_after_secs: Option<u64>,
}

/// The `domain` of an `ErrorInfo`, which says who defines the reasons.
const DOMAIN: &str = "keyward";

impl Details<'_> {
    /// Encodes the status with an `ErrorInfo`, and with a `RetryInfo` if there is a time to wait.
    pub(crate) fn encode(&self) -> String {
        let mut info = Vec::new();
        text(&mut info, 1, self.reason);
        text(&mut info, 2, DOMAIN);
        if let Some(limit) = self.limit {
            // An entry of the map `metadata`.
            let mut entry = Vec::new();
            text(&mut entry, 1, "limit");
            text(&mut entry, 2, limit);
            bytes(&mut info, 3, &entry);
        }
        let mut status = Vec::new();
        number(&mut status, 1, self.code.into());
        text(&mut status, 2, self.message);
        detail(&mut status, "type.googleapis.com/google.rpc.ErrorInfo", &info);
        if let Some(secs) = self.retry_after_secs {
            let (mut duration, mut retry) = (Vec::new(), Vec::new());
            number(&mut duration, 1, secs);
            bytes(&mut retry, 1, &duration);
            detail(&mut status, "type.googleapis.com/google.rpc.RetryInfo", &retry);
        }
        base64(&status)
    }
}

/// Writes a message as one of the `details`, in an `Any`.
fn detail(status: &mut Vec<u8>, type_url: &str, message: &[u8]) {
    let mut any = Vec::new();
    text(&mut any, 1, type_url);
    bytes(&mut any, 2, message);
    bytes(status, 3, &any);
}

fn number(buffer: &mut Vec<u8>, field: u8, value: u64) {
    buffer.push(field << 3);
    varint(buffer, value);
}

fn text(buffer: &mut Vec<u8>, field: u8, value: &str) {
    bytes(buffer, field, value.as_bytes());
}

fn bytes(buffer: &mut Vec<u8>, field: u8, value: &[u8]) {
    buffer.push(field << 3 | 2);
    varint(buffer, value.len() as u64);
    buffer.extend_from_slice(value);
}

fn varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// Encodes a binary header without padding (gRPC over HTTP/2, "Binary-Header").
fn base64(bytes: &[u8]) -> String {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    let of_group = |group: &[u8]| {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        [18, 12, 6, 0].map(|shift| (bits >> shift) as usize & 63)
    };
    let groups = bytes.chunks(3);
    let sixes = groups.flat_map(|group| of_group(group).into_iter().take(group.len() + 1));
    sixes.filter_map(|six| CHARACTERS.get(six)).map(|&byte| char::from(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_no_padding() {
        // RFC 4648 §10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8");
    }

    #[test]
    fn varints_are_little_endian_in_groups_of_seven_bits() {
        for (value, encoded) in
            [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (86_400, &[0x80, 0xa3, 5])]
        {
            let mut buffer = Vec::new();
            varint(&mut buffer, value);
            assert_eq!(buffer, encoded, "{value}");
        }
    }
}
