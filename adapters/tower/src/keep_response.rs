//! The mark of a response that the second look must not replace.

/// Marks, in the extensions of a response, that it goes out even if the key of its request has ended
/// meanwhile. [`ApiKeys::recheck`](crate::ApiKeys::recheck) then does not look again.
///
/// It is for a handler that ends the key of its own request, such as one that revokes it on demand: with
/// the second look, its response would be a 401, as if nothing had been done. A handler that rotates the
/// key of its own request needs no mark, because the second look is about the key and not about its
/// secret. In axum, `(Extension(KeepResponse), body)` is a response with the mark.
///
/// ```
/// use axum::{Extension, http::StatusCode, response::IntoResponse};
/// use keyward_tower::{Caller, KeepResponse};
///
/// # async fn revoke(_: &Caller) {}
/// async fn revoke_own(caller: Caller) -> impl IntoResponse {
///     revoke(&caller).await;
///     (Extension(KeepResponse), StatusCode::NO_CONTENT)
/// }
/// ```
///
/// All layers around the handler leave the response alone, so set it only where the response may go to
/// a caller whose key has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeepResponse;
