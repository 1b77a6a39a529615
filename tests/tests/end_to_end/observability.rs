//! Metrics of every process, JSON logs, and one trace through all of them.

use maestro_tests::Process;
use tonic::metadata::MetadataValue;

use crate::client::{Installation, answer, client, installation, request};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

pub(crate) async fn metrics(process: &Process) -> String {
    let url = process.metrics.clone().unwrap();
    let response = reqwest::get(url).await.unwrap();
    assert!(response.status().is_success());
    response.text().await.unwrap()
}

/// The value of the first series whose line begins so.
pub(crate) fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics
        .lines()
        .find(|line| line.starts_with(series))
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_episode_shows_in_the_metrics_and_logs_of_every_process() {
    let Installation {
        cluster,
        worker,
        chat: _chat,
    } = installation().await;
    let mut client = client(&cluster.endpoint()).await;
    let mut question = tonic::Request::new(request("Is it so?"));
    let parent: MetadataValue<_> = format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap();
    question.metadata_mut().insert("traceparent", parent);
    let mut events = client.run_episode(question).await.unwrap().into_inner();
    let mut ended = None;
    while let Some(message) = events.message().await.unwrap() {
        use maestro_proto::v1::episode_event::Event;
        if let Some(Event::Ended(episode)) = message.event.unwrap().event {
            ended = Some(episode);
        }
    }
    assert_eq!(answer(&ended.unwrap()).as_deref(), Some("yes"));

    let expected: [(&Process, &[&str]); 4] = [
        (
            &cluster.coordinator,
            &[
                "maestro_episodes_total{termination=\"answered\"}",
                "maestro_decisions_total{action=\"invoke\"}",
                "maestro_decisions_total{action=\"answer\"}",
                "maestro_episode_duration_seconds_count",
                "maestro_step_duration_seconds_count",
                "maestro_decision_duration_seconds_count",
                "maestro_permits_limit",
                "maestro_action_set_pairs",
            ],
        ),
        (
            &cluster.policy,
            &[
                "maestro_policy_inference_duration_seconds_count",
                "maestro_policy_batch_size_decisions_count",
                "maestro_policy_cached_embeddings",
                "maestro_policy_choices_total{known=\"false\"}",
                "maestro_decision_entropy_nats_count",
                "registry_propagation_seconds_count",
            ],
        ),
        (&cluster.skills, &["maestro_registry_revision"]),
        (&worker, &["maestro_backend_duration_seconds_count"]),
    ];
    for (process, series) in expected {
        let metrics = metrics(process).await;
        for series in series {
            assert!(
                value(&metrics, series).is_some_and(|value| value > 0.0),
                "{series} in\n{metrics}"
            );
        }
        assert_eq!(value(&metrics, "maestro_registry_connected"), Some(1.0));
        let age = value(&metrics, "maestro_registry_snapshot_age_seconds").unwrap();
        assert!((0.0..60.0).contains(&age), "{age}");
        assert!(
            value(
                &metrics,
                "maestro_rpc_server_duration_seconds_bucket{method=\"maestro.v1."
            )
            .is_some(),
            "{metrics}"
        );
    }

    // The direct skill is the coordinator's own, so that the skill runner has no part in this.
    for (process, method) in [
        (&cluster.coordinator, "maestro.v1.EpisodeService/RunEpisode"),
        (&cluster.policy, "maestro.v1.PolicyService/Decide"),
        (&worker, "maestro.v1.ExpertService/Invoke"),
    ] {
        let log = process.full_log();
        let mut found = false;
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                line["timestamp"].is_string() && line["level"].is_string(),
                "{line}"
            );
            found |= line["trace_id"] == TRACE && line["method"] == method;
        }
        assert!(found, "{method} in\n{log}");
    }
}
