//! The host's own check of a proved key.

use std::{fmt, sync::Arc};

use crate::verify::verified::Verified;

/// The host's own check of a key, after its secret is proved and before anything is charged.
///
/// [`RequestHead::veto`](crate::request::RequestHead::veto) returns it with what it needs of the request,
/// because the request itself is not kept during the lookup. A key that it refuses gets a 403
/// ([`PublicReason::Vetoed`](crate::request::PublicReason::Vetoed)) and uses nothing of its limits.
///
/// It is called again for a record that is found after a long wait for a limiter elsewhere, so it should
/// only decide.
///
/// ```
/// use keyward::request::{PlainHead, Veto};
///
/// let country = "XX"; // from the request
/// let head = PlainHead::new().with_veto(Veto::new(move |key| match (country, key.tier()) {
///     ("XX", None) => Err("not served in this country"),
///     _ => Ok(()),
/// }));
/// # let _ = head;
/// ```
#[derive(Clone)]
#[expect(clippy::type_complexity, reason = "this is where the type gets a name")]
pub struct Veto(Arc<dyn Fn(&Verified) -> Result<(), &'static str> + Send + Sync>);

impl Veto {
    /// Builds a veto of a function that returns the reason for which a key is refused. The reason is for
    /// the log alone.
    pub fn new(
        check: impl Fn(&Verified) -> Result<(), &'static str> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn check(&self, verified: &Verified) -> Result<(), &'static str> {
        (self.0)(verified)
    }
}

impl fmt::Debug for Veto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veto")
    }
}
