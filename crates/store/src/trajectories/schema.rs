//! The columns of the files. `docs/trajectories.md` describes them for those who query them.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};

/// Version of the columns, in the metadata of every file under [`SCHEMA_KEY`]. Columns may be added
/// under the same version; it rises when one changes its meaning.
pub(super) const SCHEMA_VERSION: &str = "1";

/// Key of [`SCHEMA_VERSION`] in a file's metadata.
pub(super) const SCHEMA_KEY: &str = "maestro.trajectories.schema";

/// The deduplicating key: of all rows with one tenant and one episode, the one of the highest version
/// counts.
pub(super) const KEY_COLUMNS: [&str; 3] = ["tenant", "episode_id", "version"];

/// The columns.
pub(super) static FIELDS: LazyLock<Vec<FieldRef>> =
    LazyLock::new(|| columns().into_iter().map(Arc::new).collect());

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn number(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

fn time(name: &str) -> Field {
    let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Field::new(name, kind, false)
}

fn group(name: &str, fields: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(Fields::from(fields)), false)
}

fn list(name: &str, fields: Vec<Field>) -> Field {
    Field::new(
        name,
        DataType::List(Arc::new(group("element", fields))),
        false,
    )
}

fn optional(field: Field) -> Field {
    field.with_nullable(true)
}

fn usage(name: &str) -> Field {
    group(
        name,
        vec![
            number("cost_micro_usd", DataType::UInt64),
            number("calls", DataType::UInt32),
            number("repeated_calls", DataType::UInt32),
            number("input_tokens", DataType::UInt64),
            number("output_tokens", DataType::UInt64),
            number("expert_time_ns", DataType::UInt64),
        ],
    )
}

fn failure(name: &str) -> Field {
    optional(group(name, vec![text("kind"), text("message")]))
}

/// Which pairs a constraint means; an absent part matches everything.
fn patterns(name: &str) -> Field {
    list(
        name,
        vec![optional(text("expert")), optional(text("skill"))],
    )
}

fn alternatives() -> Field {
    list(
        "alternatives",
        vec![
            text("action"),
            optional(text("expert")),
            optional(text("skill")),
            optional(number("answer_observation", DataType::UInt32)),
            number("probability", DataType::Float32),
        ],
    )
}

fn observation() -> Field {
    optional(group(
        "observation",
        vec![
            failure("failure"),
            text("text"),
            optional(group(
                "answer",
                vec![text("value"), number("confidence", DataType::Float32)],
            )),
            list(
                "evidence",
                vec![text("label"), text("text"), optional(text("image"))],
            ),
            optional(text("solver")),
            optional(text("skill_digest")),
            optional(text("instance")),
            usage("usage"),
        ],
    ))
}

fn steps() -> Field {
    list(
        "steps",
        vec![
            number("index", DataType::UInt32),
            time("started_at"),
            time("decided_at"),
            time("finished_at"),
            text("action"),
            optional(text("expert")),
            optional(text("skill")),
            optional(text("query")),
            optional(number("answer_observation", DataType::UInt32)),
            optional(text("answer_text")),
            number("log_prob", DataType::Float64),
            number("probability", DataType::Float32),
            text("mode"),
            alternatives(),
            text("policy_version"),
            optional(text("catalogue")),
            number("revision", DataType::UInt64),
            optional(group(
                "trace",
                vec![
                    text("format"),
                    Field::new("inline", DataType::Binary, true),
                    optional(text("blob")),
                ],
            )),
            observation(),
        ],
    )
}

fn columns() -> Vec<Field> {
    vec![
        text("tenant"),
        text("episode_id"),
        number("version", DataType::Int64),
        optional(text("request_id")),
        text("durability"),
        text("mode"),
        text("slot"),
        number("seed", DataType::UInt64),
        time("created_at"),
        time("finished_at"),
        text("question"),
        list(
            "images",
            vec![
                text("digest"),
                text("media_type"),
                number("width", DataType::UInt32),
                number("height", DataType::UInt32),
                number("bytes", DataType::UInt64),
            ],
        ),
        text("answer_kind"),
        Field::new(
            "answer_options",
            DataType::List(Arc::new(text("element"))),
            false,
        ),
        group(
            "budget",
            vec![
                number("max_steps", DataType::UInt32),
                time("deadline"),
                optional(number("max_cost_micro_usd", DataType::UInt64)),
            ],
        ),
        group(
            "constraints",
            vec![
                patterns("allowed"),
                patterns("denied"),
                list("pinned", vec![text("expert"), text("skill")]),
            ],
        ),
        group(
            "weights",
            vec![
                number("accuracy", DataType::Float32),
                number("cost", DataType::Float32),
                number("latency", DataType::Float32),
            ],
        ),
        steps(),
        text("termination"),
        optional(text("truncated_by")),
        optional(text("cancel_reason")),
        failure("failure"),
        optional(group(
            "answer",
            vec![
                text("value"),
                optional(number("from_step", DataType::UInt32)),
                number("confidence", DataType::Float32),
            ],
        )),
        usage("usage"),
        number("unsettled_cost_micro_usd", DataType::UInt64),
        optional(group(
            "outcome",
            vec![
                number("score", DataType::Float32),
                text("source"),
                time("reported_at"),
            ],
        )),
    ]
}
