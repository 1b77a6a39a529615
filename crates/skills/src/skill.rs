//! A whole skill.

use std::{collections::BTreeSet, path::Path};

use bytes::Bytes;
use maestro_core::{
    Capability, Digest, SkillName,
    registry::{CallBounds, ImageNeed, MAX_DESCRIPTION_CHARS, SkillHeader, SolverHeader},
};

use crate::{
    bundle::{self, Files},
    check::{check_kind, check_kinds},
    dispatch::{Dispatch, ImageProbe, KeywordRule},
    error::SkillError,
    format::{DispatchFile, ProbeFile, ProbeTarget, RuleFile, SkillFile},
    front_matter::{self, FrontMatter, SKILL_FILE},
    solver::Solver,
    step::{Action, Step},
    yaml::{self, Place},
};

/// The file of our own header keys.
pub(crate) const HEADER_FILE: &str = "skill.yaml";
const SOLVER_FOLDER: &str = "solvers/";
/// Capability of a question in words.
const CHAT: &str = "chat";
const DEFAULT_INPUT_TOKENS: u32 = 8192;
const DEFAULT_OUTPUT_TOKENS: u32 = 1024;
const MAX_TOKENS: u32 = 1 << 20;

/// A skill that was read and checked. It keeps its bundle, so that it can be stored as it is.
#[derive(Clone, Debug)]
pub struct Skill {
    header: SkillHeader,
    front_matter: FrontMatter,
    instructions: String,
    dispatch: Dispatch,
    solvers: Vec<Solver>,
    bundle: Bytes,
}

impl Skill {
    /// Reads a skill's folder.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with file and line. [`crate::lint`] lists more.
    pub fn load(dir: &Path) -> Result<Self, SkillError> {
        let folder = dir.file_name().and_then(|name| name.to_str());
        Self::from_files(bundle::read_folder(dir)?, folder)
    }

    /// Reads a skill from its files: paths relative to the skill's folder, and their content.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_content<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, SkillError> {
        let owned = files
            .into_iter()
            .map(|(path, content)| (path.to_owned(), Bytes::copy_from_slice(content)));
        // Encoding and decoding applies the limits and the rules for paths.
        bundle::unpack(&bundle::encode(&owned.collect()))
    }

    pub(crate) fn from_files(files: Files, folder: Option<&str>) -> Result<Self, SkillError> {
        let text = read_text(&files, SKILL_FILE)?.ok_or_else(|| SkillError::MissingFile {
            file: SKILL_FILE.to_owned(),
        })?;
        let (mut front_matter, instructions) = front_matter::parse(text)?;
        if front_matter.name.is_empty() {
            folder
                .unwrap_or_default()
                .clone_into(&mut front_matter.name);
        }
        let place = |field: &str| Place::new(SKILL_FILE, 1, field);
        let name = SkillName::new(&front_matter.name)
            .map_err(|error| place("name").invalid(error.to_string()))?;
        let description = front_matter
            .description
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        if description.is_empty() || description.chars().count() > MAX_DESCRIPTION_CHARS {
            let reason = format!("must have 1 to {MAX_DESCRIPTION_CHARS} characters");
            return Err(place("description").invalid(reason));
        }
        let own = match read_text(&files, HEADER_FILE)? {
            Some(text) => yaml::read(HEADER_FILE, text, 0)?,
            None => SkillFile::default(),
        };
        let limits = limits(&own)?;
        let mut solvers = read_solvers(&files)?;
        let header_place = Place::new(HEADER_FILE, 1, "direct");
        if own.direct && !solvers.is_empty() {
            return Err(header_place.invalid("a direct skill has no solvers"));
        }
        let listed = solvers
            .iter()
            .map(|s| SolverHeader {
                name: s.name.clone(),
                description: s.description.clone(),
            })
            .collect();
        let plain = solvers.is_empty();
        if plain {
            let solver = Solver::of_instructions(&description, limits.output_tokens)
                .map_err(|error| place("").invalid(error.to_string()))?;
            solvers.push(solver);
        }
        let dispatch = dispatch(&own, &solvers)?;
        let needs = Needs::of(&own, &solvers, &dispatch);
        let bundle = bundle::encode(&files);
        let header = SkillHeader {
            name,
            description,
            bundle: Digest::of(&bundle),
            requires: needs.requires,
            helpers: needs.helpers,
            optional_helpers: needs.optional_helpers,
            images: own.images,
            expert_reads_images: own
                .expert_reads_images
                .unwrap_or(own.images != ImageNeed::None),
            answer_kinds: check_kinds(HEADER_FILE, "answer_kinds", &own.answer_kinds)?,
            direct: own.direct,
            bounds: bounds(&limits, &solvers, &dispatch),
            solvers: listed,
        };
        Ok(Self {
            header,
            front_matter,
            instructions,
            dispatch,
            solvers,
            bundle,
        })
    }

    /// What the registry holds of it.
    pub fn header(&self) -> SkillHeader {
        self.header.clone()
    }

    /// Its name.
    pub fn name(&self) -> &SkillName {
        &self.header.name
    }

    /// Digest of its bundle.
    pub fn digest(&self) -> Digest {
        self.header.bundle
    }

    /// All its files as one blob; its SHA-256 is [`Self::digest`].
    pub fn bundle(&self) -> &Bytes {
        &self.bundle
    }

    /// What its author wrote in the front matter.
    pub fn front_matter(&self) -> &FrontMatter {
        &self.front_matter
    }

    /// The body of `SKILL.md`.
    pub fn instructions(&self) -> &str {
        &self.instructions
    }

    /// Which solver takes which question.
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// Its workflows, at least one.
    pub fn solvers(&self) -> &[Solver] {
        &self.solvers
    }

    /// A workflow by name.
    pub fn solver(&self, name: &str) -> Option<&Solver> {
        self.solvers.iter().find(|solver| solver.name == name)
    }
}

fn read_text<'a>(files: &'a Files, file: &str) -> Result<Option<&'a str>, SkillError> {
    let Some(content) = files.get(file) else {
        return Ok(None);
    };
    std::str::from_utf8(content)
        .map(Some)
        .map_err(|_| SkillError::Syntax {
            file: file.to_owned(),
            line: 0,
            message: "is not UTF-8".to_owned(),
        })
}

/// Splits `solvers/NAME.yaml` into the name, if the path is one of a solver.
pub(crate) fn solver_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix(SOLVER_FOLDER)?;
    name.strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"))
}

fn read_solvers(files: &Files) -> Result<Vec<Solver>, SkillError> {
    let mut solvers: Vec<Solver> = Vec::new();
    for path in files.keys() {
        let Some(name) = solver_name(path) else {
            continue;
        };
        // The same rule as for skills: the name stands in metrics and on the command line.
        SkillName::new(name).map_err(|_| SkillError::ForbiddenPath {
            path: path.clone(),
            reason: "a solver's name has lower-case letters, digits, '-' and '.'",
        })?;
        if solvers.iter().any(|solver| solver.name == name) {
            return Err(Place::new(path, 0, "name").invalid("there are two solvers of this name"));
        }
        let text = read_text(files, path)?.unwrap_or_default();
        solvers.push(Solver::parse(path, name, text)?);
    }
    Ok(solvers)
}

struct TokenLimits {
    input_tokens: u32,
    output_tokens: u32,
}

fn limits(own: &SkillFile) -> Result<TokenLimits, SkillError> {
    let check = |field: &str, value: Option<u32>, default: u32| {
        let value = value.unwrap_or(default);
        if (1..=MAX_TOKENS).contains(&value) {
            return Ok(value);
        }
        let place = Place::new(HEADER_FILE, 1, format!("limits.{field}"));
        Err(place.invalid(format!("is {value}; must be 1 to {MAX_TOKENS}")))
    };
    Ok(TokenLimits {
        input_tokens: check(
            "input_tokens",
            own.limits.input_tokens,
            DEFAULT_INPUT_TOKENS,
        )?,
        output_tokens: check(
            "output_tokens",
            own.limits.output_tokens,
            DEFAULT_OUTPUT_TOKENS,
        )?,
    })
}

fn dispatch(own: &SkillFile, solvers: &[Solver]) -> Result<Dispatch, SkillError> {
    let Some(file) = &own.dispatch else {
        let [only] = solvers else {
            let place = Place::new(HEADER_FILE, 0, "dispatch");
            return Err(place.invalid("a skill with several solvers needs dispatch rules"));
        };
        return Ok(Dispatch {
            default: Some(only.name.clone()),
            ..Dispatch::default()
        });
    };
    let known = |solver: &str, line: u64, field: &str| {
        if solvers.iter().any(|s| s.name == solver) {
            return Ok(());
        }
        Err(SkillError::UnknownSolver {
            file: HEADER_FILE.to_owned(),
            line,
            field: field.to_owned(),
            solver: solver.to_owned(),
        })
    };
    let DispatchFile {
        default,
        threshold,
        rules,
        image,
    } = &file.value;
    let place = Place::new(HEADER_FILE, file.referenced.line(), "dispatch");
    finite(&place.at("threshold"), [*threshold])?;
    if let Some(default) = default {
        known(default, place.line, "dispatch.default")?;
    }
    let mut parsed = Vec::with_capacity(rules.len());
    for rule in rules {
        let line = rule.referenced.line();
        known(&rule.value.solver, line, "dispatch.rules.solver")?;
        parsed.push(keyword_rule(
            &Place::new(HEADER_FILE, line, "dispatch.rules"),
            &rule.value,
        )?);
    }
    let image = match image {
        Some(probe) => {
            let line = probe.referenced.line();
            for solver in probe.value.kinds.values().flatten() {
                known(solver, line, "dispatch.image.kinds")?;
            }
            finite(
                &Place::new(HEADER_FILE, line, "dispatch.image.weight"),
                [probe.value.weight, probe.value.decisive],
            )?;
            Some(image_probe(&probe.value))
        }
        None => None,
    };
    Ok(Dispatch {
        default: default.clone(),
        threshold: *threshold,
        rules: parsed,
        image,
    })
}

fn keyword_rule(place: &Place<'_>, rule: &RuleFile) -> Result<KeywordRule, SkillError> {
    finite(&place.at("keywords"), rule.keywords.values().copied())?;
    finite(
        &place.at("answer_kinds"),
        rule.answer_kinds.values().copied(),
    )?;
    if rule
        .keywords
        .keys()
        .any(|term| term.split_whitespace().all(|word| word == "*"))
    {
        return Err(place
            .at("keywords")
            .invalid("a term needs letters or digits"));
    }
    for kind in rule.answer_kinds.keys() {
        check_kind(&place.at("answer_kinds"), kind)?;
    }
    Ok(KeywordRule {
        solver: rule.solver.clone(),
        priority: rule.priority,
        keywords: rule.keywords.clone(),
        answer_kinds: rule.answer_kinds.clone(),
    })
}

fn image_probe(probe: &ProbeFile) -> ImageProbe {
    ImageProbe {
        capability: probe.capability.clone(),
        operation: probe.operation.clone(),
        own_expert: probe.call == ProbeTarget::Expert,
        weight: probe.weight,
        decisive: probe.decisive,
        kinds: probe.kinds.clone(),
    }
}

fn finite(place: &Place<'_>, values: impl IntoIterator<Item = f32>) -> Result<(), SkillError> {
    if values
        .into_iter()
        .all(|value| value.is_finite() && value.abs() <= 1000.0)
    {
        return Ok(());
    }
    Err(place.invalid("weights are -1000 to 1000"))
}

/// The capabilities that the steps need of the pair's expert and call of helpers.
struct Needs {
    requires: BTreeSet<Capability>,
    helpers: BTreeSet<Capability>,
    /// Those that only optional steps call.
    optional_helpers: BTreeSet<Capability>,
}

impl Needs {
    fn of(own: &SkillFile, solvers: &[Solver], dispatch: &Dispatch) -> Self {
        let mut requires: BTreeSet<Capability> = own.requires.iter().cloned().collect();
        let mut helpers = BTreeSet::new();
        let mut optional_helpers = BTreeSet::new();
        for step in solvers.iter().flat_map(|solver| &solver.steps) {
            match &step.action {
                Action::Ask(_) => requires.extend(Capability::new(CHAT)),
                Action::Expert(call) => requires.extend([call.capability.clone()]),
                Action::Helper(call) if step.optional => {
                    optional_helpers.insert(call.capability.clone());
                }
                Action::Helper(call) => helpers.extend([call.capability.clone()]),
                Action::Image(_) | Action::Tool(_) | Action::Extract(_) | Action::Run(_) => {}
            }
        }
        if let Some(probe) = &dispatch.image {
            let side = if probe.own_expert {
                &mut requires
            } else {
                // Without it the words decide alone.
                &mut optional_helpers
            };
            side.insert(probe.capability.clone());
        }
        optional_helpers.retain(|helper| !helpers.contains(helper));
        Self {
            requires,
            helpers,
            optional_helpers,
        }
    }
}

/// The most that any solver asks of experts, the look before the choice included.
fn bounds(limits: &TokenLimits, solvers: &[Solver], dispatch: &Dispatch) -> CallBounds {
    let most = |count: fn(&Step) -> u32| {
        let sum = |solver: &Solver| solver.steps.iter().map(count).fold(0, u32::saturating_add);
        solvers.iter().map(sum).max().unwrap_or(0)
    };
    let probes =
        dispatch.image.as_ref().map_or(
            (0, 0),
            |probe| {
                if probe.own_expert { (1, 0) } else { (0, 1) }
            },
        );
    let outputs = solvers
        .iter()
        .flat_map(|solver| &solver.steps)
        .map(Step::output_tokens);
    CallBounds {
        expert_calls: most(Step::expert_calls) + probes.0,
        helper_calls: most(Step::helper_calls) + probes.1,
        input_tokens: limits.input_tokens,
        output_tokens: outputs.max().unwrap_or(0),
    }
}

#[cfg(test)]
#[path = "skill_tests.rs"]
mod tests;
