/// A label of a metric. Its set of values is closed or bounded by the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label<'a> {
    /// gRPC method as `package.Service/Method`. Servers label only methods that they serve.
    Method(&'a str),
    /// gRPC status code in lower case: `ok`, `deadline_exceeded`, …
    Code(&'static str),
    /// Maestro service: `coordinator`, `policy-worker`, `expert-worker`, `skill-runner`.
    Service(&'static str),
    /// Name of an expert in the registry.
    Expert(&'a str),
    /// Name of a skill in the registry.
    Skill(&'a str),
    /// Name of a solver of a skill in the registry.
    Solver(&'a str),
    /// `ok`, or the name of a failure kind.
    Outcome(&'static str),
    /// How an episode ended: `answered`, `truncated`, `cancelled`, `failed`.
    Termination(&'static str),
    /// Why something was refused, repeated or dropped: a word of a closed set.
    Reason(&'static str),
    /// Which queue.
    Queue(&'static str),
    /// Which permits.
    Resource(&'static str),
    /// Which cache.
    Cache(&'static str),
    /// `hit` or `miss`.
    Hit(bool),
    /// State of a breaker: `closed`, `open`, `half_open`.
    State(&'static str),
    /// Kind of tokens: `input`, `output`.
    Direction(&'static str),
    /// Kind of action: `invoke`, `answer`.
    Action(&'static str),
    /// Whether something was met before: `true` or `false`.
    Known(bool),
    /// A policy slot in the registry.
    Slot(&'a str),
    /// Whether two policies agree: `true` or `false`.
    Agreed(bool),
    /// Layer of the sandbox: `landlock`, `seccomp`.
    Layer(&'static str),
    /// Version of the program.
    Version(&'static str),
}

impl Label<'_> {
    /// Name and value as exposed.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Method(value) => ("method", value),
            Self::Code(value) => ("code", value),
            Self::Service(value) => ("service", value),
            Self::Expert(value) => ("expert", value),
            Self::Skill(value) => ("skill", value),
            Self::Solver(value) => ("solver", value),
            Self::Outcome(value) => ("outcome", value),
            Self::Termination(value) => ("termination", value),
            Self::Reason(value) => ("reason", value),
            Self::Queue(value) => ("queue", value),
            Self::Resource(value) => ("resource", value),
            Self::Cache(value) => ("cache", value),
            Self::Hit(true) => ("result", "hit"),
            Self::Hit(false) => ("result", "miss"),
            Self::State(value) => ("state", value),
            Self::Direction(value) => ("direction", value),
            Self::Action(value) => ("action", value),
            Self::Known(true) => ("known", "true"),
            Self::Known(false) => ("known", "false"),
            Self::Slot(value) => ("slot", value),
            Self::Agreed(true) => ("agreed", "true"),
            Self::Agreed(false) => ("agreed", "false"),
            Self::Layer(value) => ("layer", value),
            Self::Version(value) => ("version", value),
        }
    }

    pub(super) fn to_metrics(self) -> metrics::Label {
        match self {
            // Static values need no allocation.
            Self::Code(value)
            | Self::Service(value)
            | Self::Outcome(value)
            | Self::Termination(value)
            | Self::Reason(value)
            | Self::Queue(value)
            | Self::Resource(value)
            | Self::Cache(value)
            | Self::State(value)
            | Self::Direction(value)
            | Self::Action(value)
            | Self::Layer(value)
            | Self::Version(value) => metrics::Label::from_static_parts(self.parts().0, value),
            Self::Known(known) => {
                metrics::Label::from_static_parts("known", if known { "true" } else { "false" })
            }
            Self::Agreed(agreed) => {
                metrics::Label::from_static_parts("agreed", if agreed { "true" } else { "false" })
            }
            Self::Hit(hit) => {
                metrics::Label::from_static_parts("result", if hit { "hit" } else { "miss" })
            }
            Self::Method(value)
            | Self::Expert(value)
            | Self::Skill(value)
            | Self::Slot(value)
            | Self::Solver(value) => metrics::Label::new(self.parts().0, value.to_owned()),
        }
    }
}
