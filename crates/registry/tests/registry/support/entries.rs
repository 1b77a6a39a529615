//! Entries to store.

use maestro_core::{
    Capability, Digest, ExpertName, InstanceId, SkillName,
    ports::InstanceSpec,
    registry::{
        BackendSpec, CallBounds, Descriptor, ImageNeed, Limits, Modality, PolicySlot, SkillHeader,
    },
};

pub(crate) fn expert(name: &str, description: &str) -> Descriptor {
    Descriptor {
        name: ExpertName::new(name).unwrap(),
        description: description.into(),
        capabilities: [Capability::new("chat").unwrap()].into(),
        modalities: [Modality::Text].into(),
        price: None,
        limits: Limits::default(),
        typical_latency_ms: None,
        backend: Some(BackendSpec {
            kind: "process".into(),
            // The protocol has only doubles: what comes back is 3.
            config: serde_json::from_str(r#"{"threads": 3.0, "rate": 0.5}"#).unwrap(),
        }),
    }
}

pub(crate) fn skill(name: &str, description: &str) -> SkillHeader {
    SkillHeader {
        hedge: false,
        name: SkillName::new(name).unwrap(),
        description: description.into(),
        bundle: Digest::of(description.as_bytes()),
        requires: [Capability::new("chat").unwrap()].into(),
        helpers: [].into(),
        optional_helpers: [].into(),
        images: ImageNeed::Optional,
        expert_reads_images: false,
        answer_kinds: [].into(),
        direct: false,
        bounds: CallBounds::default(),
        solvers: vec![],
    }
}

pub(crate) fn instance(expert: &str, id: &str, port: u16) -> InstanceSpec {
    InstanceSpec {
        expert: ExpertName::new(expert).unwrap(),
        id: InstanceId::new(id).unwrap(),
        endpoint: format!("http://127.0.0.1:{port}").parse().unwrap(),
        capacity: 2,
    }
}

pub(crate) fn slot(active: &str) -> PolicySlot {
    PolicySlot {
        active: Digest::of(active.as_bytes()),
        shadow: None,
        previous: None,
    }
}
