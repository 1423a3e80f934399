//! Compressed bodies (RFC 1952), in bounded memory.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use thiserror::Error;

/// Returns whether the body begins like gzip. No JSON text does.
pub(crate) fn looks_like(body: &[u8]) -> bool {
    body.starts_with(&[0x1f, 0x8b])
}

/// Returns the decompressed body, if it has at most `max` bytes.
pub(crate) fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>, GzipError> {
    let mut inflated = Vec::new();
    let mut decoder = MultiGzDecoder::new(body).take(max as u64 + 1);
    decoder.read_to_end(&mut inflated).map_err(|_| GzipError::Broken)?;
    if inflated.len() > max { Err(GzipError::TooLarge) } else { Ok(inflated) }
}

/// The reason why a body was not decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum GzipError {
    #[error("the body is not gzip")]
    Broken,
    #[error("the body is too large")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_not_inflated_beyond_the_bound() {
        let bomb = deflate(&vec![b' '; 1 << 20]);
        assert!(bomb.len() < 4_096);
        assert_eq!(inflate(&bomb, (1 << 20) - 1), Err(GzipError::TooLarge));
        assert_eq!(inflate(&bomb, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn what_is_broken_is_refused() {
        let whole = deflate(b"{}");
        assert!(looks_like(&whole));
        assert_eq!(inflate(&whole, 10), Ok(b"{}".to_vec()));
        assert_eq!(inflate(&[whole.clone(), whole.clone()].concat(), 10), Ok(b"{}{}".to_vec()));
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 8] ^= 1;
        for broken in [&b""[..], b"{}", &whole[..whole.len() - 1], &wrong_sum] {
            assert_eq!(inflate(broken, 10), Err(GzipError::Broken), "{broken:?}");
        }
    }
}
