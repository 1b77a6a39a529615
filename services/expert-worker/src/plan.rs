//! Which experts a worker brings into service, given the registry and what it serves. Pure.

use std::collections::{BTreeMap, BTreeSet};

use maestro_core::{
    ExpertName,
    registry::{BackendSpec, Descriptor, Snapshot},
};

use crate::backend::BackendKind;

/// What the worker is to serve at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Experts that it hosts by its own configuration, with the backend of each. They count once
    /// their descriptors stand in the registry.
    pub hosted: BTreeMap<ExpertName, BackendSpec>,
    /// Kinds of backend whose descriptors it adopts.
    pub adopted: BTreeSet<BackendKind>,
}

/// Something to do. `descriptor.backend` is always set and is the backend to build.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Bring an expert into service.
    Start(Descriptor),
    /// Serve on under a changed descriptor; the backend stays.
    Update(Descriptor),
    /// Take the expert out of service and bring it back with another backend.
    Replace(Descriptor),
    /// Take the expert out of service.
    Stop(ExpertName),
}

/// What is to be done so that `running` becomes what the registry and the scope ask for.
pub fn plan(
    snapshot: &Snapshot,
    running: &BTreeMap<ExpertName, Descriptor>,
    scope: &Scope,
) -> Vec<Action> {
    let wanted = wanted(snapshot, scope);
    let stops = running
        .keys()
        .filter(|name| !wanted.contains_key(*name))
        .map(|name| Action::Stop(name.clone()));
    let rest = wanted.iter().filter_map(|(name, descriptor)| {
        let descriptor = descriptor.clone();
        match running.get(name) {
            None => Some(Action::Start(descriptor)),
            Some(current) if *current == descriptor => None,
            Some(current) if needs_rebuild(current, &descriptor) => {
                Some(Action::Replace(descriptor))
            }
            Some(_) => Some(Action::Update(descriptor)),
        }
    });
    stops.chain(rest).collect()
}

/// The experts that should be in service, each with the backend to build.
fn wanted(snapshot: &Snapshot, scope: &Scope) -> BTreeMap<ExpertName, Descriptor> {
    let wanted = |descriptor: &Descriptor| match &descriptor.backend {
        Some(spec) => {
            let kind: BackendKind = spec.kind.parse().ok()?;
            scope.adopted.contains(&kind).then(|| descriptor.clone())
        }
        // A descriptor without a backend is hosted by whoever put it.
        None => scope.hosted.get(&descriptor.name).map(|spec| Descriptor {
            backend: Some(spec.clone()),
            ..descriptor.clone()
        }),
    };
    snapshot
        .catalogue
        .experts
        .values()
        .filter_map(wanted)
        .map(|descriptor| (descriptor.name.clone(), descriptor))
        .collect()
}

/// The model is loaded for a backend, and the instance is registered with its capacity. Everything
/// else of a descriptor is read at each call.
fn needs_rebuild(old: &Descriptor, new: &Descriptor) -> bool {
    old.backend != new.backend || old.limits.max_concurrency != new.limits.max_concurrency
}

#[cfg(test)]
mod tests {
    use maestro_core::registry::{Catalogue, Limits, Modality};
    use proptest::prelude::*;

    use super::*;

    fn descriptor(name: &str, description: u8, kind: Option<&str>, concurrency: u32) -> Descriptor {
        Descriptor {
            name: name.parse().unwrap(),
            description: format!("description {description}"),
            capabilities: ["chat".parse().unwrap()].into(),
            modalities: [Modality::Text].into(),
            price: None,
            limits: Limits {
                max_concurrency: concurrency,
                ..Limits::default()
            },
            typical_latency_ms: None,
            backend: kind.map(spec),
        }
    }

    fn spec(kind: &str) -> BackendSpec {
        BackendSpec {
            kind: kind.to_owned(),
            config: serde_json::Map::new(),
        }
    }

    fn snapshot(experts: impl IntoIterator<Item = Descriptor>) -> Snapshot {
        let experts = experts.into_iter().map(|e| (e.name.clone(), e)).collect();
        let catalogue = Catalogue {
            experts,
            ..Catalogue::default()
        };
        Snapshot::new(1, catalogue)
    }

    fn running(experts: impl IntoIterator<Item = Descriptor>) -> BTreeMap<ExpertName, Descriptor> {
        experts.into_iter().map(|e| (e.name.clone(), e)).collect()
    }

    fn scope(hosted: &[(&str, &str)], adopted: &[BackendKind]) -> Scope {
        Scope {
            hosted: hosted
                .iter()
                .map(|(name, kind)| (name.parse().unwrap(), spec(kind)))
                .collect(),
            adopted: adopted.iter().copied().collect(),
        }
    }

    #[test]
    fn a_descriptor_of_an_adopted_kind_is_started() {
        let all = snapshot([
            descriptor("a", 0, Some("openai"), 1),
            descriptor("b", 0, Some("replay"), 1),
            descriptor("c", 0, Some("unheard-of"), 1),
            descriptor("d", 0, None, 1),
        ]);
        let actions = plan(&all, &BTreeMap::new(), &scope(&[], &[BackendKind::Openai]));
        assert_eq!(
            actions,
            [Action::Start(descriptor("a", 0, Some("openai"), 1))]
        );
    }

    #[test]
    fn a_hosted_expert_gets_its_own_backend_and_nobody_elses() {
        let scope = scope(&[("a", "ocr")], &[]);
        let own = snapshot([descriptor("a", 0, None, 1)]);
        let expected = descriptor("a", 0, Some("ocr"), 1);
        assert_eq!(
            plan(&own, &BTreeMap::new(), &scope),
            [Action::Start(expected.clone())]
        );
        // Somebody has replaced it by one that another worker is to adopt.
        let foreign = snapshot([descriptor("a", 0, Some("openai"), 1)]);
        assert_eq!(
            plan(&foreign, &running([expected]), &scope),
            [Action::Stop("a".parse().unwrap())]
        );
    }

    #[test]
    fn only_a_changed_backend_or_capacity_interrupts_service() {
        let scope = scope(&[], &[BackendKind::Openai, BackendKind::Replay]);
        let now = running([descriptor("a", 0, Some("openai"), 1)]);
        for (changed, rebuilt) in [
            (descriptor("a", 1, Some("openai"), 1), false),
            (descriptor("a", 0, Some("replay"), 1), true),
            (descriptor("a", 0, Some("openai"), 2), true),
        ] {
            let expected = if rebuilt {
                Action::Replace(changed.clone())
            } else {
                Action::Update(changed.clone())
            };
            assert_eq!(plan(&snapshot([changed]), &now, &scope), [expected]);
        }
        assert_eq!(
            plan(&snapshot([]), &now, &scope),
            [Action::Stop("a".parse().unwrap())]
        );
    }

    fn any_experts() -> impl Strategy<Value = Vec<Descriptor>> {
        let kind = prop_oneof![
            Just(None),
            Just(Some("openai")),
            Just(Some("replay")),
            Just(Some("x"))
        ];
        let one = ("[a-e]", 0u8..3, kind, 1u32..3)
            .prop_map(|(name, text, kind, size)| descriptor(&name, text, kind, size));
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn carrying_out_a_plan_leaves_nothing_to_do(
            registered in any_experts(), before in any_experts(),
            hosts: bool, adopts: bool,
        ) {
            let snapshot = snapshot(registered);
            let scope = scope(
                if hosts { &[("a", "ocr"), ("b", "ocr")] } else { &[] },
                if adopts { &[BackendKind::Openai] } else { &[] },
            );
            let mut state = running(before);
            for action in plan(&snapshot, &state, &scope) {
                match action {
                    Action::Start(new) => {
                        prop_assert!(new.backend.is_some());
                        prop_assert!(state.insert(new.name.clone(), new).is_none());
                    }
                    Action::Update(new) | Action::Replace(new) => {
                        prop_assert!(new.backend.is_some());
                        prop_assert!(state.insert(new.name.clone(), new).is_some());
                    }
                    Action::Stop(name) => {
                        prop_assert!(state.remove(&name).is_some());
                    }
                }
            }
            prop_assert_eq!(plan(&snapshot, &state, &scope), vec![]);
            // Nothing outside the scope is served.
            for descriptor in state.values() {
                let kind = &descriptor.backend.as_ref().unwrap().kind;
                prop_assert!(kind == "openai" && adopts || kind == "ocr" && hosts);
            }
        }
    }
}
