//! Episodes while experts come and go.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use maestro_proto::v1::{self, CancelEpisodeRequest, GetEpisodeRequest, termination::Termination};
use maestro_tests::{ChatServer, local_up};

use crate::client::{answer, client, descriptor, experts, pinned, request, run, with_skills};

#[tokio::test(flavor = "multi_thread")]
async fn an_expert_added_while_episodes_run_is_used() {
    let cluster = with_skills().await;
    let first = ChatServer::start("first").await.unwrap();
    let worker = cluster.adopting_worker("worker").unwrap();
    cluster
        .add_expert(&descriptor("first", &first.base_url()))
        .await
        .unwrap();
    cluster
        .until("the first expert", |s| s.serves(&"first".parse().unwrap()))
        .await
        .unwrap();

    let endpoint = cluster.endpoint();
    let load = tokio::spawn(async move {
        let mut client = client(&endpoint).await;
        let mut answered = 0;
        for number in 0..40 {
            let episode = run(&mut client, pinned(&format!("Question {number}?"), "first")).await;
            answered += usize::from(answer(&episode).as_deref() == Some("first"));
        }
        answered
    });
    let second = ChatServer::start("second").await.unwrap();
    cluster
        .add_expert(&descriptor("second", &second.base_url()))
        .await
        .unwrap();
    cluster
        .until("the second expert", |s| {
            s.serves(&"second".parse().unwrap())
        })
        .await
        .unwrap();
    let mut client = client(&cluster.endpoint()).await;
    let episode = run(&mut client, pinned("And now?", "second")).await;
    assert_eq!(
        answer(&episode).as_deref(),
        Some("second"),
        "{episode:?}\n{}",
        cluster.logs()
    );
    assert_eq!(load.await.unwrap(), 40, "no episode noticed the addition");
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_the_action_set_and_its_episode_decides_anew() {
    let cluster = with_skills().await;
    let slow = ChatServer::start("slow").await.unwrap();
    slow.set_delay(Duration::from_secs(60));
    let quick = ChatServer::start("quick").await.unwrap();
    let mut doomed = cluster.adopting_worker("doomed").unwrap();
    cluster
        .add_expert(&descriptor("slow", &slow.base_url()))
        .await
        .unwrap();
    let name = "slow".parse().unwrap();
    cluster
        .until("the slow expert", |s| s.serves(&name))
        .await
        .unwrap();

    let endpoint = cluster.endpoint();
    let episode = tokio::spawn(async move {
        let mut client = client(&endpoint).await;
        run(&mut client, request("Who answers?")).await
    });
    let until = Instant::now() + Duration::from_secs(30);
    while slow.calls() == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(slow.calls(), 1, "{}", cluster.logs());
    // From here on the slow model answers at once too, so that whoever is asked next answers.
    slow.set_delay(Duration::ZERO);
    let _second = cluster.adopting_worker("second").unwrap();
    cluster
        .add_expert(&descriptor("quick", &quick.base_url()))
        .await
        .unwrap();
    let quick_name = "quick".parse().unwrap();
    cluster
        .until("the quick expert", |s| s.serves(&quick_name))
        .await
        .unwrap();
    // Both workers serve it, so that its end in one of them can be seen.
    cluster
        .until("both instances", |s| {
            s.instances.get(&name).map_or(0, Vec::len) == 2
        })
        .await
        .unwrap();
    let before = cluster.instances("slow");
    doomed.kill().unwrap();
    cluster
        .until("the lease's end", |s| {
            s.instances.get(&name).map_or(0, Vec::len) < before
        })
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), episode)
        .await
        .unwrap()
        .unwrap();
    let failure = ended.steps[0]
        .observation
        .as_ref()
        .unwrap()
        .failure
        .as_ref();
    assert!(failure.is_some(), "{ended:?}");
    assert_eq!(experts(&ended)[0], "slow", "{ended:?}");
    assert!(experts(&ended).len() > 1, "it decided anew: {ended:?}");
    assert!(answer(&ended).is_some(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_reaches_the_expert() {
    let cluster = with_skills().await;
    let slow = ChatServer::start("slow").await.unwrap();
    slow.set_delay(Duration::from_secs(3));
    let _worker = cluster.adopting_worker("worker").unwrap();
    cluster
        .add_expert(&descriptor("slow", &slow.base_url()))
        .await
        .unwrap();
    cluster
        .until("the expert", |s| s.serves(&"slow".parse().unwrap()))
        .await
        .unwrap();
    let mut client = client(&cluster.endpoint()).await;
    let create = v1::CreateEpisodeRequest {
        task: request("Slowly?").task,
        options: None,
    };
    let episode = client
        .create_episode(create)
        .await
        .unwrap()
        .into_inner()
        .episode
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while slow.calls() == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cancel = CancelEpisodeRequest {
        id: episode.id.clone(),
        reason: "enough".into(),
    };
    client.cancel_episode(cancel).await.unwrap();
    let get = GetEpisodeRequest { id: episode.id };
    let ended = client
        .get_episode(get)
        .await
        .unwrap()
        .into_inner()
        .episode
        .unwrap();
    let termination = ended
        .conclusion
        .unwrap()
        .termination
        .unwrap()
        .termination
        .unwrap();
    assert!(matches!(termination, Termination::Cancelled(c) if c.reason == "enough"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(
        (slow.calls(), slow.finished()),
        (1, 0),
        "the HTTP call was cut off"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_additions_reach_the_action_set() {
    let cluster = with_skills().await;
    let chat = ChatServer::start("yes").await.unwrap();
    let _worker = cluster.adopting_worker("worker").unwrap();
    for number in 0..100 {
        let name = format!("expert-{number}");
        cluster
            .add_expert(&descriptor(&name, &chat.base_url()))
            .await
            .unwrap();
        let name = name.parse().unwrap();
        cluster
            .until("an added expert", |s| s.serves(&name))
            .await
            .unwrap();
    }
    let pairs = |text: &str| -> Vec<(f64, u64)> {
        text.lines()
            .filter_map(|line| line.strip_prefix("registry_propagation_seconds_bucket{le=\""))
            .filter_map(|rest| rest.split_once("\"} "))
            .filter_map(|(le, count)| {
                Some((le.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
            })
            .collect()
    };
    let until = Instant::now() + Duration::from_secs(30);
    let buckets = loop {
        let metrics = reqwest::get(cluster.policy.metrics.clone().unwrap())
            .await
            .unwrap();
        let buckets = pairs(&metrics.text().await.unwrap());
        let all = buckets.last().map_or(0, |(_, count)| *count);
        if all >= 100 || Instant::now() > until {
            break buckets;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let all = buckets.last().map_or(0, |(_, count)| *count);
    assert!(all >= 100, "{buckets:?}\n{}", cluster.logs());
    let p99 = buckets
        .iter()
        .find(|(_, count)| *count * 100 >= all * 99)
        .map(|(le, _)| *le);
    println!("registry_propagation_seconds: {all} pairs, p99 at most {p99:?} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_built_from_the_protos_alone_runs_an_episode() {
    let folder = tempfile::tempdir().unwrap();
    let up = local_up(folder.path()).unwrap();
    let chat = ChatServer::start("forty-two").await.unwrap();
    let endpoint = up.address.clone().unwrap();
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var("MAESTRO_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(python)
        .arg(manifest.join("clients/episode.py"))
        .arg(manifest.join("../proto"))
        .arg(format!(
            "{}:{}",
            endpoint.host_str().unwrap(),
            endpoint.port().unwrap()
        ))
        .arg(chat.base_url())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("forty-two"), "{text}");
}
