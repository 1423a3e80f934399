//! An id for every response.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use rand::{
    TryRng,
    rngs::{SysError, SysRng},
};

/// The header of the request id.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Request ids: `req_` and 14 lower-case hexadecimal characters.
///
/// The ids of one process are all different: each is the one before plus a constant step, modulo
/// 2^56. The first id and the step are random, so that an id does not reveal the number of requests.
#[derive(Clone, Debug)]
pub struct RequestIds {
    walk: Arc<AtomicU64>,
    step: u64,
}

const BITS: u32 = 56;

impl RequestIds {
    /// Builds a sequence with a random start and a random step.
    ///
    /// # Errors
    ///
    /// If the random generator of the system fails.
    pub fn random() -> Result<Self, SysError> {
        let (start, step) = (SysRng.try_next_u64()?, SysRng.try_next_u64()?);
        // With an odd step, every id occurs before the first one is repeated.
        Ok(Self { walk: Arc::new(AtomicU64::new(start)), step: step | 1 })
    }

    fn next(&self) -> HeaderValue {
        let id = self.walk.fetch_add(self.step, Ordering::Relaxed) & ((1 << BITS) - 1);
        let mut text = String::with_capacity(18);
        let _cannot_fail = write!(text, "req_{id:014x}");
        // Lower-case hexadecimal characters are always a valid header value.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("req_00000000000000"))
    }
}

/// Middleware that sets `X-Request-Id` on every response. Put it outside of everything that
/// responds. It ignores an id that the client sent.
pub async fn identify_requests(
    State(ids): State<RequestIds>,
    request: Request,
    next: Next,
) -> Response {
    let id = ids.next();
    let mut response = next.run(request).await;
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_different_and_of_one_form() {
        let ids = RequestIds::random().unwrap();
        let all: HashSet<HeaderValue> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(all.len(), 10_000);
        for id in &all {
            let hex = id.to_str().unwrap().strip_prefix("req_").unwrap();
            let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(hex.len() == 14 && hex.bytes().all(is_lower_hex), "{id:?}");
        }
    }

    #[test]
    fn the_walk_goes_on_beyond_its_end() {
        let ids = RequestIds { walk: Arc::new(AtomicU64::new(u64::MAX)), step: 1 };
        assert_eq!(ids.next(), "req_ffffffffffffff");
        assert_eq!(ids.next(), "req_00000000000000");
        assert_eq!(ids.next(), "req_00000000000001");
    }
}
