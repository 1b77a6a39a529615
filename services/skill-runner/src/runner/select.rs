//! Which expert takes a helper call. Pure.

use maestro_core::{
    Capability, MicroUsd,
    quote::call_bound,
    registry::{CallBounds, Descriptor, Snapshot},
};

/// The serving expert that has a capability and costs least; then the usually fastest, then the
/// first by name. An expert without a price comes last, and not at all where `priced_only`.
pub(crate) fn cheapest<'a>(
    snapshot: &'a Snapshot,
    capability: &Capability,
    bounds: &CallBounds,
    priced_only: bool,
) -> Option<&'a Descriptor> {
    let rank = |expert: &Descriptor| {
        let bound = call_bound(expert, bounds);
        (
            bound.is_none(),
            bound.unwrap_or(MicroUsd::MAX),
            expert.typical_latency_ms.unwrap_or(u32::MAX),
        )
    };
    let experts = snapshot.catalogue.experts.values();
    experts
        .filter(|expert| expert.capabilities.contains(capability) && snapshot.serves(&expert.name))
        .filter(|expert| !priced_only || expert.price.is_some())
        .min_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)))
}

#[cfg(test)]
mod tests {
    use maestro_core::registry::Price;

    use super::*;
    use crate::runner::testing::{descriptor, snapshot};

    #[test]
    fn the_cheapest_serving_expert_helps() {
        let priced = |name: &str, price: Option<u64>, latency: Option<u32>| {
            let mut expert = descriptor(name, &["ocr"]);
            expert.price = price.map(|p| Price {
                per_call: MicroUsd(p),
                ..Price::default()
            });
            expert.typical_latency_ms = latency;
            expert
        };
        let snapshot = snapshot(
            vec![
                priced("unknown", None, Some(1)),
                priced("dear", Some(9), Some(1)),
                priced("slow", Some(5), Some(900)),
                priced("fast", Some(5), Some(10)),
            ],
            vec![],
        );
        let ocr = Capability::new("ocr").unwrap();
        let name = |priced_only| {
            cheapest(&snapshot, &ocr, &CallBounds::default(), priced_only)
                .map(|e| e.name.to_string())
        };
        assert_eq!(name(false).as_deref(), Some("fast"));
        let only_unknown =
            super::super::testing::snapshot(vec![priced("unknown", None, None)], vec![]);
        assert!(cheapest(&only_unknown, &ocr, &CallBounds::default(), true).is_none());
        assert!(cheapest(&only_unknown, &ocr, &CallBounds::default(), false).is_some());
    }
}
