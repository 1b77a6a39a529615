//! Policies as artefacts: pushed, activated under load, shadowed, compared, rolled back.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use maestro_core::{Timestamp, registry::PolicySlot};
use maestro_models::{DeviceSetting, StaticTable};
use maestro_policy::{Runtime, ScorerConfig, ScorerPolicy, ServingConfig, manifest_content};
use maestro_proto::v1;
use maestro_tests::{ChatServer, Cluster};
use serde_json::Value;
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    client::{Installation, answer, client, descriptor, installation, request, run, with_skills},
    command_line::{json, maestro, refusal, stdout},
    observability::{metrics, value},
};

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A policy's folder, as training leaves it.
fn folder(config: ScorerConfig, note: &str) -> tempfile::TempDir {
    let table = Arc::new(StaticTable::bundled().unwrap());
    let runtime = Runtime::open(DeviceSetting::Cpu, table, ServingConfig::default()).unwrap();
    let policy = ScorerPolicy::untrained(config, runtime).unwrap();
    let mut manifest = policy.manifest().clone();
    manifest.created_at = Timestamp::now();
    manifest.notes.insert("training".into(), note.into());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content);
    write("policy.json", &manifest_content(&manifest).unwrap()).unwrap();
    write("policy.safetensors", &policy.weights().unwrap()).unwrap();
    folder
}

fn config(seed: u64, similarity_scale: f32) -> ScorerConfig {
    ScorerConfig {
        seed,
        similarity_scale,
        ..ScorerConfig::new(256)
    }
}

/// Runs `maestro policy ARGUMENTS` against a cluster.
async fn policy(cluster: &Cluster, arguments: &[&str]) -> std::process::Output {
    let endpoint = cluster.endpoint().to_string();
    let mut all = vec!["policy".to_owned()];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    all.extend(["--endpoint".to_owned(), endpoint]);
    spawn_blocking(move || maestro(&all.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap()
}

async fn push(cluster: &Cluster, folder: &Path) -> String {
    let pushed = policy(cluster, &["push", folder.to_str().unwrap()]).await;
    stdout(&pushed).trim().to_owned()
}

/// Episodes that never stop, and the policy versions that they met.
struct Load {
    versions: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<usize>,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let versions = Arc::<Mutex<BTreeSet<String>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..6 {
            let (versions, stop) = (Arc::clone(&versions), Arc::clone(&stop));
            let endpoint = cluster.endpoint();
            tasks.spawn(async move {
                let mut client = client(&endpoint).await;
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let question = request(&format!("Is {number} so, {count}?"));
                    let episode = run(&mut client, question).await;
                    assert_eq!(answer(&episode).as_deref(), Some("yes"), "{episode:?}");
                    count += 1;
                    let met = episode.steps.into_iter().filter_map(|step| step.decision);
                    versions
                        .lock()
                        .unwrap()
                        .extend(met.map(|decision| decision.policy_version));
                }
                count
            });
        }
        Self {
            versions,
            stop,
            tasks,
        }
    }

    /// Waits until an episode met a version, from now on.
    async fn meets(&self, version: &str) {
        self.versions.lock().unwrap().clear();
        let end = Instant::now() + PATIENCE;
        while !self.versions.lock().unwrap().contains(version) {
            assert!(Instant::now() < end, "{version} does not decide");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Episodes that ran, each of which was answered.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_under_load_without_a_failed_episode() {
    let Installation {
        cluster,
        worker: _worker,
        chat: _chat,
    } = installation().await;
    let load = Load::start(&cluster);
    let first = push(&cluster, folder(config(1, 40.0), "one").path()).await;
    let second = push(&cluster, folder(config(2, 40.0), "two").path()).await;
    let nothing = refusal(&policy(&cluster, &["rollback"]).await);
    assert!(nothing.contains("no policy before"), "{nothing}");

    stdout(&policy(&cluster, &["activate", &first[..8]]).await);
    load.meets(&first).await;
    stdout(&policy(&cluster, &["activate", &second]).await);
    load.meets(&second).await;
    stdout(&policy(&cluster, &["rollback"]).await);
    load.meets(&first).await;

    // One of another family is kept, but no worker can load it: the last one goes on.
    let damaged = folder(config(3, 40.0), "three");
    let path = damaged.path().join("policy.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, manifest.replace("\"scorer\"", "\"oracle\"")).unwrap();
    let oracle = push(&cluster, damaged.path()).await;
    stdout(&policy(&cluster, &["activate", &oracle]).await);
    let end = Instant::now() + PATIENCE;
    while !cluster.policy.full_log().contains("cannot be loaded") {
        assert!(Instant::now() < end, "{}", cluster.policy.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load.meets(&first).await;
    stdout(&policy(&cluster, &["rollback"]).await);
    load.meets(&first).await;
    assert!(load.end().await > 20);

    let listed = stdout(&policy(&cluster, &["list"]).await);
    let line = |digest: &str| {
        let found = listed.lines().find(|line| line.starts_with(&digest[..12]));
        found.unwrap_or_else(|| panic!("{digest} in {listed}"))
    };
    assert!(line(&first).contains("default:active") && line(&first).contains("training=one"));
    assert!(line(&oracle).contains("oracle") && line(&oracle).contains("default:previous"));
    assert!(!line(&second).contains("default:"), "{listed}");

    let short = refusal(&policy(&cluster, &["activate", &first[..7]]).await);
    assert!(short.contains("too short"), "{short}");
    let unknown = refusal(&policy(&cluster, &["activate", "00000000"]).await);
    assert!(unknown.contains("no policy begins"), "{unknown}");
    std::fs::write(damaged.path().join("policy.safetensors"), b"other").unwrap();
    let path = damaged.path().to_str().unwrap();
    let other = refusal(&policy(&cluster, &["push", path]).await);
    assert!(other.contains("has the digest"), "{other}");
}

/// Two experts, of which the one whose description fits is right.
async fn flags_and_rivers() -> (Cluster, maestro_tests::Process, [ChatServer; 2]) {
    let cluster = with_skills().await;
    let right = ChatServer::start("blue and yellow").await.unwrap();
    let wrong = ChatServer::start("no idea").await.unwrap();
    let worker = cluster.adopting_worker("worker").unwrap();
    let experts = [
        ("rivers", &wrong, "Knows the length of every river."),
        ("flags", &right, "Knows the colours of every flag."),
    ];
    for (name, chat, description) in experts {
        let mut descriptor = descriptor(name, &chat.base_url());
        descriptor.description = description.into();
        cluster.add_expert(&descriptor).await.unwrap();
        let name = name.parse().unwrap();
        cluster
            .until("an expert", |s| s.serves(&name))
            .await
            .unwrap();
    }
    (cluster, worker, [right, wrong])
}

/// One call and the answer, sampled.
fn sampled(number: usize) -> v1::RunEpisodeRequest {
    let mut request = request(&format!("Which colours has flag number {number}?"));
    let task = request.task.as_mut().unwrap();
    task.budget = Some(v1::Budget {
        max_steps: Some(2),
        ..v1::Budget::default()
    });
    let pair = |expert: &str| v1::Pair {
        expert: expert.into(),
        skill: "direct".into(),
    };
    task.constraints = Some(v1::Constraints {
        pinned: vec![pair("flags"), pair("rivers")],
        ..v1::Constraints::default()
    });
    request.options = Some(v1::EpisodeOptions {
        mode: v1::ServingMode::Sampled.into(),
        ..v1::EpisodeOptions::default()
    });
    request
}

/// The value of an estimate in the output of `compare --json`.
fn number(comparison: &Value, path: &str) -> f64 {
    let found = comparison.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} in {comparison}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_scores_along_and_is_judged_by_reported_outcomes() {
    const EPISODES: usize = 200;
    let (cluster, _worker, _chats) = flags_and_rivers().await;
    // The first hardly minds what fits, the second minds it very much.
    let active = push(&cluster, folder(config(0, 4.0), "indifferent").path()).await;
    let shadow = push(&cluster, folder(config(0, 120.0), "choosy").path()).await;
    stdout(&policy(&cluster, &["activate", &active]).await);
    stdout(&policy(&cluster, &["activate", &shadow, "--shadow"]).await);
    cluster
        .until("the shadow", |snapshot| {
            let slot = snapshot.policies.get("default");
            slot.is_some_and(|slot: &PolicySlot| slot.shadow.is_some())
        })
        .await
        .unwrap();

    let mut client = client(&cluster.endpoint()).await;
    let end = Instant::now() + PATIENCE;
    let scored = |metrics: &str| {
        [true, false]
            .map(|agreed| {
                let series = format!(
                    "maestro_shadow_decisions_total{{slot=\"default\",agreed=\"{agreed}\"}}"
                );
                value(metrics, &series).unwrap_or(0.0)
            })
            .iter()
            .sum::<f64>()
    };
    while scored(&metrics(&cluster.policy).await) == 0.0 {
        assert!(Instant::now() < end, "{}", cluster.logs());
        run(&mut client, sampled(0)).await;
    }
    let mut right = 0;
    for episode in 0..EPISODES {
        let episode = run(&mut client, sampled(episode)).await;
        let is_right = answer(&episode).as_deref() == Some("blue and yellow");
        right += usize::from(is_right);
        let outcome = v1::Outcome {
            score: f32::from(u8::from(is_right)),
            source: "test".into(),
            reported_at: None,
        };
        let report = v1::ReportOutcomeRequest {
            id: episode.id,
            outcome: Some(outcome),
        };
        client.report_outcome(report).await.unwrap();
    }
    assert!((20..EPISODES - 20).contains(&right), "{right} right");
    let metrics = metrics(&cluster.policy).await;
    assert!(scored(&metrics) > EPISODES as f64, "{metrics}");
    let probabilities = "maestro_shadow_probability_ratio_count{slot=\"default\"}";
    assert!(value(&metrics, probabilities).is_some_and(|count| count > EPISODES as f64));

    let compared = policy(&cluster, &["compare", "--sampled", "--json"]).await;
    let comparison = json(&stdout(&compared));
    assert_eq!(comparison["episodes"], EPISODES, "{comparison}");
    assert_eq!(comparison["active"]["policy"], active, "{comparison}");
    assert!(number(&comparison, "/largest_deviation") < 1e-3);
    // The active policy is judged by its own episodes.
    let logged = right as f64 / EPISODES as f64;
    for estimate in ["self_normalised", "importance_sampling"] {
        let value = number(&comparison, &format!("/active/{estimate}/value"));
        assert!((value - logged).abs() < 0.01, "{estimate}: {comparison}");
    }
    let effective = number(&comparison, "/active/support/effective");
    assert!(effective > 0.98 * EPISODES as f64, "{comparison}");
    // The candidate would nearly always ask the right one.
    assert!(comparison["candidate"]["doubt"].is_null(), "{comparison}");
    for estimate in ["self_normalised", "doubly_robust"] {
        let value = number(&comparison, &format!("/candidate/{estimate}/value"));
        assert!((0.9..1.1).contains(&value), "{estimate}: {comparison}");
    }
    assert!(number(&comparison, "/difference/low") > 0.0, "{comparison}");

    let table = stdout(&policy(&cluster, &["compare", "--sampled"]).await);
    assert!(table.contains("score, self-normalised"), "{table}");
    assert!(table.contains("left out"), "{table}");
    let unknown = refusal(&policy(&cluster, &["compare", "--slot", "other"]).await);
    assert!(unknown.contains("no shadow"), "{unknown}");
}
