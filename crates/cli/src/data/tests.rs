use std::{fs, path::Path};

use maestro_core::{answer::AnswerKind, recording::RecordedResult};
use tempfile::TempDir;

use super::*;

/// A bitmap of which there is a header only.
fn bitmap(width: u32, height: u32) -> Vec<u8> {
    let mut content = b"BM".to_vec();
    for field in [54, 0, 54, 40, width, height] {
        content.extend(u32::to_le_bytes(field));
    }
    content.extend([1, 0, 24, 0]);
    content.extend([0; 24]);
    content
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    fs::write(folder.path().join("a.bmp"), bitmap(1024, 512)).unwrap();
    folder
}

fn read(files: &[(&str, &str)]) -> DataSet {
    DataSet::read(folder(files).path()).unwrap()
}

fn error(files: &[(&str, &str)]) -> String {
    DataSet::read(folder(files).path()).unwrap_err().to_string()
}

fn is_right(task: &RecordedTask, answer: &str) -> bool {
    task.task.reference.as_ref().unwrap().matches(answer)
}

fn scores(task: &RecordedTask) -> Vec<(&str, f64, u64)> {
    let graded = |call: &RecordedResult| match call {
        RecordedResult::Graded(score) => *score,
        RecordedResult::Observed(_) => panic!("nothing was observed"),
    };
    let calls = task.calls.iter();
    calls
        .map(|call| {
            let expert = call.pair.expert.as_str();
            (expert, graded(&call.result), call.cost.0)
        })
        .collect()
}

/// Whatever a reader says of a pool must pass for a recording.
fn round_trip(data: &DataSet) {
    let lines = data.recording.tasks.iter();
    let lines: Vec<String> = lines.map(|t| serde_json::to_string(t).unwrap()).collect();
    let content = data.recording.catalogue.content();
    let again = Recording::parse(&content, &lines.join("\n")).unwrap();
    assert_eq!(again, data.recording);
}

#[test]
fn tasks_of_ones_own() {
    let data = read(&[(
        TASKS_FILE,
        r#"{"id":"w1","split":"train","domain":"sums","group":"g","question":"2 + 2?","answer_kind":{"kind":"number"},"truth":"4"}
        {"id":"s1","split":"val","domain":"signs","question":"What is written?","images":["a.bmp","a.bmp"],"answer_kind":{"kind":"short_text"},"truth":"Halt","aliases":["stop"]}
        {"id":"p1","split":"val","domain":"code","question":"Print 1.","answer_kind":{"kind":"program"},"reference":{"kind":"program_output","value":"1"}}"#,
    )]);
    let [sum, sign, program] = data.recording.tasks.as_slice() else {
        panic!("{data:?}")
    };
    assert_eq!(sum.task.group.as_deref(), Some("g"));
    assert!(
        is_right(sum, "4.0") && !is_right(sum, "4.1"),
        "no tolerance"
    );
    assert!(is_right(sign, "Stop") && is_right(sign, "halt"));
    assert!(is_right(program, "1\n"));
    let image = &sign.task.images[1];
    assert_eq!((image.width, image.height), (1024, 512));
    assert_eq!(data.images["s1"].len(), 2);
    assert!(data.images["s1"][0].ends_with("a.bmp"));
    round_trip(&data);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let good = r#"{"id":"a","split":"val","domain":"d","question":"q","answer_kind":{"kind":"integer"},"truth":"4"}"#;
    let of = |line: &str| error(&[(TASKS_FILE, &format!("{good}\n{line}"))]);
    let number = of(&good.replace("\"a\"", "\"b\"").replace("\"4\"", "\"four\""));
    assert!(
        number.contains("line 2") && number.contains("four"),
        "{number}"
    );
    let key = of(&good.replace("\"truth\"", "\"truht\""));
    assert!(key.contains("line 2") && key.contains("truht"), "{key}");
    let none = of(
        r#"{"id":"b","split":"val","domain":"d","question":"q","answer_kind":{"kind":"integer"}}"#,
    );
    assert!(none.contains("line 2") && none.contains("truth"), "{none}");
    let file = of(&good.replace("\"q\"", r#""q","images":["b.png"]"#));
    assert!(file.contains("b.png"), "{file}");
    assert!(of(good).contains("twice"));
    assert!(error(&[("other.txt", "")]).contains("no data set"));
    assert!(error(&[(TASKS_FILE, "\n")]).contains("no task"));
}

#[test]
fn recordings() {
    let known = read(&[(
        TASKS_FILE,
        r#"{"id":"a","split":"val","domain":"d","question":"q","answer_kind":{"kind":"integer"},"truth":"4"}"#,
    )]);
    let line = serde_json::to_string(&known.recording.tasks[0]).unwrap();
    let empty = String::from_utf8(known.recording.catalogue.content()).unwrap();
    let again = read(&[(CATALOGUE_FILE, &empty), (TASKS_FILE, &line)]);
    assert_eq!(again.recording, known.recording);
}

#[test]
fn drawings_with_the_outcomes_of_hosted_models() {
    let data = read(&[(
        TASKS_FILE,
        r#"{"id":"x","split":"val","subtask":"Dots","prompt_id":1,"prompt":"How many dots are on the sheet?","image":"a.bmp","answer":"3","answer_kind":"integer","group":"g1","outcomes":{"gpt-4o":true,"gemini-1.5-pro":false,"claude-3-sonnet":false,"claude-3.5-sonnet":true},"width":1024,"height":512}"#,
    )]);
    let task = &data.recording.tasks[0];
    assert_eq!(task.task.domain, "Dots");
    assert_eq!(task.task.answer_kind, AnswerKind::Integer);
    assert!(is_right(task, "3") && !is_right(task, "13"));
    // The prompt has 31 characters, so 8 tokens, and a reply 50.
    let image = 1024_u64 * 512 / 750 + 1;
    let expected = [
        ("gpt-4o", 1.0, (8 + 85 + 170 * 2) * 5 + 50 * 15),
        ("gemini-1.5-pro", 0.0, ((8 + 258) * 35 + 50 * 105) / 10),
        ("claude-3-sonnet", 0.0, (8 + image) * 3 + 50 * 15),
        ("claude-3.5-sonnet", 1.0, (8 + image) * 3 + 50 * 15),
    ];
    assert_eq!(scores(task), expected);
    let catalogue = &data.recording.catalogue;
    assert_eq!((catalogue.experts.len(), catalogue.skills.len()), (4, 1));
    round_trip(&data);
}

#[test]
fn questions_with_the_scores_of_language_models() {
    let models = r#"{"tiny":{"size":"1B","description":"A small one.","price_in_usd_per_mtok":0.5,"price_out_usd_per_mtok":1.5,"source_name":"x/tiny"}}"#;
    let line = |id: &str, rest: &str| {
        format!(
            r#"{{"id":"{id}","split":"test","task_name":"t","query":"Which one is it?",{rest},"source_split":"test","in_both_source_splits":false,"outcomes":{{"tiny":{{"score":0.5}}}}}}"#
        )
    };
    let lines = [
        line(
            "choice",
            r#""metric":"em_mc","answer":"2","choices":[["1","red"],["2","blue"]]"#,
        ),
        line(
            "twice",
            r#""metric":"em_mc","answer":"A","choices":[["A","red"],["B","red"]]"#,
        ),
        line(
            "number",
            r#""metric":"GSM8K","answer":"it is 1,000","final_answer":"1,000","choices":null"#,
        ),
        line(
            "formula",
            r#""metric":"MATH","answer":"so x/2","final_answer":"x/2","choices":null"#,
        ),
        line(
            "code",
            r#""metric":"code_eval","answer":"[]","tests":["assert f()"],"choices":null"#,
        ),
        line(
            "fact",
            r#""metric":"f1_score","answer":"Oslo","choices":null"#,
        ),
        line(
            "sentence",
            r#""metric":"commongen_coverage","answer":"a, b","choices":null"#,
        ),
    ];
    let data = read(&[
        (TASKS_FILE, &lines.join("\n")),
        (llmrouter::MODELS_FILE, models),
    ]);
    let tasks = &data.recording.tasks;
    let kinds: Vec<&str> = tasks.iter().map(|t| t.task.answer_kind.name()).collect();
    let expected = [
        "choice",
        "choice",
        "number",
        "expression",
        "program",
        "short_text",
        "free_text",
    ];
    assert_eq!(kinds, expected);
    let known: Vec<bool> = tasks.iter().map(|t| t.task.reference.is_some()).collect();
    assert_eq!(known, [true, false, true, true, false, true, false]);
    assert!(is_right(&tasks[0], "B") && is_right(&tasks[0], "blue"));
    assert!(is_right(&tasks[2], "1000") && !is_right(&tasks[2], "1001"));
    // 4 tokens of the query, at half a dollar per million, and a reply at 1.5; rounded up each.
    assert_eq!(scores(&tasks[2]), [("tiny", 0.5, 2 + 300)]);
    let descriptor = data.recording.catalogue.experts.values().next().unwrap();
    assert_eq!(descriptor.description, "A small one.");
    round_trip(&data);

    let unknown = lines[0].replace("tiny", "huge");
    let unknown = error(&[(TASKS_FILE, &unknown), (llmrouter::MODELS_FILE, models)]);
    assert!(
        unknown.contains("line 1") && unknown.contains("huge"),
        "{unknown}"
    );
}

#[test]
fn compressed_questions_of_two_models() {
    let lines = r#"{"id":"m","split":"val","benchmark":"mmlu","domain":"colours","query":"Which is a colour?\nA. red\nB. loud\nAnswer:","answer":null,"contaminated":false,"outcomes":{"mixtral-8x7b":true,"gpt-4-1106":true}}
        {"id":"g","split":"val","benchmark":"gsm8k","domain":"gsm8k","query":"2 + 2?","answer":"4","contaminated":false,"outcomes":{"mixtral-8x7b":false,"gpt-4-1106":true},"responses":{"mixtral-8x7b":"2 + 2 = 5","gpt-4-1106":"4"}}"#;
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join(routellm::FILE)).unwrap();
    let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
    file.finish().unwrap();
    let data = DataSet::read(folder.path()).unwrap();
    let [choice, sum] = data.recording.tasks.as_slice() else {
        panic!("{data:?}")
    };
    let options = vec!["red".to_owned(), "loud".to_owned()];
    assert_eq!(choice.task.answer_kind, AnswerKind::Choice { options });
    assert_eq!(
        (choice.task.reference.as_ref(), choice.calls.len()),
        (None, 2)
    );
    assert!(is_right(sum, "4"));
    // The replies are there: 9 characters are 3 tokens, and the question 2.
    assert_eq!(
        scores(sum),
        [("mixtral-8x7b", 0.0, 2 + 2), ("gpt-4-1106", 1.0, 20 + 30)]
    );
    round_trip(&data);
}

#[test]
fn receipts_photographs_and_word_problems() {
    let receipts = read(&[
        (receipts::RECEIPTS_FILE, ""),
        (
            TASKS_FILE,
            r#"{"id":"t","split":"val","prompt":"Total?","image":"a.bmp","field":"total","answer":"12.50","answer_kind":"number"}
            {"id":"d","split":"val","prompt":"Date?","image":"a.bmp","field":"date","answer":"03/04/18","answer_kind":"date"}
            {"id":"c","split":"val","prompt":"Company?","image":"a.bmp","field":"company","answer":"OAK AND SONS","answer_kind":"short_text"}"#,
        ),
    ]);
    let [total, date, company] = receipts.recording.tasks.as_slice() else {
        panic!("{receipts:?}")
    };
    assert!(is_right(total, "12.5") && !is_right(total, "12.60"));
    assert!(is_right(date, "3 April 2018") && !is_right(date, "4 March 2018"));
    assert!(is_right(company, "Oak and Sons"));
    let domains = receipts
        .recording
        .tasks
        .iter()
        .map(|t| t.task.domain.as_str());
    let domains: Vec<&str> = domains.collect();
    assert_eq!(
        domains,
        ["receipt-total", "receipt-date", "receipt-company"]
    );
    assert_eq!(total.task.group, company.task.group);

    let counting = read(&[
        (counting::IMAGES_FILE, ""),
        (
            TASKS_FILE,
            r#"{"id":"n","split":"val","prompt":"How many?","image":"a.bmp","category":"cat","answer":"2","answer_kind":"integer","count_band":"2"}"#,
        ),
    ]);
    assert!(is_right(&counting.recording.tasks[0], "2"));
    assert_eq!(counting.images["n"].len(), 1);

    let problems = read(&[(
        TASKS_FILE,
        r#"{"id":"p","split":"val","prompt":"6 less 2?","answer":"4","answer_kind":"number","operation":"Subtraction","equation":"( 6.0 - 2.0 )","group":"g"}"#,
    )]);
    assert!(is_right(&problems.recording.tasks[0], "4.0"));
    assert!(!is_right(&problems.recording.tasks[0], "4.1"));
}

fn many() -> DataSet {
    let line = |place: usize| {
        let (domain, split) = (["a", "b"][place % 2], ["train", "val"][place / 20]);
        format!(
            r#"{{"id":"t{place}","split":"{split}","domain":"{domain}","question":"q","answer_kind":{{"kind":"integer"}},"truth":"4"}}"#
        )
    };
    let lines: Vec<String> = (0..40).map(line).collect();
    read(&[(TASKS_FILE, &lines.join("\n"))])
}

fn ids(data: &DataSet) -> Vec<&str> {
    let tasks = data.recording.tasks.iter();
    tasks.map(|task| task.task.id.as_str()).collect()
}

#[test]
fn splits_are_kept() {
    let mut data = many();
    data.keep_splits(&[]);
    assert_eq!(ids(&data).len(), 40);
    data.keep_splits(&["val".to_owned()]);
    assert_eq!(ids(&data).len(), 20);
}

#[test]
fn a_larger_draw_holds_the_smaller_one() {
    let drawn = |most, seed| {
        let mut data = many();
        data.limit_per_domain(most, seed);
        data
    };
    let (few, more) = (drawn(3, 0), drawn(8, 0));
    assert_eq!((ids(&few).len(), ids(&more).len()), (6, 16));
    assert!(ids(&few).iter().all(|id| ids(&more).contains(id)));
    assert_ne!(ids(&few), ids(&drawn(3, 1)));
    let domain = |data: &DataSet, domain: &str| {
        let tasks = data.recording.tasks.iter();
        tasks.filter(|task| task.task.domain == domain).count()
    };
    assert_eq!((domain(&few, "a"), domain(&few, "b")), (3, 3));
    assert_eq!(ids(&drawn(100, 0)).len(), 40);
}

/// The data sets as they are lent, where they are.
#[test]
fn the_shared_sets_are_read() {
    let Some(root) = std::env::var_os("MAESTRO_DATA") else {
        return;
    };
    for (name, tasks, calls) in [
        ("blindtest", 8096, 4 * 8096),
        ("llmrouter", 4181, 7 * 4181),
        ("routellm", 12289, 2 * 12289),
        ("sroie", 360, 0),
        ("coco_count", 400, 0),
        ("svamp", 800, 0),
    ] {
        let data = DataSet::read(&Path::new(&root).join(name)).unwrap();
        let made: usize = data.recording.tasks.iter().map(|t| t.calls.len()).sum();
        assert_eq!((data.recording.tasks.len(), made), (tasks, calls), "{name}");
    }
}
