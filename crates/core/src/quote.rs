//! The most that one run of a pair can cost.

use crate::{
    money::MicroUsd,
    registry::{CallBounds, Candidate, Descriptor, Snapshot},
};

/// Upper bound of the cost of one run of `candidate`, or `None` where a price is unknown.
///
/// Every call is counted at the skill's token bounds, themselves capped by the expert's limits.
/// A helper call is counted at the dearest serving expert that has the capability, since which
/// one answers is decided at the call; helpers that the skill can do without count too.
pub fn upper_bound(snapshot: &Snapshot, candidate: &Candidate<'_>) -> Option<MicroUsd> {
    let bounds = &candidate.skill.bounds;
    let own = call_bound(candidate.expert, bounds)?.times(u64::from(bounds.expert_calls));
    let dearest_helper = candidate
        .skill
        .helpers
        .iter()
        .chain(&candidate.skill.optional_helpers)
        .flat_map(|capability| snapshot.with_capability(capability))
        .map(|helper| call_bound(helper, bounds))
        .try_fold(MicroUsd::ZERO, |dearest, bound| {
            bound.map(|bound| dearest.max(bound))
        })?;
    Some(own + dearest_helper.times(u64::from(bounds.helper_calls)))
}

/// Upper bound of the cost of one call to `expert`, or `None` where its price is unknown.
pub fn call_bound(expert: &Descriptor, bounds: &CallBounds) -> Option<MicroUsd> {
    let price = expert.price?;
    let input = u64::from(bounds.input_tokens.min(expert.limits.context_tokens));
    let output = u64::from(bounds.output_tokens.min(expert.limits.max_output_tokens));
    Some(actual(&price, input, output))
}

/// What one call with these token counts costs.
pub fn actual(price: &crate::registry::Price, input_tokens: u64, output_tokens: u64) -> MicroUsd {
    price.per_call
        + price.input_per_mtok.per_million(input_tokens)
        + price.output_per_mtok.per_million(output_tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::{Limits, Price};

    fn expert(price: Option<Price>) -> Descriptor {
        Descriptor {
            name: "e".parse().unwrap(),
            description: "d".into(),
            capabilities: ["chat".parse().unwrap()].into(),
            modalities: [crate::registry::Modality::Text].into(),
            price,
            limits: Limits::default(),
            typical_latency_ms: None,
            backend: None,
        }
    }

    #[test]
    fn an_unknown_price_has_no_bound() {
        assert_eq!(call_bound(&expert(None), &CallBounds::default()), None);
    }

    proptest! {
        #[test]
        fn the_bound_covers_every_call_within_the_limits(
            input_price in 0u64..100_000_000, output_price in 0u64..100_000_000,
            per_call in 0u64..1_000_000, input in 0u64..8192, output in 0u64..1024,
        ) {
            let price = Price {
                input_per_mtok: MicroUsd(input_price),
                output_per_mtok: MicroUsd(output_price),
                per_call: MicroUsd(per_call),
            };
            let bounds = CallBounds { input_tokens: 8192, output_tokens: 1024, ..CallBounds::default() };
            let bound = call_bound(&expert(Some(price)), &bounds).unwrap();
            prop_assert!(actual(&price, input, output) <= bound);
        }
    }
}
