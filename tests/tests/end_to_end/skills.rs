//! Skills that come, change and go while the cluster runs, and those that must not come.

use std::{fs, path::Path, process::Command, time::Duration};

use maestro_core::SkillName;
use maestro_proto::v1::{
    self, blob_service_client::BlobServiceClient, register_skill_request::Source,
    registry_service_client::RegistryServiceClient,
};
use maestro_tests::{ChatServer, binary, local_up};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

use crate::client::{answer, client, descriptor, installation, pinned, run, with_skills};

/// Two questions one after the other, in the words of a version.
fn solver(version: &str) -> String {
    format!(
        "description: asks twice\nsteps:\n  \
         first: {{ask: {{prompt: 'first {version}', max_output_tokens: 9}}}}\n  \
         second: {{ask: {{prompt: 'second {version} {{{{ first.text }}}}', max_output_tokens: 9}}}}\n\
         answer: {{text: '{{{{ second.text }}}}'}}\n"
    )
}

fn write(folder: &Path, name: &str, solver: &str) {
    fs::create_dir_all(folder.join("solvers")).unwrap();
    let front = format!("---\nname: {name}\ndescription: Greets whoever asks.\n---\nGreet.\n");
    fs::write(folder.join("SKILL.md"), front).unwrap();
    fs::write(folder.join("solvers/one.yaml"), solver).unwrap();
}

/// What `maestro skills …` says, and whether it succeeded.
fn skills(endpoint: &url::Url, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(binary("maestro").unwrap());
    command.arg("skills").args(arguments);
    command.args(["--endpoint", endpoint.as_str()]);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Runs a command that must succeed, and waits until the registry shows what it did.
async fn change(
    cluster: &maestro_tests::Cluster,
    arguments: &[&str],
    shows: impl Fn(&maestro_core::registry::Catalogue) -> bool,
) {
    let (done, text) = skills(&cluster.endpoint(), arguments);
    assert!(done, "{text}");
    cluster
        .until("the change of a skill", |snapshot| {
            shows(&snapshot.catalogue)
        })
        .await
        .unwrap();
}

fn greeting() -> v1::RunEpisodeRequest {
    let mut request = pinned("Hello?", "only");
    let constraints = request.task.as_mut().unwrap().constraints.as_mut();
    constraints.unwrap().allowed[0].skill = "greeter".into();
    request
}

fn digest(episode: &v1::Episode) -> String {
    let observation = episode.steps[0].observation.as_ref().unwrap();
    observation.skill_digest.clone()
}

fn prompts(chat: &ChatServer) -> Vec<String> {
    let text = |request: &serde_json::Value| {
        let messages = request["messages"].as_array().unwrap();
        let content = &messages.last().unwrap()["content"];
        match content.as_str() {
            Some(text) => text.to_owned(),
            None => content[0]["text"].as_str().unwrap().to_owned(),
        }
    };
    chat.requests().iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_episode_keeps_the_skill_that_it_began_with() {
    let installation = installation().await;
    let cluster = &installation.cluster;
    let folder = tempfile::tempdir().unwrap();
    let name: SkillName = "greeter".parse().unwrap();
    let path = folder.path().join("greeter");
    let add = |version: &str| write(&path, "greeter", &solver(version));
    let shown = path.to_str().unwrap();

    add("one");
    change(cluster, &["add", shown], |c| c.skills.contains_key(&name)).await;
    let one = cluster.registry_skill("greeter").unwrap();
    installation.chat.set_delay(Duration::from_millis(1500));
    let endpoint = cluster.endpoint();
    let running = tokio::spawn(async move { run(&mut client(&endpoint).await, greeting()).await });
    while installation.chat.calls() < 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Replaced between the first question and the second, then taken away.
    add("two");
    let (done, text) = skills(&cluster.endpoint(), &["add", shown]);
    assert!(!done && text.contains("greeter"), "a name is taken: {text}");
    change(cluster, &["add", shown, "--replace"], |c| {
        c.skills[&name].bundle != one
    })
    .await;
    let two = cluster.registry_skill("greeter").unwrap();
    change(cluster, &["remove", "greeter"], |c| {
        !c.skills.contains_key(&name)
    })
    .await;
    assert_eq!(
        installation.chat.calls(),
        1,
        "all of it while the first question waits"
    );
    let episode = running.await.unwrap();
    assert_eq!(answer(&episode).as_deref(), Some("yes"), "{episode:?}");
    assert_eq!(digest(&episode), one.to_string());
    assert_eq!(prompts(&installation.chat), ["first one", "second one yes"]);

    installation.chat.set_delay(Duration::ZERO);
    let mut episodes = client(&cluster.endpoint()).await;
    let without = run(&mut episodes, greeting()).await;
    assert_eq!(answer(&without), None, "a removed skill is not used");
    change(cluster, &["add", shown], |c| c.skills.contains_key(&name)).await;
    let episode = run(&mut episodes, greeting()).await;
    assert_eq!(digest(&episode), two.to_string());
    assert_eq!(
        prompts(&installation.chat)[2..],
        ["first two", "second two yes"]
    );
}

/// The buckets of a histogram: upper bounds in seconds and how many were at most so long.
async fn buckets(metrics: url::Url, name: &str) -> Vec<(f64, u64)> {
    let text = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let prefix = format!("{name}_bucket{{le=\"");
    text.lines()
        .filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "))
        .filter_map(|(le, count)| Some((le.parse().unwrap_or(f64::INFINITY), count.parse().ok()?)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn added_skills_reach_every_runner_and_policy_worker() {
    let cluster = with_skills().await;
    let chat = ChatServer::start("yes").await.unwrap();
    let worker = cluster.adopting_worker("worker").unwrap();
    cluster
        .add_expert(&descriptor("only", &chat.base_url()))
        .await
        .unwrap();
    let of = |process: &maestro_tests::Process| process.metrics.clone().unwrap();
    let seers = [of(&cluster.policy), of(&cluster.skills)];
    let name = "registry_propagation_seconds";
    let mut before = Vec::new();
    for seer in &seers {
        before.push(buckets(seer.clone(), name).await);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut registry = RegistryServiceClient::connect(cluster.endpoint().to_string())
        .await
        .unwrap();
    const ADDED: u64 = 50;
    for number in 0..ADDED {
        let skill = format!("skill-{number}");
        let path = folder.path().join(&skill);
        write(&path, &skill, &solver(&skill));
        let content = maestro_skills::pack(&path).unwrap();
        register(&mut registry, content).await.unwrap();
    }
    for (seer, before) in seers.iter().zip(before) {
        let seen = |buckets: &[(f64, u64)]| buckets.last().map_or(0, |(_, count)| *count);
        let mut now = Vec::new();
        for _ in 0..300 {
            now = buckets(seer.clone(), name).await;
            if seen(&now) >= seen(&before) + ADDED {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let gained = |(index, (le, count)): (usize, &(f64, u64))| {
            (
                *le,
                count - before.get(index).map_or(0, |(_, count)| *count),
            )
        };
        let gained: Vec<(f64, u64)> = now.iter().enumerate().map(gained).collect();
        let all = seen(&gained);
        assert!(all >= ADDED, "{seer}: {gained:?}\n{}", cluster.logs());
        let p99 = gained.iter().find(|(_, count)| count * 100 >= all * 99);
        println!(
            "{seer}: {all} skills, p99 at most {:?} s",
            p99.map(|(le, _)| *le)
        );
    }
    drop(worker);
}

async fn register(
    registry: &mut RegistryServiceClient<Channel>,
    content: bytes::Bytes,
) -> Result<String, tonic::Status> {
    let request = v1::RegisterSkillRequest {
        source: Some(Source::Content(content)),
        replace: false,
    };
    let response = registry.register_skill(request).await?.into_inner();
    Ok(response.header.unwrap().name)
}

/// A bundle as it travels, of files that no folder could hold.
fn raw(files: &[(&str, &[u8])]) -> bytes::Bytes {
    let mut bundle = b"maestro-skill/1\n".to_vec();
    for (path, content) in files {
        bundle.extend(format!("{path} {}\n", content.len()).bytes());
        bundle.extend(*content);
    }
    bundle.into()
}

fn bad(solver: &str) -> bytes::Bytes {
    let front = b"---\nname: bad-skill\ndescription: A skill that cannot work.\n---\nText.\n";
    raw(&[("SKILL.md", front), ("solvers/one.yaml", solver.as_bytes())])
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_skills_are_refused_and_nothing_of_them_stays() {
    let folder = tempfile::tempdir().unwrap();
    let up = local_up(folder.path()).unwrap();
    let endpoint = up.address.clone().unwrap();
    let mut registry = RegistryServiceClient::connect(endpoint.to_string())
        .await
        .unwrap();
    let mut blobs = BlobServiceClient::connect(endpoint.to_string())
        .await
        .unwrap();
    let before = names(&mut registry).await;
    let front: &[u8] = b"---\nname: bad-skill\ndescription: A skill.\n---\nText.\n";
    let one = |step: &str| {
        bad(&format!(
            "description: d\nsteps:\n  a: {step}\nanswer: {{text: '{{{{ a.text }}}}'}}\n"
        ))
    };
    let cases = [
        (
            "no bundle at all",
            bytes::Bytes::from_static(b"PK\x03\x04"),
            "bundle",
        ),
        (
            "leaves its folder",
            raw(&[("SKILL.md", front), ("../../etc/passwd", b"x")]),
            "../../etc/passwd",
        ),
        (
            "an absolute path",
            raw(&[("SKILL.md", front), ("/etc/passwd", b"x")]),
            "/etc/passwd",
        ),
        ("an unknown step", one("{dance: {}}"), "solvers/one.yaml:3"),
        (
            "a gigabyte image",
            one("{image: {of: 0, zoom: 100000}}"),
            "steps.a.image.zoom",
        ),
        (
            "a thousand samples",
            one("{ask: {prompt: x, max_output_tokens: 9, samples: 1000}}"),
            "samples",
        ),
        (
            "endless rounds",
            one("{repeat: {times: 1000000, until: 'false', steps: {}}}"),
            "times",
        ),
        (
            "a template that does not parse",
            one("{ask: {prompt: '{% for %}', max_output_tokens: 9}}"),
            "prompt",
        ),
        (
            "larger than a skill may be",
            raw(&[("SKILL.md", front), ("assets/x", &vec![0; 4 << 20])]),
            "bytes",
        ),
    ];
    for (what, bundle, word) in cases {
        let digest = maestro_core::Digest::of(&bundle).to_string();
        let status = register(&mut registry, bundle).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert!(
            status.message().contains(word),
            "{what}: {}",
            status.message()
        );
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "content", "{what}");
        let request = v1::DownloadBlobRequest { digest };
        let stored = blobs.download_blob(request).await;
        assert_eq!(
            stored.unwrap_err().code(),
            Code::NotFound,
            "{what} was stored"
        );
    }
    // More than a message may have: the connection refuses it, and serves on.
    let status = register(&mut registry, vec![0; 200 << 20].into())
        .await
        .unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status:?}"
    );
    assert_eq!(names(&mut registry).await, before);
}

async fn names(registry: &mut RegistryServiceClient<Channel>) -> Vec<String> {
    let response = registry
        .list_skills(v1::ListSkillsRequest {})
        .await
        .unwrap();
    let skills = response.into_inner().skills;
    skills.into_iter().map(|skill| skill.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_reads_no_more_of_a_folder_than_a_skill_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("greeter");
    write(&path, "greeter", &solver("one"));
    fs::create_dir(path.join("assets")).unwrap();
    let huge = fs::File::create(path.join("assets/huge")).unwrap();
    huge.set_len(200 << 20).unwrap();
    // Nobody listens: it is refused before anything is sent.
    let nobody = "http://127.0.0.1:1".parse().unwrap();
    let (done, text) = skills(&nobody, &["add", path.to_str().unwrap()]);
    assert!(!done && text.contains("4194304"), "{text}");

    fs::remove_file(path.join("assets/huge")).unwrap();
    fs::write(
        path.join("solvers/one.yaml"),
        "description: d\nsteps:\n  a: {dance: {}}\n",
    )
    .unwrap();
    let (done, text) = skills(&nobody, &["add", path.to_str().unwrap()]);
    assert!(
        !done && text.contains("solvers/one.yaml:3: error"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_loops_is_stopped_and_its_episode_told() {
    let installation = installation().await;
    let cluster = &installation.cluster;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("greeter");
    let looping = "description: d\nsteps:\n  \
        a: {ask: {prompt: '{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}', max_output_tokens: 9}}\n\
        answer: {text: '{{ a.text }}'}\n";
    write(&path, "greeter", looping);
    let name: SkillName = "greeter".parse().unwrap();
    change(cluster, &["add", path.to_str().unwrap()], |c| {
        c.skills.contains_key(&name)
    })
    .await;
    let episode = run(&mut client(&cluster.endpoint()).await, greeting()).await;
    let failure = episode.steps[0]
        .observation
        .as_ref()
        .unwrap()
        .failure
        .as_ref();
    assert!(failure.unwrap().message.contains("template"), "{episode:?}");
    assert_eq!(installation.chat.calls(), 0);
}
