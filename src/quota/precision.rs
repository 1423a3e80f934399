//! How a limiter remembers admissions.

/// The precision with which a limiter remembers the admissions under a
/// [`Quota`](crate::quota::Quota).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Every admission to the millisecond, at 4 bytes a request of the limit. The limiter admits
    /// exactly what the quota allows.
    Exact,
    /// Counts in at most 258 segments of the window, 8 bytes each. A segment counts until its last
    /// millisecond has left the window, so the limiter never admits more than the quota allows,
    /// and it admits a request at most 1/256 of the window later than exact precision would.
    Coarse,
}
