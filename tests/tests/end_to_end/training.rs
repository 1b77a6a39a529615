//! Training as a process that is killed.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use maestro_tests::binary;
use serde_json::Value;

const SETTINGS: &str = "
checkpoint_every: 3
validate_every: 4
learner: { iterations: 40, groups: 16, group_size: 8, minibatch: 8 }
rewording: { catalogues: 2, questions: 2 }
";
const ITERATIONS: u64 = 40;
/// Checkpoints are after 3, 6, 9: what was learned after the last one is lost with the process.
const KILLED_AFTER: usize = 8;
const PATIENCE: Duration = Duration::from_secs(120);

fn start(settings: &Path, out: &Path) -> Child {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../training/recorded");
    Command::new(binary("maestro").unwrap())
        .arg("train")
        .arg(recorded)
        .args(["--threads", "2", "--json", "--config"])
        .arg(settings)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn iterations(out: &Path) -> Vec<u64> {
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    let lines = metrics.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["iteration"].as_u64()
    });
    lines.collect()
}

#[test]
fn a_training_that_is_killed_and_started_again_gives_the_same_policy() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.yaml");
    fs::write(&settings, SETTINGS).unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(start(&settings, &whole).wait().unwrap().success());

    let mut process = start(&settings, &killed);
    let begun = Instant::now();
    while iterations(&killed).len() < KILLED_AFTER {
        assert!(process.try_wait().unwrap().is_none(), "ended by itself");
        assert!(begun.elapsed() < PATIENCE, "learned nothing in time");
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill().unwrap();
    assert!(!process.wait().unwrap().success());
    let lost = iterations(&killed).len() as u64;
    assert!(lost < ITERATIONS, "it was killed too late");
    assert!(!killed.join("policy.json").exists());
    assert!(start(&settings, &killed).wait().unwrap().success());

    let all: Vec<u64> = (1..=ITERATIONS).collect();
    assert_eq!(iterations(&killed), all, "killed after {lost}");
    let read = |out: &Path, file: &str| fs::read(out.join(file)).unwrap();
    let [one, other] = [&whole, &killed].map(|out| read(out, "policy.safetensors"));
    assert!(one == other, "the weights differ");
    let notes = |out: &Path| -> Value {
        let manifest: Value = serde_json::from_slice(&read(out, "policy.json")).unwrap();
        manifest["notes"].clone()
    };
    assert_eq!(notes(&whole), notes(&killed));
}
