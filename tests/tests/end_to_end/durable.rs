//! Durable episodes: coordinators that are killed, stalled and drained, and an etcd that is away.

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all};
use maestro_core::ports::Registry;
use maestro_proto::v1::{
    self, episode_event::Event, episode_service_client::EpisodeServiceClient,
    termination::Termination,
};
use maestro_tests::{Process, Signal};
use maestro_wire::ToProto;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;
use url::Url;

use crate::client::{Installation, answer, client, installation, installation_for, request};
use crate::command_line::{maestro, stdout};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a lease (3 s) and its expiry take.
const STALL: Duration = Duration::from_secs(7);

fn url(process: &Process) -> Url {
    process.address.clone().unwrap()
}

/// One call of the only expert, and the answer.
fn task(question: &str) -> v1::Task {
    let mut task = request(question).task.unwrap();
    task.constraints = Some(v1::Constraints {
        allowed: vec![v1::PairPattern {
            expert: "only".into(),
            skill: "direct".into(),
        }],
        ..v1::Constraints::default()
    });
    task
}

async fn create(client: &mut EpisodeServiceClient<Channel>, question: &str) -> String {
    let create = v1::CreateEpisodeRequest {
        task: Some(task(question)),
        options: None,
    };
    let created = client.create_episode(create).await.unwrap().into_inner();
    let episode = created.episode.unwrap();
    assert_eq!(episode.durability(), v1::Durability::Durable);
    episode.id
}

async fn get(client: &mut EpisodeServiceClient<Channel>, id: &str) -> v1::Episode {
    let request = v1::GetEpisodeRequest { id: id.into() };
    let got = client.get_episode(request).await.unwrap().into_inner();
    got.episode.unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a watcher saw: `accepted`, `decided 0`, `finished 0`, …, `ended`; and the end itself.
#[derive(Debug)]
struct Watched {
    seen: Vec<String>,
    ended: v1::Episode,
    resumed: usize,
}

/// Watches to the end. Where the stream breaks, it goes on at the next of the coordinators after the
/// last event.
async fn watch(mut coordinators: Vec<Url>, id: String) -> Watched {
    let (mut seen, mut resume_token, mut resumed) = (vec![], String::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{seen:?}");
        let request = v1::WatchEpisodeRequest {
            id: id.clone(),
            resume_token: resume_token.clone(),
        };
        let opened = match EpisodeServiceClient::connect(coordinators[0].to_string()).await {
            Ok(mut client) => client.watch_episode(request).await.ok(),
            Err(_) => None,
        };
        if let Some(opened) = opened {
            let mut events = opened.into_inner();
            while let Some(Ok(message)) = events.next().await {
                resume_token = message.resume_token;
                seen.push(match message.event.unwrap().event.unwrap() {
                    Event::Accepted(_) => "accepted".into(),
                    Event::Decided(step) => format!("decided {}", step.index),
                    Event::Finished(step) => format!("finished {}", step.index),
                    Event::Ended(ended) => {
                        seen.push("ended".into());
                        return Watched {
                            seen,
                            ended,
                            resumed,
                        };
                    }
                });
            }
        }
        resumed += 1;
        coordinators.rotate_left(1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// All events of an episode of one call and its answer, each once and in order.
fn complete(seen: &[String]) -> bool {
    seen == ["accepted", "decided 0", "finished 0", "finished 1", "ended"]
}

fn repeated_calls(episode: &v1::Episode) -> u32 {
    let usage = episode.conclusion.as_ref().unwrap().usage.as_ref();
    usage.unwrap().repeated_calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_loses_no_episode_and_watchers_see_only_a_pause() {
    const EPISODES: usize = 24;
    let installation = installation_for(64).await;
    let Installation { cluster, chat, .. } = &installation;
    let mut second = cluster.another_coordinator("second", "").unwrap();
    let (heir, doomed) = (cluster.endpoint(), url(&second));
    chat.set_delay(Duration::from_millis(1500));
    let mut at_doomed = client(&doomed).await;
    let mut ids = vec![];
    for number in 0..EPISODES {
        ids.push(create(&mut at_doomed, &format!("Question {number}?")).await);
    }
    // Half of the watchers ask the owner and have to go on elsewhere, half ask the other at once.
    let watchers: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let coordinators = if number % 2 == 0 {
                vec![doomed.clone(), heir.clone()]
            } else {
                vec![heir.clone()]
            };
            tokio::spawn(watch(coordinators, id.clone()))
        })
        .collect();
    until("calls under way", async || chat.calls() >= 2).await;
    second.kill().unwrap();
    let killed = Instant::now();
    let watched = tokio::time::timeout(PATIENCE, join_all(watchers))
        .await
        .unwrap();
    println!(
        "{EPISODES} episodes ended {:?} after the kill",
        killed.elapsed()
    );

    let mut at_heir = client(&heir).await;
    let mut repeated = 0;
    for (number, (id, watched)) in ids.iter().zip(watched).enumerate() {
        let watched = watched.unwrap();
        assert!(complete(&watched.seen), "{number}: {:?}", watched.seen);
        assert!(
            number % 2 == 0 || watched.resumed == 0,
            "it went on by itself"
        );
        let episode = get(&mut at_heir, id).await;
        assert_eq!(episode, watched.ended, "every view is the same");
        assert_eq!(answer(&episode).as_deref(), Some("yes"), "{episode:?}");
        assert!(repeated_calls(&episode) <= 1, "{episode:?}");
        repeated += repeated_calls(&episode) as usize;
    }
    assert!(repeated >= 1, "some calls were cut off");
    assert!(
        chat.calls() <= EPISODES + repeated,
        "{} calls, {repeated} of them repeated",
        chat.calls()
    );
}

/// Creates an episode; where the coordinator is gone, the same request goes to the other one, which
/// finds what was accepted or accepts it.
async fn create_somewhere(coordinators: &[Url], request_id: String) -> String {
    let create = v1::CreateEpisodeRequest {
        task: Some(task(&format!("Question {request_id}?"))),
        options: Some(v1::EpisodeOptions {
            request_id,
            ..v1::EpisodeOptions::default()
        }),
    };
    let deadline = Instant::now() + PATIENCE;
    for coordinator in coordinators.iter().cycle() {
        assert!(Instant::now() < deadline, "{create:?}");
        if let Ok(mut client) = EpisodeServiceClient::connect(coordinator.to_string()).await
            && let Ok(created) = client.create_episode(create.clone()).await
        {
            return created.into_inner().episode.unwrap().id;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the coordinators are asked in turn for ever")
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_coordinator_is_killed_each_request_makes_one_episode_that_ends_once() {
    const REQUESTS: usize = 20;
    let installation = installation_for(64).await;
    let Installation { cluster, chat, .. } = &installation;
    chat.set_delay(Duration::from_millis(150));
    let heir = cluster.endpoint();
    let mut watchers = vec![];
    for (round, killed_after) in [20, 120, 300, 700].into_iter().enumerate() {
        let mut doomed = cluster
            .another_coordinator(&format!("doomed-{round}"), "")
            .unwrap();
        let coordinators = vec![url(&doomed), heir.clone()];
        for number in 0..REQUESTS {
            let coordinators = coordinators.clone();
            let request_id = format!("{round}-{number}");
            watchers.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(number as u64 * 10)).await;
                let id = create_somewhere(&coordinators, request_id).await;
                (id.clone(), watch(coordinators, id).await)
            }));
        }
        tokio::time::sleep(Duration::from_millis(killed_after)).await;
        doomed.kill().unwrap();
    }
    let created = watchers.len();
    let mut ids = std::collections::BTreeSet::new();
    let mut repeated = 0;
    let mut at_heir = client(&heir).await;
    for watched in join_all(watchers).await {
        let (id, watched) = watched.unwrap();
        assert!(complete(&watched.seen), "{id}: {:?}", watched.seen);
        assert_eq!(answer(&watched.ended).as_deref(), Some("yes"));
        assert_eq!(get(&mut at_heir, &id).await, watched.ended);
        repeated += repeated_calls(&watched.ended) as usize;
        ids.insert(id);
    }
    assert_eq!(ids.len(), created, "each request made one episode");
    println!("{created} episodes, {repeated} repeated calls");
    // A call that was journalled and not made yet is counted as repeated although it was made once.
    assert!(chat.calls() >= created && chat.calls() <= created + repeated);
    // Nothing else was accepted: an attempt whose answer was lost is found again.
    let mut listed = 0;
    let mut page_token = String::new();
    loop {
        let list = v1::ListEpisodesRequest {
            page_size: 50,
            page_token,
            ..v1::ListEpisodesRequest::default()
        };
        let page = at_heir.list_episodes(list).await.unwrap().into_inner();
        listed += page.episodes.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, created);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_coordinator_answers_for_any_durable_episode() {
    let installation = installation().await;
    let Installation { cluster, chat, .. } = &installation;
    let second = cluster.another_coordinator("second", "").unwrap();
    let mut owner = client(&cluster.endpoint()).await;
    let mut other = client(&url(&second)).await;

    let id = create(&mut owner, "Quickly?").await;
    let watched = watch(vec![url(&second)], id.clone()).await;
    assert!(complete(&watched.seen), "{:?}", watched.seen);
    assert_eq!(get(&mut owner, &id).await, get(&mut other, &id).await);
    let list = v1::ListEpisodesRequest::default();
    let listed = other.list_episodes(list).await.unwrap().into_inner();
    assert!(listed.episodes.iter().any(|episode| episode.id == id));
    // After the end, from the middle.
    let rest = v1::WatchEpisodeRequest {
        id: id.clone(),
        resume_token: "1.1".into(),
    };
    let mut rest = other.watch_episode(rest).await.unwrap().into_inner();
    let first = rest.next().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(first.event, Some(Event::Finished(step)) if step.index == 1));

    // One that starts now lists the registry at a revision that the journal has driven up, and asks
    // nobody to wait for that.
    let third = cluster.another_coordinator("third", "").unwrap();
    let mut newcomer = client(&url(&third)).await;
    let started = Instant::now();
    let ephemeral = v1::RunEpisodeRequest {
        task: Some(task("At once?")),
        options: None,
    };
    let episode = crate::client::run(&mut newcomer, ephemeral).await;
    assert_eq!(answer(&episode).as_deref(), Some("yes"), "{episode:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{episode:?}");

    chat.set_delay(Duration::from_secs(30));
    let calls = chat.calls();
    let slow = create(&mut owner, "Slowly?").await;
    until("the call", async || chat.calls() > calls).await;
    let cancel = v1::CancelEpisodeRequest {
        id: slow.clone(),
        reason: "enough".into(),
    };
    let cancelled = other.cancel_episode(cancel).await.unwrap().into_inner();
    let cancelled = cancelled.episode.unwrap();
    let termination = cancelled.conclusion.clone().unwrap().termination.unwrap();
    assert!(
        matches!(termination.termination, Some(Termination::Cancelled(c)) if c.reason == "enough")
    );
    assert_eq!(get(&mut owner, &slow).await, cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_coordinator_goes_on_with_its_episodes_when_it_is_started_again() {
    let mut installation = installation().await;
    installation.chat.set_delay(Duration::from_secs(2));
    let mut before = client(&installation.cluster.endpoint()).await;
    let id = create(&mut before, "Still there?").await;
    until("the call", async || installation.chat.calls() > 0).await;
    installation.cluster.coordinator.kill().unwrap();
    installation.chat.set_delay(Duration::ZERO);
    let again = installation
        .cluster
        .another_coordinator("again", "")
        .unwrap();
    let watched = watch(vec![url(&again)], id).await;
    assert!(complete(&watched.seen), "{:?}", watched.seen);
    assert_eq!(answer(&watched.ended).as_deref(), Some("yes"));
    assert_eq!(repeated_calls(&watched.ended), 1);
    assert_eq!(installation.chat.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_coordinator_hands_over_what_it_cannot_finish() {
    let installation = installation_for(16).await;
    let Installation { cluster, chat, .. } = &installation;
    let mut second = cluster
        .another_coordinator("second", "drain_grace_ms: 2000")
        .unwrap();
    let leaving = url(&second);
    chat.set_delay(Duration::from_secs(6));
    let mut at_leaving = client(&leaving).await;
    let mut ids = vec![];
    for number in 0..4 {
        ids.push(create(&mut at_leaving, &format!("Question {number}?")).await);
    }
    let coordinators = vec![leaving, cluster.endpoint()];
    let watchers: Vec<_> = ids
        .iter()
        .map(|id| tokio::spawn(watch(coordinators.clone(), id.clone())))
        .collect();
    until("the calls", async || chat.calls() == ids.len()).await;
    let started = Instant::now();
    assert!(second.terminate(PATIENCE).unwrap(), "it ended well");
    assert!(started.elapsed() < Duration::from_secs(10), "and in time");
    for watched in join_all(watchers).await {
        let watched = watched.unwrap();
        assert!(complete(&watched.seen), "{:?}", watched.seen);
        assert_eq!(answer(&watched.ended).as_deref(), Some("yes"));
        assert_eq!(repeated_calls(&watched.ended), 1, "{:?}", watched.ended);
    }
    assert_eq!(chat.calls(), 2 * ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_drained_on_demand_hands_over_and_ends() {
    let installation = installation().await;
    let Installation { cluster, chat, .. } = &installation;
    let mut second = cluster.another_coordinator("second", "").unwrap();
    let leaving = url(&second);
    chat.set_delay(Duration::from_secs(6));
    let id = create(&mut client(&leaving).await, "Who finishes?").await;
    let watcher = tokio::spawn(watch(vec![leaving.clone(), cluster.endpoint()], id));
    until("the call", async || chat.calls() > 0).await;
    let address = leaving.to_string();
    let drained =
        tokio::task::spawn_blocking(move || stdout(&maestro(&["drain", &address, "--grace", "2"])));
    let told = drained.await.unwrap();
    assert!(told.contains("coordinator at"), "{told}");
    assert!(told.contains("1 under way at first, 0 not ended"), "{told}");
    assert!(second.ended(PATIENCE).unwrap(), "it ended well");
    let watched = watcher.await.unwrap();
    assert!(complete(&watched.seen), "{:?}", watched.seen);
    assert_eq!(answer(&watched.ended).as_deref(), Some("yes"));
    assert_eq!(repeated_calls(&watched.ended), 1, "{:?}", watched.ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_owner_that_wakes_agrees_with_its_heir() {
    let installation = installation().await;
    let Installation { cluster, chat, .. } = &installation;
    let second = cluster.another_coordinator("second", "").unwrap();
    let mut stalled = client(&url(&second)).await;
    let mut heir = client(&cluster.endpoint()).await;
    chat.set_delay(Duration::from_secs(2));
    let id = create(&mut stalled, "Who ends it?").await;
    until("the call", async || chat.calls() > 0).await;
    second.signal(Signal::SIGSTOP).unwrap();
    let watched = watch(vec![cluster.endpoint()], id.clone()).await;
    assert!(complete(&watched.seen), "{:?}", watched.seen);
    tokio::time::sleep(STALL).await;
    second.signal(Signal::SIGCONT).unwrap();
    // It finds out that it was replaced, and shows what the journal holds.
    let ended = get(&mut heir, &id).await;
    until("the same view", async || {
        let request = v1::GetEpisodeRequest { id: id.clone() };
        let seen = stalled.get_episode(request).await;
        seen.is_ok_and(|seen| seen.into_inner().episode.as_ref() == Some(&ended))
    })
    .await;
    assert_eq!(answer(&ended).as_deref(), Some("yes"));
    // And it goes on under a new lease.
    chat.set_delay(Duration::ZERO);
    let mut next = None;
    until("a new episode", async || {
        let create = v1::CreateEpisodeRequest {
            task: Some(task("And now?")),
            options: None,
        };
        next = stalled.create_episode(create).await.ok();
        next.is_some()
    })
    .await;
    let next = next.unwrap().into_inner().episode.unwrap();
    let watched = watch(vec![url(&second)], next.id).await;
    let ended = watched.ended;
    assert_eq!(answer(&ended).as_deref(), Some("yes"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_etcd_is_away_durable_episodes_wait_and_ephemeral_ones_do_not_notice() {
    let installation = installation().await;
    let Installation { cluster, chat, .. } = &installation;
    let refuses = "  episodes: {durable_while_away: refuse}\n";
    let impatient = cluster
        .another_coordinator_with("impatient", "", refuses)
        .unwrap();
    let small = "  episodes: {max_running: 4}\n";
    let small = cluster
        .another_coordinator_with("small", "", small)
        .unwrap();
    let mut client = client(&cluster.endpoint()).await;
    chat.set_delay(Duration::from_secs(1));
    let mut waits = task("Waits?");
    // Less than etcd will be away.
    waits.budget = Some(v1::Budget {
        timeout: Some(Duration::from_secs(6).to_proto()),
        ..v1::Budget::default()
    });
    let waits = v1::CreateEpisodeRequest {
        task: Some(waits),
        options: None,
    };
    let created = client.create_episode(waits).await.unwrap().into_inner();
    let durable = created.episode.unwrap().id;
    until("the call", async || chat.calls() > 0).await;
    cluster.etcd.signal(Signal::SIGSTOP).unwrap();

    chat.set_delay(Duration::ZERO);
    let ephemeral = v1::RunEpisodeRequest {
        task: Some(task("Goes on?")),
        options: None,
    };
    let episode = crate::client::run(&mut client, ephemeral).await;
    assert_eq!(answer(&episode).as_deref(), Some("yes"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let waiting = get(&mut client, &durable).await;
    assert!(waiting.conclusion.is_none(), "{waiting:?}");
    let refused = v1::CreateEpisodeRequest {
        task: Some(task("Too early?")),
        options: None,
    };
    let refused = client.create_episode(refused).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let mut impatient = crate::client::client(&url(&impatient)).await;
    let asked = Instant::now();
    let refused = v1::CreateEpisodeRequest {
        task: Some(task("At once?")),
        options: None,
    };
    let refused = impatient.create_episode(refused).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("refused until"), "{refused:?}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{refused:?}");
    ephemeral_episodes_find_a_permit(&url(&small)).await;

    cluster.etcd.signal(Signal::SIGCONT).unwrap();
    let watched = watch(vec![cluster.endpoint()], durable).await;
    assert!(complete(&watched.seen), "{watched:?}");
    assert_eq!(answer(&watched.ended).as_deref(), Some("yes"));
    assert!(
        !cluster
            .registry
            .snapshots()
            .borrow()
            .catalogue
            .experts
            .is_empty()
    );
}

/// At a coordinator of four permits, to which more durable episodes come than it could hold.
async fn ephemeral_episodes_find_a_permit(small: &Url) {
    let mut small = client(small).await;
    let durable = |number| {
        let mut small = small.clone();
        tokio::spawn(async move {
            let request = v1::CreateEpisodeRequest {
                task: Some(task(&format!("Too many, {number}?"))),
                options: None,
            };
            small.create_episode(request).await
        })
    };
    let mut waiting: Vec<_> = (0..6).map(durable).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ephemeral = v1::RunEpisodeRequest {
        task: Some(task("Is there room?")),
        options: None,
    };
    let episode = crate::client::run(&mut small, ephemeral).await;
    assert_eq!(answer(&episode).as_deref(), Some("yes"));
    // One of them waits for etcd, the others were told when to come again.
    waiting.retain(|one| one.is_finished());
    assert_eq!(waiting.len(), 5);
    for refused in waiting {
        let refused = refused.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        let retry = refused.get_details_retry_info();
        assert!(retry.is_some(), "{refused:?}");
    }
}
