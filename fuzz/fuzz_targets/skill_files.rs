//! The files of a skill as a person writes them, parts divided by a line of `=====`: `SKILL.md`,
//! `skill.yaml`, then a solver each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maestro_skills::{Group, Skill};

/// Every step becomes ready: a taken workflow has no cycle and no missing step, at any depth.
fn check_group(group: &Group) {
    let mut progress = group.progress();
    let mut finished = 0;
    loop {
        let ready = progress.start_ready();
        if ready.is_empty() {
            break;
        }
        for step in ready {
            finished += 1;
            progress.finish(&step);
        }
    }
    assert_eq!(finished, group.iter().count());
    for step in group.iter() {
        step.action.groups().for_each(check_group);
    }
}

fuzz_target!(|text: &str| {
    let parts: Vec<&str> = text.split("=====\n").take(6).collect();
    let solvers: Vec<String> = (2..parts.len()).map(|n| format!("solvers/s{n}.yaml")).collect();
    let names = ["SKILL.md", "skill.yaml"].into_iter().chain(solvers.iter().map(String::as_str));
    let files = names.zip(parts.iter().map(|part| part.as_bytes()));
    if let Ok(skill) = Skill::from_content(files) {
        skill.header().validate().expect("a skill that was taken has a valid header");
        for solver in skill.solvers() {
            check_group(&solver.steps);
        }
    }
});
