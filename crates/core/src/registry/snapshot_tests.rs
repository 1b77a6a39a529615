use std::collections::BTreeSet;

use super::*;
use crate::{
    ids::InstanceId,
    registry::{CallBounds, Limits},
};

fn capability(name: &str) -> Capability {
    Capability::new(name).unwrap()
}

fn expert(name: &str, capabilities: &[&str], modalities: &[Modality]) -> Descriptor {
    Descriptor {
        name: ExpertName::new(name).unwrap(),
        description: format!("the expert {name}"),
        capabilities: capabilities.iter().map(|c| capability(c)).collect(),
        modalities: modalities.iter().copied().collect(),
        price: None,
        limits: Limits::default(),
        typical_latency_ms: None,
        backend: None,
    }
}

fn skill(name: &str, requires: &[&str], helpers: &[&str], images: ImageNeed) -> SkillHeader {
    SkillHeader {
        hedge: false,
        name: SkillName::new(name).unwrap(),
        description: format!("the skill {name}"),
        bundle: Digest::of(name.as_bytes()),
        requires: requires.iter().map(|c| capability(c)).collect(),
        helpers: helpers.iter().map(|c| capability(c)).collect(),
        optional_helpers: [].into(),
        images,
        expert_reads_images: true,
        answer_kinds: BTreeSet::new(),
        direct: false,
        bounds: CallBounds::default(),
        solvers: vec![],
    }
}

fn snapshot() -> Snapshot {
    let mut catalogue = Catalogue::default();
    for descriptor in [
        expert("reader", &["ocr"], &[Modality::Image]),
        expert("talker", &["chat"], &[Modality::Text]),
        expert("seer", &["chat"], &[Modality::Text, Modality::Image]),
    ] {
        catalogue
            .experts
            .insert(descriptor.name.clone(), descriptor);
    }
    for header in [
        skill("plain", &["chat"], &[], ImageNeed::Optional),
        skill("read", &["ocr"], &[], ImageNeed::Required),
        skill("assisted", &["chat"], &["ocr"], ImageNeed::Required),
    ] {
        catalogue.skills.insert(header.name.clone(), header);
    }
    let mut snapshot = Snapshot::new(1, catalogue);
    for name in ["reader", "talker", "seer"] {
        serve(&mut snapshot, name);
    }
    snapshot
}

fn serve(snapshot: &mut Snapshot, name: &str) {
    let expert = ExpertName::new(name).unwrap();
    snapshot
        .instances
        .entry(expert.clone())
        .or_default()
        .push(Instance {
            expert,
            id: InstanceId::generate(),
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            capacity: 1,
            written_at: Timestamp::UNIX_EPOCH,
        });
}

fn names(candidates: &[Candidate<'_>]) -> Vec<String> {
    candidates
        .iter()
        .map(|c| format!("{}@{}", c.expert.name, c.skill.name))
        .collect()
}

#[test]
fn the_action_set_holds_every_compatible_serving_pair() {
    let mut snapshot = snapshot();
    assert_eq!(
        names(&snapshot.action_set()),
        ["seer@assisted", "seer@plain", "talker@plain", "reader@read"]
    );
    snapshot.instances.remove("reader");
    // Without the reader the assisted skill has no helper.
    assert_eq!(
        names(&snapshot.action_set()),
        ["seer@plain", "talker@plain"]
    );
}

#[test]
fn a_task_narrows_the_action_set() {
    let snapshot = snapshot();
    let text = snapshot.candidates(0, "integer", &Constraints::default());
    assert_eq!(names(&text), ["seer@plain", "talker@plain"]);
    let image = snapshot.candidates(1, "integer", &Constraints::default());
    assert_eq!(
        names(&image),
        ["seer@assisted", "seer@plain", "reader@read"]
    );
}

#[test]
fn unknown_pins_are_named() {
    let snapshot = snapshot();
    let pin = |expert: &str, skill: &str| Constraints {
        pinned: vec![Pair {
            expert: ExpertName::new(expert).unwrap(),
            skill: SkillName::new(skill).unwrap(),
        }],
        ..Constraints::default()
    };
    let field = |constraints| match snapshot.check_pinned(&constraints).unwrap_err() {
        CoreError::Invalid(violation) => violation.field,
        other => panic!("{other}"),
    };
    assert_eq!(
        field(pin("nobody", "plain")),
        "constraints.pinned[0].expert"
    );
    assert_eq!(
        field(pin("talker", "nothing")),
        "constraints.pinned[0].skill"
    );
    assert_eq!(field(pin("talker", "read")), "constraints.pinned[0].skill");
    snapshot.check_pinned(&pin("talker", "plain")).unwrap();
}

#[test]
fn the_digest_ignores_liveness() {
    let mut one = snapshot();
    let before = one.catalogue.digest();
    serve(&mut one, "talker");
    assert_eq!(one.catalogue.digest(), before);
    let mut other = (*one.catalogue).clone();
    other
        .experts
        .get_mut("talker")
        .unwrap()
        .description
        .push('!');
    assert_ne!(other.digest(), before);
}
