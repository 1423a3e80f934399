//! Why there is no layer.

use std::{error::Error, fmt};

/// Why [`ApiKeys::require`](crate::ApiKeys::require) made no layer: something would silently not
/// be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerError {
    /// The route has limits, and neither the gate has a
    /// [limiter](keyward::gate::GateBuilder::with_limiter) nor is there
    /// [`ApiKeys::charge_with`](crate::ApiKeys::charge_with).
    NoLimiter,
    /// The gate has a limiter, so [`ApiKeys::charge_with`](crate::ApiKeys::charge_with) would
    /// never be asked.
    TwoLimiters,
    /// The gate limits failed attempts, and nothing says on whom they count: see
    /// [`ApiKeys::with_client_address`](crate::ApiKeys::with_client_address).
    NoClientAddress,
    /// The gate leaves unknown credentials to the host, and nothing says that the host checks
    /// them: see [`ApiKeys::handle_foreign`](crate::ApiKeys::handle_foreign).
    UncheckedForeign,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLimiter => "the route has limits, and there is no limiter to charge them",
            Self::TwoLimiters => "limits are charged by the gate's limiter or elsewhere, not both",
            Self::NoClientAddress => "failed attempts are limited, and no client has an address",
            Self::UncheckedForeign => "unknown credentials are passed on, and nobody checks them",
        })
    }
}

impl Error for LayerError {}
