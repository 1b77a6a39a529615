//! The `maestro` command as a user types it.

use std::{
    path::Path,
    process::{Command, Output},
};

use maestro_core::recording::Recording;
use maestro_tests::{ChatServer, Process, binary, local_up};
use serde_json::Value;

struct Installation {
    up: Process,
    folder: tempfile::TempDir,
}

impl Installation {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let up = local_up(folder.path()).unwrap();
        Self { up, folder }
    }

    /// Runs `maestro ARGUMENTS --endpoint …`.
    fn maestro(&self, arguments: &[&str]) -> Output {
        let endpoint = self.up.address.clone().unwrap().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--endpoint", &endpoint]);
        maestro(&all)
    }

    fn write(&self, path: &str, content: &str) -> String {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

pub(crate) fn maestro(arguments: &[&str]) -> Output {
    Command::new(binary("maestro").unwrap())
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expert_is_added_asked_and_removed() {
    let installation = Installation::start();
    let chat = ChatServer::start("forty-two").await.unwrap();
    let descriptor = format!(
        "name: oracle\ndescription: Knows everything about life and the universe.\n\
         capabilities: [chat]\nmodalities: [text]\n\
         backend: {{kind: openai, config: {{base_url: '{}', model: any}}}}\n",
        chat.base_url()
    );
    let file = installation.write("oracle.yaml", &descriptor);
    tokio::task::spawn_blocking(move || {
        stdout(&installation.maestro(&["experts", "add", &file]));
        let twice = installation.write(
            "twice.yaml",
            &descriptor.replace("Knows everything", "Knows nothing"),
        );
        let conflict = refusal(&installation.maestro(&["experts", "add", &twice]));
        assert!(conflict.contains("oracle"), "{conflict}");

        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let described = loop {
            let output = installation.maestro(&["experts", "describe", "oracle"]);
            let text = stdout(&output);
            if text.contains("http://") && text.contains("instance") {
                break text;
            }
            assert!(std::time::Instant::now() < end, "{text}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        };
        assert!(described.contains("life and the universe"), "{described}");

        let ask = [
            "run",
            "What is the answer?",
            "--allow",
            "oracle@*",
            "--json",
        ];
        let answer = json(&stdout(&installation.maestro(&ask)));
        assert_eq!(answer["answer"], "forty-two", "{answer}");
        for key in [
            "termination",
            "steps",
            "policy_version",
            "catalogue",
            "latency_ms",
            "cost_usd",
        ] {
            assert!(!answer[key].is_null(), "{key} in {answer}");
        }
        for key in [
            "expert",
            "skill",
            "status",
            "answer",
            "probability",
            "latency_ms",
            "cost_usd",
        ] {
            assert!(!answer["steps"][0][key].is_null(), "{key} in {answer}");
        }
        assert!(
            answer["steps"][0]
                .as_object()
                .unwrap()
                .contains_key("solver")
        );

        let id = stdout(&installation.maestro(&["submit", "And what is the question?"]));
        let id = id.split_whitespace().find(|word| word.len() >= 20).unwrap();
        stdout(&installation.maestro(&["watch", id]));
        let got = json(&stdout(&installation.maestro(&["get", id, "--json"])));
        assert!(!got.is_null());
        stdout(&installation.maestro(&["report", id, "--score", "1"]));
        let listed = stdout(&installation.maestro(&["list"]));
        assert!(listed.contains(id), "{listed}");
        refusal(&installation.maestro(&["cancel", "no-such-episode"]));

        stdout(&installation.maestro(&["experts", "remove", "oracle"]));
        let gone = refusal(&installation.maestro(&["experts", "describe", "oracle"]));
        assert!(gone.contains("oracle"), "{gone}");
    })
    .await
    .unwrap();
}

#[test]
fn bad_files_are_explained() {
    let installation = Installation::start();
    let file = installation.write("malformed.yaml", "name: [\n");
    let text = refusal(&installation.maestro(&["experts", "add", &file]));
    assert!(
        text.contains("malformed.yaml") && text.contains("line"),
        "{text}"
    );
    let silent = "name: silent\ncapabilities: [chat]\nmodalities: [text]\n";
    let file = installation.write("silent.yaml", silent);
    let text = refusal(&installation.maestro(&["experts", "add", &file]));
    assert!(text.contains("description"), "{text}");
    let unknown = "name: x\ndescription: d\ncapabilities: [chat]\nmodalities: [text]\nprise: 3\n";
    let file = installation.write("unknown.yaml", unknown);
    let text = refusal(&installation.maestro(&["experts", "add", &file]));
    assert!(text.contains("prise"), "{text}");

    let skill = installation.folder.path().join("odd-skill");
    installation.write(
        "odd-skill/SKILL.md",
        "---\nname: odd-skill\ndescription: d\n---\n",
    );
    installation.write(
        "odd-skill/solvers/one.yaml",
        "description: d\nsteps:\n  a:\n    ask: {prompt: '{{ b.text }}', max_output_tokens: 4}\nanswer: {text: x}\n",
    );
    let folder = skill.to_str().unwrap();
    for arguments in [
        vec!["skills", "lint", folder],
        vec!["skills", "add", folder],
    ] {
        let output = if arguments[1] == "lint" {
            maestro(&arguments)
        } else {
            installation.maestro(&arguments)
        };
        let mut text = refusal(&output);
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        assert!(text.contains("solvers/one.yaml:4: error"), "{text}");
    }
    for (file, key) in [("skill", "dispatch"), ("solver", "steps")] {
        let output = maestro(&["skills", "schema", file]);
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(schema["properties"][key].is_object(), "{schema}");
    }
    let text = refusal(&installation.maestro(&["run", "  "]));
    assert!(text.contains("question"), "{text}");
    let text = refusal(&installation.maestro(&["run", "Why?", "--max-cost", "-1"]));
    assert!(text.contains("max_cost"), "{text}");
    let text = refusal(&installation.maestro(&["run", "Why?", "--image", "/no/such/file.png"]));
    assert!(text.contains("/no/such/file.png"), "{text}");
}

#[test]
fn a_service_names_what_is_wrong_with_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    for (program, yaml, word) in [
        ("maestro-coordinator", "service: [\n", "line"),
        (
            "maestro-coordinator",
            "service: {polcy_workers: []}\n",
            "polcy_workers",
        ),
        (
            "maestro-policy-worker",
            "blobs: {remote: {endpoints: []}}\n",
            "endpoints",
        ),
        (
            "maestro-skill-runner",
            "service: {runner: {max_concurrent_runs: 0}}\nblobs: {remote: {endpoints: ['http://a:1']}}\n",
            "max_concurrent_runs",
        ),
        (
            "maestro-expert-worker",
            "service: {experts: [{name: x}]}\nblobs: {remote: {endpoints: ['http://a:1']}}\n",
            "description",
        ),
    ] {
        std::fs::write(&config, yaml).unwrap();
        let output = Command::new(binary(program).unwrap())
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let text = refusal(&output);
        assert!(text.contains(word), "{program}: {text}");
    }
}

#[test]
fn completions_and_the_health_command_work() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&maestro(&["completions", shell]));
        assert!(script.contains("maestro"), "{shell}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let health = |program: &str, address: &str| {
        Command::new(binary(program).unwrap())
            .args(["health", "--listen", address])
            .output()
            .unwrap()
    };
    refusal(&health("maestro-coordinator", &address));
    let installation = Installation::start();
    let serving = installation.up.address.clone().unwrap();
    let address = format!(
        "{}:{}",
        serving.host_str().unwrap(),
        serving.port().unwrap()
    );
    stdout(&health("maestro-coordinator", &address));
    assert!(Path::new(installation.folder.path()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pool_answers_is_recorded() {
    let installation = Installation::start();
    let chat = ChatServer::start("42").await.unwrap();
    let descriptor = format!(
        "name: oracle\ndescription: Knows everything about life and the universe.\n\
         capabilities: [chat]\nmodalities: [text]\n\
         price: {{input_per_mtok: 0, output_per_mtok: 0, per_call: 7}}\n\
         backend: {{kind: openai, config: {{base_url: '{}', model: any}}}}\n",
        chat.base_url()
    );
    let task = |id: &str, truth: &str| {
        format!(
            r#"{{"id":"{id}","split":"val","domain":"life","question":"What is it?","answer_kind":{{"kind":"integer"}},"truth":"{truth}"}}"#
        )
    };
    tokio::task::spawn_blocking(move || {
        let file = installation.write("oracle.yaml", &descriptor);
        stdout(&installation.maestro(&["experts", "add", &file]));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !stdout(&installation.maestro(&["experts", "describe", "oracle"]))
            .contains("http://127")
        {
            assert!(std::time::Instant::now() < end);
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let lines = [task("right", "42"), task("wrong", "43")].join("\n");
        installation.write("tasks/tasks.jsonl", &lines);
        let tasks = installation.folder.path().join("tasks");
        let out = installation.folder.path().join("recorded");
        let record = || {
            let [tasks, out] = [&tasks, &out].map(|path| path.to_str().unwrap());
            let arguments = ["record", tasks, "--out", out, "--allow", "oracle@direct"];
            let output = installation.maestro(&arguments);
            stdout(&output);
            String::from_utf8(output.stderr).unwrap()
        };
        assert!(record().contains("2 tasks, 2 calls now"));
        let content = |name: &str| std::fs::read(out.join(name)).unwrap();
        let lines = String::from_utf8(content("tasks.jsonl")).unwrap();
        let recording = Recording::parse(&content("catalogue.json"), &lines).unwrap();
        for recorded in &recording.tasks {
            let [call] = recorded.calls.as_slice() else {
                panic!("{recorded:?}")
            };
            let score = call.score(recorded.task.reference.as_ref());
            assert_eq!(score, f64::from(u8::from(recorded.task.id == "right")));
            assert_eq!(call.cost.0, 7);
        }
        let expert = &recording.catalogue.experts["oracle"];
        assert_eq!(expert.backend, None);

        assert!(record().contains("2 tasks, 0 calls now"), "it goes on");
        stdout(&installation.maestro(&["experts", "remove", "oracle"]));
        let [tasks, out] = [&tasks, &out].map(|path| path.to_str().unwrap());
        let refused = refusal(&installation.maestro(&["record", tasks, "--out", out]));
        assert!(refused.contains("another pool"), "{refused}");
    })
    .await
    .unwrap();
}
