//! A whole skill.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use maestro_core::{
    Digest, SkillName,
    registry::{ImageNeed, MAX_DESCRIPTION_CHARS, SkillHeader, SolverHeader},
};

use crate::{
    bundle::{self, Files},
    check::{Errors, check_kinds, dispatch},
    dispatch::Dispatch,
    error::SkillError,
    format::SkillFile,
    front_matter::{self, FrontMatter, SKILL_FILE},
    needs::{Needs, bounds},
    solver::Solver,
    yaml::{self, Place},
};

/// The file of our own header keys.
pub(crate) const HEADER_FILE: &str = "skill.yaml";
const SOLVER_FOLDER: &str = "solvers/";
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
        Self::read(&files, folder).map_err(|errors| {
            let none = || SkillError::MalformedBundle("it holds no skill");
            errors.into_iter().next().unwrap_or_else(none)
        })
    }

    /// # Errors
    /// Everything that is wrong with it, at least one thing.
    pub(crate) fn read(files: &Files, folder: Option<&str>) -> Result<Self, Vec<SkillError>> {
        let errors = Errors::default();
        let front = errors.keep(front(files, folder));
        let own = errors.keep(match read_text(files, HEADER_FILE) {
            Ok(Some(text)) => yaml::read(HEADER_FILE, text, 0),
            Ok(None) => Ok(SkillFile::default()),
            Err(error) => Err(error),
        });
        let limits = own.as_ref().and_then(|own| errors.keep(limits(own)));
        let mut names = solver_names(files, &errors);
        let mut solvers: Vec<Solver> = names
            .iter()
            .filter_map(|(name, path)| read_solver(files, path, name, &errors))
            .collect();
        if own.as_ref().is_some_and(|own| own.direct) && !names.is_empty() {
            let place = Place::new(HEADER_FILE, 1, "direct");
            errors.add(place.invalid("a direct skill has no solvers"));
        }
        let listed = solvers
            .iter()
            .map(|s| SolverHeader {
                name: s.name.clone(),
                description: s.description.clone(),
            })
            .collect();
        if let (Some(front), Some(limits), true) = (&front, &limits, names.is_empty()) {
            let description = &front.description;
            let place = Place::new(SKILL_FILE, 1, "");
            let solver = Solver::of_instructions(description, limits.output_tokens)
                .map_err(|error| place.invalid(error.to_string()));
            solvers.extend(errors.keep(solver));
            names.extend(solvers.iter().map(|s| (s.name.clone(), String::new())));
        }
        let dispatch = own.as_ref().map(|own| {
            let names: Vec<&str> = names.keys().map(String::as_str).collect();
            dispatch(own.dispatch.as_ref(), &names, &errors)
        });
        let kinds = own.as_ref().and_then(|own| {
            errors.keep(check_kinds(HEADER_FILE, "answer_kinds", &own.answer_kinds))
        });
        let errors = errors.into_list();
        let (Some(front), Some(own), Some(limits), Some(dispatch), Some(kinds), true) =
            (front, own, limits, dispatch, kinds, errors.is_empty())
        else {
            return Err(errors);
        };
        let needs = Needs::of(&own.requires, &solvers, &dispatch);
        let bundle = bundle::encode(files);
        let header = SkillHeader {
            name: front.name,
            description: front.description,
            bundle: Digest::of(&bundle),
            requires: needs.requires,
            helpers: needs.helpers,
            optional_helpers: needs.optional_helpers,
            images: own.images,
            expert_reads_images: own
                .expert_reads_images
                .unwrap_or(own.images != ImageNeed::None),
            answer_kinds: kinds,
            direct: own.direct,
            hedge: own.hedge,
            bounds: bounds(&limits, &solvers, &dispatch),
            solvers: listed,
        };
        Ok(Self {
            header,
            front_matter: front.matter,
            instructions: front.instructions,
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

/// What `SKILL.md` says.
struct Front {
    matter: FrontMatter,
    name: SkillName,
    description: String,
    instructions: String,
}

fn front(files: &Files, folder: Option<&str>) -> Result<Front, SkillError> {
    let text = read_text(files, SKILL_FILE)?.ok_or_else(|| SkillError::MissingFile {
        file: SKILL_FILE.to_owned(),
    })?;
    let (mut matter, instructions) = front_matter::parse(text)?;
    if matter.name.is_empty() {
        folder.unwrap_or_default().clone_into(&mut matter.name);
    }
    let place = |field: &str| Place::new(SKILL_FILE, 1, field);
    let name =
        SkillName::new(&matter.name).map_err(|error| place("name").invalid(error.to_string()))?;
    let words: Vec<&str> = matter.description.split_whitespace().collect();
    let description = words.join(" ");
    if description.is_empty() || description.chars().count() > MAX_DESCRIPTION_CHARS {
        let reason = format!("must have 1 to {MAX_DESCRIPTION_CHARS} characters");
        return Err(place("description").invalid(reason));
    }
    Ok(Front {
        matter,
        name,
        description,
        instructions,
    })
}

/// The solvers' names, and the path of each.
fn solver_names(files: &Files, errors: &Errors) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for path in files.keys() {
        let Some(name) = solver_name(path) else {
            continue;
        };
        // The same rule as for skills: the name stands in metrics and on the command line.
        if SkillName::new(name).is_err() {
            errors.add(SkillError::ForbiddenPath {
                path: path.clone(),
                reason: "a solver's name has lower-case letters, digits, '-' and '.'",
            });
        } else if names.insert(name.to_owned(), path.clone()).is_some() {
            let place = Place::new(path, 0, "name");
            errors.add(place.invalid("there are two solvers of this name"));
        }
    }
    names
}

fn read_solver(files: &Files, path: &str, name: &str, errors: &Errors) -> Option<Solver> {
    let text = errors.keep(read_text(files, path))?.unwrap_or_default();
    match Solver::parse(path, name, text) {
        Ok(solver) => Some(solver),
        Err(found) => {
            found.into_iter().for_each(|error| errors.add(error));
            None
        }
    }
}

pub(crate) struct TokenLimits {
    pub(crate) input_tokens: u32,
    pub(crate) output_tokens: u32,
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

#[cfg(test)]
#[path = "skill_tests.rs"]
mod tests;
