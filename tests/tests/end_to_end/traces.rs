//! One episode is one tree of spans, as a real OTLP receiver gets it.

use std::time::{Duration, Instant};

use maestro_tests::{ChatServer, Cluster, ReceivedSpan, TraceReceiver};

use crate::client::{answer, client, descriptor, library_registered, pinned, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_gets_the_spans_of_an_episode_as_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = TraceReceiver::start(folder.path()).unwrap();
    let settings = format!("otlp: {{endpoint: '{}'}}\n", receiver.endpoint);
    let mut cluster = Cluster::start_with(&settings).await.unwrap();
    library_registered(&cluster).await;
    let chat = ChatServer::start("12 + 5").await.unwrap();
    let mut worker = cluster.adopting_worker("worker").unwrap();
    cluster
        .add_expert(&descriptor("only", &chat.base_url()))
        .await
        .unwrap();
    cluster
        .until("the expert", |s| s.serves(&"only".parse().unwrap()))
        .await
        .unwrap();
    let mut client = client(&cluster.endpoint()).await;
    let mut question = pinned("A farmer has 12 hens and buys 5 more. How many?", "only");
    let constraints = question.task.as_mut().unwrap().constraints.as_mut();
    "word-problem".clone_into(&mut constraints.unwrap().allowed[0].skill);
    let episode = run(&mut client, question).await;
    assert_eq!(answer(&episode).as_deref(), Some("17"), "{episode:?}");
    drop(client);
    // A process that ends sends what it still has.
    let patience = Duration::from_secs(30);
    for process in [
        &mut cluster.coordinator,
        &mut cluster.policy,
        &mut cluster.skills,
        &mut worker,
    ] {
        assert!(process.terminate(patience).unwrap());
    }
    let named = |spans: &[ReceivedSpan], name: &str| -> Vec<ReceivedSpan> {
        spans
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    };
    let until = Instant::now() + patience;
    let spans = loop {
        let spans = receiver.spans();
        if !named(&spans, "maestro.v1.ExpertService/Invoke").is_empty()
            && !named(&spans, "episode").is_empty()
        {
            break spans;
        }
        assert!(Instant::now() < until, "{spans:?}\n{}", receiver.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let root = named(&spans, "episode").pop().unwrap();
    let tree: Vec<&ReceivedSpan> = spans.iter().filter(|s| s.trace == root.trace).collect();
    // From the innermost span up to the episode.
    let path = [
        "maestro.v1.ExpertService/Invoke",
        "chat only",
        "maestro.v1.SkillService/Run",
        "skill word-problem",
        "step",
        "episode",
        "maestro.v1.EpisodeService/RunEpisode",
    ];
    let mut span = named(&spans, path[0]).pop().unwrap();
    for name in &path[1..] {
        let parent = tree.iter().find(|candidate| candidate.id == span.parent);
        let parent = parent.unwrap_or_else(|| panic!("{span:?} has no parent in {tree:?}"));
        assert_eq!(parent.name, *name, "{tree:?}");
        span = (*parent).clone();
    }
    let decided = named(&spans, "maestro.v1.PolicyService/Decide");
    assert!(!decided.is_empty());
    for served in &decided {
        let asked = tree.iter().find(|span| span.id == served.parent);
        let asked = asked.unwrap_or_else(|| panic!("{served:?} has no parent in {tree:?}"));
        let step = tree.iter().find(|span| span.id == asked.parent);
        assert_eq!(asked.name, "decide");
        assert_eq!(
            step.map(|span| span.name.as_str()),
            Some("step"),
            "{tree:?}"
        );
    }
    for attribute in [
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.tool.name",
        "gen_ai.agent.name",
    ] {
        assert!(
            receiver.output().contains(attribute),
            "{attribute} on no span"
        );
    }
}
