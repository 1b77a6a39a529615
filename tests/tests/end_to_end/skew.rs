//! A coordinator of this version with workers of the release before it, as an update that reaches
//! coordinators first leaves them for a while.

use maestro_tests::{ChatServer, Cluster, Process};

use crate::client::{answer, client, descriptor, pinned, request, run};

/// The version that a process says it is.
async fn version(process: &Process) -> String {
    let page = reqwest::get(process.metrics.clone().unwrap());
    let page = page.await.unwrap().text().await.unwrap();
    let line = page.lines().find(|l| l.starts_with("maestro_build_info{"));
    let (_, rest) = line.unwrap().split_once("version=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_the_release_before_serve_this_coordinator() {
    let cluster = Cluster::start_with_previous_workers().await.unwrap();
    let chat = ChatServer::start("yes").await.unwrap();
    let worker = cluster.adopting_worker("worker").unwrap();
    let current = version(&cluster.coordinator).await;
    assert_eq!(current, env!("CARGO_PKG_VERSION"));
    for process in [&cluster.policy, &cluster.skills, &worker] {
        assert_ne!(version(process).await, current, "{}", cluster.logs());
    }

    let base_url = chat.base_url();
    for name in ["first", "second"] {
        cluster
            .add_expert(&descriptor(name, &base_url))
            .await
            .unwrap();
        cluster
            .until("expert and skills", |s| {
                s.serves(&name.parse().unwrap()) && !s.catalogue.skills.is_empty()
            })
            .await
            .unwrap();
        let mut client = client(&cluster.endpoint()).await;
        for asked in [request("Is it so?"), pinned("And here?", name)] {
            let episode = run(&mut client, asked).await;
            let said = answer(&episode);
            assert_eq!(
                said.as_deref(),
                Some("yes"),
                "{episode:?}\n{}",
                cluster.logs()
            );
        }
    }
}
