//! The skills that come with the program. Their files are in `skills/` of this crate.

use maestro_skills::{Skill, SkillError};

/// One skill: the name of its folder, and its files by path.
type Folder = (&'static str, &'static [(&'static str, &'static [u8])]);

/// Made by the build script.
static FOLDERS: &[Folder] = include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// Every skill of the library, by name.
///
/// # Errors
/// A skill that is not valid, which a test rules out.
pub fn library() -> Result<Vec<Skill>, SkillError> {
    FOLDERS
        .iter()
        .map(|(_, files)| Skill::from_content(files.iter().copied()))
        .collect()
}

#[cfg(test)]
mod tests;
