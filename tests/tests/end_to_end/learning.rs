//! A policy that learns from episodes of a real cluster.

use std::path::Path;

use maestro_core::registry::Descriptor;
use maestro_proto::v1;
use maestro_tests::{ChatServer, Cluster};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    client::{answer, client, descriptor, experts, request, run, with_skills},
    command_line::{maestro, stdout},
};

const SETTINGS: &str = "
learner: { iterations: 12, groups: 8, group_size: 6, minibatch: 8, learning_rate: 0.02 }
scenario: { weighing: 0.0, reward: { cost: 0.0, latency: 0.0, format: true } }
scorer: { similarity_scale: 0.0 }
max_steps: 2
";

/// Says whether a thing is of the right kind only where it knows that kind.
async fn expert(cluster: &Cluster, name: &str, knows: &'static str) -> ChatServer {
    let chat = ChatServer::answering(move |body: &Value| {
        let asked = body.to_string();
        if asked.contains(knows) { "yes" } else { "no" }.to_owned()
    })
    .await
    .unwrap();
    let entry = Descriptor {
        description: format!("Knows all about {knows}."),
        ..descriptor(name, &chat.base_url())
    };
    cluster.add_expert(&entry).await.unwrap();
    cluster
        .until("the expert", |s| s.serves(&name.parse().unwrap()))
        .await
        .unwrap();
    chat
}

/// Tasks of two kinds, all of which must be answered by "yes".
fn tasks(folder: &Path) {
    let kinds = ["flowers", "engines"];
    let lines: Vec<String> = (0..24)
        .map(|number| {
            let kind = kinds[number % 2];
            json!({
                "id": format!("{kind}-{number}"), "split": "train", "domain": kind,
                "question": format!("Is number {number} among the {kind}?"),
                "answer_kind": {"kind": "yes_no"}, "truth": "yes",
            })
            .to_string()
        })
        .collect();
    std::fs::write(folder.join("tasks.jsonl"), lines.join("\n")).unwrap();
}

async fn train(arguments: Vec<String>) -> std::process::Output {
    let run = move || maestro(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_learns_from_the_episodes_of_a_cluster_which_expert_knows_what() {
    let cluster = with_skills().await;
    let _worker = cluster.adopting_worker("worker").unwrap();
    let _chats = [
        expert(&cluster, "one", "flowers").await,
        expert(&cluster, "two", "engines").await,
    ];
    let folder = tempfile::tempdir().unwrap();
    tasks(folder.path());
    let settings = folder.path().join("settings.yaml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let out = folder.path().join("policy");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let endpoint = cluster.endpoint().to_string();
    let arguments = vec![
        "train".to_owned(),
        text(folder.path()),
        "--out".to_owned(),
        text(&out),
        "--config".to_owned(),
        text(&settings),
        "--live".to_owned(),
        endpoint.clone(),
        "--json".to_owned(),
    ];
    let trained = train(arguments).await;
    let printed = stdout(&trained);
    let rewards: Vec<f64> = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["reward"]
                .as_f64()
                .unwrap()
        })
        .collect();
    assert_eq!(rewards.len(), 12, "{printed}");
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&rewards[..3]), mean(&rewards[9..]));
    assert!(last > first + 0.15, "{rewards:?}");

    // The episodes carry their outcomes.
    let listed = maestro_list(&endpoint).await;
    let graded = listed
        .iter()
        .filter(|episode| !episode["outcome"].is_null());
    assert!(graded.count() > 100, "{} episodes", listed.len());

    // What was learned decides for users once it is active.
    let push = [
        "policy",
        "push",
        out.to_str().unwrap(),
        "--endpoint",
        &endpoint,
    ]
    .map(String::from);
    let digest = stdout(&train(push.to_vec()).await).trim().to_owned();
    let activate = ["policy", "activate", &digest, "--endpoint", &endpoint].map(String::from);
    stdout(&train(activate.to_vec()).await);
    let mut client = client(&cluster.endpoint()).await;
    let mut right = 0;
    for number in 100..110 {
        let mut question = request(&format!("Is number {number} among the engines?"));
        let task = question.task.as_mut().unwrap();
        task.answer_kind = Some(v1::AnswerKind {
            kind: Some(v1::answer_kind::Kind::YesNo(v1::answer_kind::YesNo {})),
        });
        task.budget = Some(v1::Budget {
            max_steps: Some(2),
            ..v1::Budget::default()
        });
        let episode = run(&mut client, question).await;
        let is_right = answer(&episode).as_deref() == Some("Yes");
        right += usize::from(is_right && experts(&episode) == ["two"]);
    }
    assert!(right >= 9, "{right} of 10");
}

async fn maestro_list(endpoint: &str) -> Vec<Value> {
    let arguments = ["list", "--limit", "200", "--json", "--endpoint", endpoint].map(String::from);
    let listed = train(arguments.to_vec()).await;
    stdout(&listed)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
