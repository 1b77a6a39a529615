//! What the tests of this module share: a registry, experts that answer by rule, blobs in memory.

use std::{
    io::Cursor,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use maestro_core::{
    Capability, EpisodeId, ExpertName, InstanceId, MicroUsd, Timestamp,
    answer::AnswerKind,
    episode::{Failure, Observation},
    expert_call::{ExpertCall, ExpertReply, Finding, TextRegion, Usage},
    ports::{Blobs, Experts, Skills},
    registry::{Catalogue, Descriptor, Instance, Limits, Modality, Price, SkillHeader, Snapshot},
    skill_run::SkillRun,
    task::{ImageRef, Pair},
};
use maestro_skills::Skill;
use maestro_store::{ObjectBlobs, StoreConfig};
use tokio::sync::watch;

use super::{Runner, RunnerConfig};

pub(crate) fn descriptor(name: &str, capabilities: &[&str]) -> Descriptor {
    Descriptor {
        name: ExpertName::new(name).unwrap(),
        description: format!("the expert {name}"),
        capabilities: capabilities
            .iter()
            .map(|c| Capability::new(c).unwrap())
            .collect(),
        modalities: [Modality::Text, Modality::Image].into(),
        price: Some(Price {
            per_call: MicroUsd(10),
            ..Price::default()
        }),
        limits: Limits::default(),
        typical_latency_ms: None,
        backend: None,
    }
}

/// A registry in which every expert has one serving instance.
pub(crate) fn snapshot(experts: Vec<Descriptor>, skills: Vec<SkillHeader>) -> Snapshot {
    let mut catalogue = Catalogue::default();
    let names: Vec<ExpertName> = experts.iter().map(|expert| expert.name.clone()).collect();
    catalogue.experts.extend(
        experts
            .into_iter()
            .map(|expert| (expert.name.clone(), expert)),
    );
    catalogue
        .skills
        .extend(skills.into_iter().map(|skill| (skill.name.clone(), skill)));
    let mut snapshot = Snapshot::new(1, catalogue);
    for expert in names {
        let instance = Instance {
            expert: expert.clone(),
            id: InstanceId::new("one").unwrap(),
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            capacity: 8,
            written_at: Timestamp::UNIX_EPOCH,
        };
        snapshot.instances.insert(expert, vec![instance]);
    }
    snapshot
}

type Answer = dyn Fn(&ExpertCall) -> Result<ExpertReply, Failure> + Send + Sync;

/// Experts that answer by a rule after a pause; every call is recorded.
pub(crate) struct RuleExperts {
    answer: Box<Answer>,
    pause: Duration,
    calls: Mutex<Vec<ExpertCall>>,
}

#[async_trait]
impl Experts for RuleExperts {
    async fn invoke(&self, call: ExpertCall) -> Result<ExpertReply, Failure> {
        self.calls.lock().unwrap().push(call.clone());
        tokio::time::sleep(self.pause).await;
        let mut reply = (self.answer)(&call)?;
        if reply.usage == Usage::default() {
            reply.usage = Usage {
                cost: MicroUsd(10),
                calls: 1,
                ..Usage::default()
            };
        }
        reply.instance = Some(InstanceId::new("one").unwrap());
        Ok(reply)
    }
}

/// A runner with experts `chat` (chat), `reader` (ocr), `looker` (analyze) and `spotter` (detect),
/// and one skill.
pub(crate) struct Bench {
    pub(crate) runner: Runner,
    pub(crate) experts: Arc<RuleExperts>,
    pub(crate) blobs: Arc<ObjectBlobs>,
    pub(crate) skill: Skill,
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Bench {
    pub(crate) fn new(
        skill: Skill,
        answer: impl Fn(&ExpertCall) -> Result<ExpertReply, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self::with(skill, Duration::ZERO, RunnerConfig::default(), answer)
    }

    pub(crate) fn with(
        skill: Skill,
        pause: Duration,
        config: RunnerConfig,
        answer: impl Fn(&ExpertCall) -> Result<ExpertReply, Failure> + Send + Sync + 'static,
    ) -> Self {
        let experts = Arc::new(RuleExperts {
            answer: Box::new(answer),
            pause,
            calls: Mutex::default(),
        });
        let memory = StoreConfig::new("memory:///".parse().unwrap());
        let blobs = Arc::new(ObjectBlobs::open(memory).unwrap());
        futures::executor::block_on(blobs.put(skill.bundle().clone())).unwrap();
        let described = vec![
            descriptor("chat", &["chat"]),
            descriptor("reader", &["ocr"]),
            descriptor("looker", &["analyze"]),
            descriptor("spotter", &["detect"]),
        ];
        let (sender, receiver) =
            watch::channel(Arc::new(snapshot(described, vec![skill.header()])));
        let runner = Runner::new(
            Arc::clone(&experts) as _,
            Arc::clone(&blobs) as _,
            receiver,
            config,
        );
        Self {
            runner,
            experts,
            blobs,
            skill,
            _snapshots: sender,
        }
    }

    pub(crate) fn request(&self, expert: &str, question: &str, kind: AnswerKind) -> SkillRun {
        SkillRun {
            instance: None,
            episode: EpisodeId::new("episode-1").unwrap(),
            step: 2,
            pair: Pair {
                expert: ExpertName::new(expert).unwrap(),
                skill: self.skill.name().clone(),
            },
            skill_digest: self.skill.digest(),
            question: question.to_owned(),
            query: String::new(),
            images: Vec::new(),
            answer_kind: kind,
            max_cost: None,
            deadline: Timestamp::now()
                .checked_add(Duration::from_secs(20))
                .unwrap(),
        }
    }

    /// Adds an image of 100 × 60 pixels to a request.
    pub(crate) async fn with_image(&self, mut request: SkillRun) -> SkillRun {
        let mut png = Cursor::new(Vec::new());
        image::RgbImage::new(100, 60)
            .write_to(&mut png, image::ImageFormat::Png)
            .unwrap();
        let content = Bytes::from(png.into_inner());
        let bytes = content.len() as u64;
        let digest = self.blobs.put(content).await.unwrap();
        let media_type = "image/png".to_owned();
        request.images.push(ImageRef {
            digest,
            media_type,
            width: 100,
            height: 60,
            bytes,
        });
        request
    }

    pub(crate) async fn run(&self, request: SkillRun) -> Observation {
        self.runner.run(request).await.unwrap()
    }

    /// Calls made so far, by path and sample.
    pub(crate) fn calls(&self) -> Vec<ExpertCall> {
        let mut calls = self.experts.calls.lock().unwrap().clone();
        calls.sort_by(|a, b| (&a.key.path, a.key.sample).cmp(&(&b.key.path, b.key.sample)));
        calls
    }
}

pub(crate) fn said(text: &str) -> Result<ExpertReply, Failure> {
    Ok(ExpertReply {
        text: text.to_owned(),
        finish_reason: "stop".into(),
        ..ExpertReply::default()
    })
}

pub(crate) fn found(value: &str, confidence: f32) -> Result<ExpertReply, Failure> {
    let finding = Finding {
        value: value.to_owned(),
        confidence,
        evidence: "measured".to_owned(),
    };
    Ok(ExpertReply {
        findings: vec![finding],
        ..ExpertReply::default()
    })
}

/// Lines of text, one below another.
pub(crate) fn lines(texts: &[&str]) -> Result<ExpertReply, Failure> {
    let region = |(row, text): (usize, &&str)| {
        let top = 10.0 + 30.0 * row as f32;
        let quad = [
            [10.0, top],
            [300.0, top],
            [300.0, top + 18.0],
            [10.0, top + 18.0],
        ];
        TextRegion {
            text: (*text).to_owned(),
            confidence: 0.95,
            quad,
            word_confidences: Vec::new(),
        }
    };
    let regions = texts.iter().enumerate().map(region).collect();
    Ok(ExpertReply {
        regions,
        ..ExpertReply::default()
    })
}

/// A skill of one solver.
pub(crate) fn skill(solver: &str) -> Skill {
    let front = "---\nname: a-skill\ndescription: A skill for tests.\n---\nBe exact.\n";
    Skill::from_content([
        ("SKILL.md", front.as_bytes()),
        ("solvers/main.yaml", solver.as_bytes()),
    ])
    .unwrap()
}
