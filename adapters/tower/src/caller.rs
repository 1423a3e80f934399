//! The caller of an admitted request.

use std::ops::Deref;

use keyward::verify::KeyCaller;

/// The caller of an admitted request: a key that is verified, charged and authorized.
///
/// A layer of this crate puts it into the extensions of the request, and the
/// [`Decision`](keyward::limit::Decision) of a limiter beside it; no type of the core that stands for
/// a caller is there. It dereferences to [`KeyCaller`]. With the feature `axum` it is an extractor, and so is
/// `Option<Caller>`.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use keyward_tower::Caller;
///
/// async fn whoami<B>(request: Request<B>) -> Response<String> {
///     match request.extensions().get::<Caller>() {
///         Some(caller) => Response::new(caller.owner_id().to_string()),
///         None => Response::new("this route has no layer".to_owned()),
///     }
/// }
/// ```
///
/// `Option<Caller>` is `None` where a request goes on without a caller: with a
/// [foreign credential](crate::ForeignCredential), of which nothing is proved and which the handler must
/// check itself, or anonymously, on a route that [allows it](keyward::Route::allow_missing).
#[derive(Clone, Debug)]
pub struct Caller(pub KeyCaller);

impl Deref for Caller {
    type Target = KeyCaller;

    fn deref(&self) -> &KeyCaller {
        &self.0
    }
}
