//! Finished episodes on their way into the store of trajectories, read there by somebody else.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use futures::StreamExt;
use maestro_proto::v1::{self, episode_event::Event, episode_service_client::EpisodeServiceClient};
use maestro_tests::{Cluster, Process, S3Server, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::client::{Installation, client, installation_at, request, run};

const PATIENCE: Duration = Duration::from_secs(90);

fn service(url: &str) -> String {
    format!(
        "  journal: {{max_finished: 2}}\n  \
         trajectories: {{url: '{url}', ephemeral: true, batching: {{max_wait_s: 1}}}}\n"
    )
}

async fn create(client: &mut EpisodeServiceClient<Channel>, question: &str) -> String {
    let request = v1::CreateEpisodeRequest {
        task: request(question).task,
        options: None,
    };
    let created = client.create_episode(request).await.unwrap().into_inner();
    created.episode.unwrap().id
}

async fn get(client: &mut EpisodeServiceClient<Channel>, id: &str) -> v1::Episode {
    let request = v1::GetEpisodeRequest { id: id.into() };
    let got = client.get_episode(request).await.unwrap().into_inner();
    got.episode.unwrap()
}

/// As it is once it has left the journal: times to the microsecond.
fn kept(mut episode: v1::Episode) -> v1::Episode {
    let budget = episode.task.as_mut().and_then(|task| task.budget.as_mut());
    let outcome = episode.outcome.as_mut();
    let mut times = vec![
        episode.created_at.as_mut(),
        budget.and_then(|budget| budget.deadline.as_mut()),
        outcome.and_then(|outcome| outcome.reported_at.as_mut()),
    ];
    let conclusion = episode.conclusion.as_mut();
    times.push(conclusion.and_then(|conclusion| conclusion.finished_at.as_mut()));
    for step in &mut episode.steps {
        times.push(step.started_at.as_mut());
        times.push(step.decided_at.as_mut());
        times.push(step.finished_at.as_mut());
    }
    for time in times.into_iter().flatten() {
        time.nanos -= time.nanos % 1000;
    }
    episode
}

async fn ended(client: &mut EpisodeServiceClient<Channel>, id: &str) -> v1::Episode {
    let end = Instant::now() + PATIENCE;
    loop {
        let episode = get(client, id).await;
        if episode.conclusion.is_some() {
            return episode;
        }
        assert!(Instant::now() < end, "{episode:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report(client: &mut EpisodeServiceClient<Channel>, id: &str, score: f32) -> v1::Episode {
    let request = v1::ReportOutcomeRequest {
        id: id.into(),
        outcome: Some(v1::Outcome {
            score,
            source: "a user".into(),
            reported_at: None,
        }),
    };
    let reported = client.report_outcome(request).await.unwrap().into_inner();
    reported.episode.unwrap()
}

/// Ids of the durable episodes that the journal still lists.
async fn listed(client: &mut EpisodeServiceClient<Channel>) -> Vec<String> {
    let request = v1::ListEpisodesRequest::default();
    let listed = client.list_episodes(request).await.unwrap().into_inner();
    let durable = listed
        .episodes
        .into_iter()
        .filter(|episode| episode.durability() == v1::Durability::Durable);
    durable.map(|episode| episode.id).collect()
}

async fn gone(client: &mut EpisodeServiceClient<Channel>, id: &str) {
    let end = Instant::now() + PATIENCE;
    while listed(client).await.iter().any(|listed| listed == id) {
        assert!(Instant::now() < end, "it never leaves the journal");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the program of the documentation reads: one row of each episode.
fn read(folder: &str, environment: &[(&str, String)]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/trajectories.md")).unwrap();
    let (_, program) = text.split_once("```python\n").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    let python = std::env::var("MAESTRO_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", program, folder]);
    let output = command.envs(environment.iter().cloned()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The rows, once they hold all of these episodes.
fn read_all(folder: &str, environment: &[(&str, String)], ids: &[String]) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let rows = read(folder, environment);
        let has = |id: &String| rows.iter().any(|row| row["episode_id"] == id.as_str());
        if ids.iter().all(has) {
            assert_eq!(rows.len(), ids.len(), "each once: {rows:?}");
            return rows;
        }
        assert!(
            Instant::now() < end,
            "{} of {} are there",
            rows.len(),
            ids.len()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn row<'a>(rows: &'a [Value], id: &str) -> &'a Value {
    rows.iter().find(|row| row["episode_id"] == id).unwrap()
}

async fn in_a_folder() -> (TempDir, String, Installation) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/kept", folder.path().display());
    let cluster = Cluster::start_serving(&service(&url), &[]).await.unwrap();
    let installation = installation_at(cluster, 64).await;
    (folder, format!("{url}/trajectories"), installation)
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_episodes_leave_the_journal_and_are_still_there() {
    let (_folder, trajectories, installation) = in_a_folder().await;
    let cluster = &installation.cluster;
    let mut client = client(&cluster.endpoint()).await;
    let mut ids = vec![];
    for number in 0..6 {
        ids.push(create(&mut client, &format!("Question {number}?")).await);
    }
    let first = ids[0].clone();
    for id in &ids {
        ended(&mut client, id).await;
    }
    report(&mut client, &first, 0.75).await;
    let ephemeral = run(&mut client, request("And this?")).await;
    ids.push(ephemeral.id.clone());
    let known = kept(get(&mut client, &first).await);

    let rows = read_all(&trajectories, &[], &ids);
    for id in &ids {
        let row = row(&rows, id);
        assert_eq!(row["answer"], "yes", "{row}");
        assert_eq!(row["termination"], "answered");
        assert_eq!(row["pairs"][0]["expert"], "only");
        assert!(
            row["pairs"][0]["log_prob"].as_f64().unwrap() <= 0.0,
            "{row}"
        );
    }
    assert_eq!(row(&rows, &ephemeral.id)["durability"], "ephemeral");

    // It leaves the journal, and is told as before.
    gone(&mut client, &first).await;
    assert!(listed(&mut client).await.len() <= 5);
    assert_eq!(get(&mut client, &first).await, known);
    assert_eq!(known.outcome.as_ref().unwrap().score, 0.75);
    let watch = v1::WatchEpisodeRequest {
        id: first.clone(),
        resume_token: String::new(),
    };
    let events = client.watch_episode(watch).await.unwrap().into_inner();
    let events: Vec<_> = events
        .map(|message| message.unwrap().event.unwrap().event)
        .collect()
        .await;
    assert!(
        matches!(events.first(), Some(Some(Event::Accepted(_)))),
        "{events:?}"
    );
    assert!(matches!(events.last(), Some(Some(Event::Ended(ended))) if *ended == known));
    let cancel = v1::CancelEpisodeRequest {
        id: first.clone(),
        reason: "too late".into(),
    };
    let cancelled = client.cancel_episode(cancel).await.unwrap().into_inner();
    assert_eq!(cancelled.episode.unwrap(), known);

    // What becomes known later joins it.
    let reported = report(&mut client, &first, 0.25).await;
    assert_eq!(reported.outcome.as_ref().unwrap().score, 0.25);
    assert_eq!(get(&mut client, &first).await, kept(reported));
    let rows = read_all(&trajectories, &[], &ids);
    assert_eq!(row(&rows, &first)["score"], 0.25);
    let unknown = v1::GetEpisodeRequest {
        id: "019ad3ba-f9bf-7000-8000-000000000000".into(),
    };
    let unknown = client.get_episode(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);

    let metrics = cluster.coordinator.metrics.clone().unwrap();
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let stored = metrics
        .lines()
        .find_map(|line| line.strip_prefix("maestro_trajectories_stored_total "));
    assert!(
        stored.is_some_and(|count| count.parse::<f64>().unwrap() >= 7.0),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_killed_leaves_no_episode_behind() {
    let (_folder, trajectories, installation) = in_a_folder().await;
    let cluster = &installation.cluster;
    let second: Process = cluster.another_coordinator("second", "").unwrap();
    let mut at_second = client(&second.address.clone().unwrap()).await;
    let mut at_first = client(&cluster.endpoint()).await;
    let mut ids = vec![];
    for number in 0..10 {
        ids.push(create(&mut at_second, &format!("Question {number}?")).await);
        ids.push(create(&mut at_first, &format!("Question {number} again?")).await);
    }
    for id in &ids {
        ended(&mut at_first, id).await;
    }
    // Whether or not it was the one that moves them, and whatever it was about to do.
    second.signal(Signal::SIGKILL).unwrap();
    let rows = read_all(&trajectories, &[], &ids);
    assert!(rows.iter().all(|row| row["answer"] == "yes"), "{rows:?}");
    gone(&mut at_first, &ids[0]).await;
    assert_eq!(get(&mut at_first, &ids[0]).await.id, ids[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_episodes_go_into_a_bucket() {
    let s3 = S3Server::start().await.unwrap();
    let cluster = Cluster::start_serving(&service(&s3.url()), &s3.environment()).await;
    let installation = installation_at(cluster.unwrap(), 64).await;
    let mut client = client(&installation.cluster.endpoint()).await;
    let mut ids = vec![];
    for number in 0..4 {
        ids.push(create(&mut client, &format!("Question {number}?")).await);
    }
    let known = kept(ended(&mut client, &ids[0]).await);
    let rows = read_all(&s3.query_url("trajectories"), &s3.environment(), &ids);
    assert_eq!(row(&rows, &ids[0])["answer"], "yes");
    gone(&mut client, &ids[0]).await;
    assert_eq!(get(&mut client, &ids[0]).await, known);
}
