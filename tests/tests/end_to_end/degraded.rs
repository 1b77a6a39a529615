//! What goes on while a part of the cluster is away.

use maestro_proto::v1::{self, termination::Termination};

use crate::client::{Installation, answer, client, installation, request, run};

/// Which policy took each decision.
fn deciders(episode: &v1::Episode) -> Vec<String> {
    let decisions = episode.steps.iter().map(|step| step.decision.as_ref());
    decisions
        .map(|decision| decision.unwrap().policy_version.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_policy_worker_answers_a_rule_decides() {
    let mut installation = installation().await;
    let without = installation
        .cluster
        .another_coordinator_with(
            "without",
            "",
            "  episodes: {fallback: {policy: none, patience_ms: 100}}\n",
        )
        .unwrap();
    let Installation { cluster, .. } = &mut installation;
    let mut front = client(&cluster.endpoint()).await;
    let before = run(&mut front, request("Is it there?")).await;
    assert!(
        deciders(&before)
            .iter()
            .all(|decider| !decider.contains("fallback")),
        "{before:?}"
    );
    cluster.policy.kill().unwrap();
    let after = run(&mut front, request("And now?")).await;
    assert_eq!(answer(&after).as_deref(), Some("yes"), "{after:?}");
    assert!(
        deciders(&after)
            .iter()
            .all(|decider| decider == "fallback/cheapest-first"),
        "{after:?}"
    );
    let mut strict = client(&without.address.clone().unwrap()).await;
    let failed = run(&mut strict, request("And without a rule?")).await;
    let termination = failed.conclusion.unwrap().termination.unwrap().termination;
    assert!(
        matches!(&termination, Some(Termination::Failed(failure)) if failure.kind() == v1::FailureKind::Unavailable),
        "{termination:?}"
    );
}
