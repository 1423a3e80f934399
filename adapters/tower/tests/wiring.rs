//! What does not fit together has no layer.

mod support;

use std::{future::ready, sync::Arc};

use keyward::{
    Access, MemoryStore, Quota,
    gate::GateBuilder,
    limit::{Decision, LimitKey},
};
use keyward_tower::{ApiKeys, LayerError};
use support::*;

type Keys = ApiKeys<Arc<MemoryStore>>;

fn plain(gate: GateBuilder) -> GateBuilder {
    gate
}

fn limiting(gate: GateBuilder) -> GateBuilder {
    gate.with_limiter(limiter())
}

fn counting(gate: GateBuilder) -> GateBuilder {
    gate.limit_failed_attempts(limiter(), Quota::per_minute(1))
}

fn passing(gate: GateBuilder) -> GateBuilder {
    gate.allow_foreign()
}

fn as_it_is(keys: Keys) -> Keys {
    keys
}

fn elsewhere(keys: Keys) -> Keys {
    keys.charge_with(|_, _| ready(Err::<Decision, _>(Down)))
}

fn addressed(keys: Keys) -> Keys {
    keys.with_client_address(|_| Some(LimitKey::address([192, 0, 2, 7].into())))
}

#[test]
fn what_would_silently_not_be_done_has_no_layer() {
    type Gate = fn(GateBuilder) -> GateBuilder;
    type Wiring = fn(Keys) -> Keys;

    let cases: [(Gate, Wiring, Option<LayerError>, Option<LayerError>); 9] = [
        // The gate, the wiring; what becomes of a route without limits, and of one with some.
        (plain, as_it_is, None, Some(LayerError::NoLimiter)),
        (limiting, as_it_is, None, None),
        (plain, elsewhere, None, None),
        (limiting, elsewhere, Some(LayerError::TwoLimiters), Some(LayerError::TwoLimiters)),
        (counting, as_it_is, Some(LayerError::NoClientAddress), Some(LayerError::NoClientAddress)),
        (counting, addressed, None, Some(LayerError::NoLimiter)),
        (plain, addressed, None, Some(LayerError::NoLimiter)),
        (passing, as_it_is, Some(LayerError::UncheckedForeign), {
            Some(LayerError::UncheckedForeign)
        }),
        (passing, ApiKeys::handle_foreign, None, Some(LayerError::NoLimiter)),
    ];
    for (at, (gate, wiring, unlimited, limited)) in cases.into_iter().enumerate() {
        let world = World::with_gate(gate);
        let keys = ApiKeys::new(world.gate.clone(), world.store, world.clock);
        let keys = wiring(keys);
        assert_eq!(keys.require(Access::any_key()).err(), unlimited, "{at}");
        assert_eq!(keys.require(reading(1)).err(), limited, "{at}");
        // Which route it will be is only known with the request.
        assert_eq!(keys.require_by(|_| reading(1)).err(), unlimited, "{at}");
    }
}
