//! The callback that receives events.

use std::{fmt, sync::Arc};

use crate::audit::event::AuditEvent;

/// A callback that receives every event, shared by gates and issuers.
///
/// It is called on the thread that decides, once for each outcome and for each change that was saved,
/// so it should pass the event on and not wait. The use of a secret after its grace is reported before
/// its refusal. Clones call the same callback.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use keyward::{audit::Audit, Issuer, KeyFormat, KeyHasher, MemoryStore};
///
/// let log = Arc::new(Mutex::new(Vec::new()));
/// let audit = Audit::new({
///     let log = Arc::clone(&log);
///     move |event| log.lock().unwrap().push(event.clone())
/// });
/// let issuer = Issuer::new(MemoryStore::new(), KeyFormat::hex("lqt_"), KeyHasher::sha256())
///     .with_audit(audit);
/// # let _ = issuer;
/// ```
#[derive(Clone, Default)]
#[expect(clippy::type_complexity, reason = "an alias would only be another name to learn")]
pub struct Audit(Option<Arc<dyn Fn(&AuditEvent) + Send + Sync>>);

impl Audit {
    /// Reports every event to `callback`.
    pub fn new(callback: impl Fn(&AuditEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    /// Reports nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Returns whether events are reported.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Builds the event only if events are reported.
    #[inline]
    pub(crate) fn report(&self, event: impl FnOnce() -> AuditEvent) {
        if let Some(callback) = &self.0 {
            callback(&event());
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Audit(on)" } else { "Audit(off)" })
    }
}
