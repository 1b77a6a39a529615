//! A skill's folder as one blob, and back.
//!
//! The layout is made to be deterministic and dull: a first line that names the format, then for
//! every file in the byte order of its path one line `PATH LENGTH` and the content. There are no
//! timestamps, owners, modes or links to get wrong, so equal folders have equal digests and an
//! archive cannot place a file outside of its folder.

use std::{collections::BTreeMap, io::Read, path::Path};

use bytes::Bytes;
use walkdir::WalkDir;

use crate::{error::SkillError, skill::Skill};

/// Most files of a skill.
pub const MAX_FILES: usize = 256;
/// Most bytes of a skill, all files together.
pub const MAX_BUNDLE_BYTES: u64 = 4 << 20;

const MAGIC: &[u8] = b"maestro-skill/1\n";
const MAX_PATH_BYTES: usize = 255;

/// The files of a skill by their path relative to its folder, parts joined by `/`.
pub(crate) type Files = BTreeMap<String, Bytes>;

/// Reads a skill's folder into a bundle. Files and folders whose name begins with a dot are left
/// out. The skill itself is not checked.
///
/// # Errors
/// A file that cannot be read, a link, a path that is not plain, or more than [`MAX_FILES`] or
/// [`MAX_BUNDLE_BYTES`].
pub fn pack(dir: &Path) -> Result<Bytes, SkillError> {
    Ok(encode(&read_folder(dir)?))
}

/// Reads a skill from a bundle, without touching a disk.
///
/// # Errors
/// What is wrong with the bundle or the skill in it.
pub fn unpack(bundle: &[u8]) -> Result<Skill, SkillError> {
    Skill::from_files(decode(bundle)?, None)
}

pub(crate) fn read_folder(dir: &Path) -> Result<Files, SkillError> {
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let entries = WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name()));
    let mut files = Files::new();
    let mut total = 0;
    for entry in entries {
        let entry = entry.map_err(|error| SkillError::Read {
            path: error.path().unwrap_or(dir).to_owned(),
            source: error.into(),
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let relative = entry.path().strip_prefix(dir).unwrap_or(entry.path());
        let shown = relative.to_string_lossy().into_owned();
        if !entry.file_type().is_file() {
            return Err(SkillError::ForbiddenPath {
                path: shown,
                reason: "not a plain file",
            });
        }
        let parts: Option<Vec<&str>> = relative.iter().map(std::ffi::OsStr::to_str).collect();
        let path = parts.map(|parts| parts.join("/")).unwrap_or_default();
        check_path(&path)?;
        let content = read_at_most(entry.path(), MAX_BUNDLE_BYTES - total)?;
        total += content.len() as u64;
        files.insert(path, content);
        check_count(files.len())?;
    }
    Ok(files)
}

fn read_at_most(path: &Path, left: u64) -> Result<Bytes, SkillError> {
    let failed = |source| SkillError::Read {
        path: path.to_owned(),
        source,
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(left + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > left {
        return Err(too_large(MAX_BUNDLE_BYTES - left + content.len() as u64));
    }
    Ok(content.into())
}

fn too_large(size: u64) -> SkillError {
    SkillError::TooLarge {
        what: "bytes of the skill".to_owned(),
        size,
        limit: MAX_BUNDLE_BYTES,
    }
}

fn check_count(count: usize) -> Result<(), SkillError> {
    if count > MAX_FILES {
        return Err(SkillError::TooLarge {
            what: "files of the skill".to_owned(),
            size: count as u64,
            limit: MAX_FILES as u64,
        });
    }
    Ok(())
}

/// Accepts relative paths of ordinary parts only.
fn check_path(path: &str) -> Result<(), SkillError> {
    let refuse = |reason| {
        Err(SkillError::ForbiddenPath {
            path: path.to_owned(),
            reason,
        })
    };
    if path.is_empty() || path.len() > MAX_PATH_BYTES {
        return refuse("a path has 1 to 255 bytes of UTF-8");
    }
    if path
        .chars()
        .any(|c| c.is_control() || matches!(c, '\\' | ':'))
    {
        return refuse("control characters, '\\' and ':' are not allowed");
    }
    if path
        .split('/')
        .any(|part| part.is_empty() || part.starts_with('.'))
    {
        return refuse("a part must not be empty or begin with a dot");
    }
    Ok(())
}

pub(crate) fn encode(files: &Files) -> Bytes {
    let mut bundle = MAGIC.to_vec();
    for (path, content) in files {
        bundle.extend_from_slice(format!("{path} {}\n", content.len()).as_bytes());
        bundle.extend_from_slice(content);
    }
    bundle.into()
}

fn decode(bundle: &[u8]) -> Result<Files, SkillError> {
    // Paths and lengths add little; the sum of the contents is checked below.
    let most = MAX_BUNDLE_BYTES + (MAX_FILES * (MAX_PATH_BYTES + 24)) as u64;
    if bundle.len() as u64 > most {
        return Err(too_large(bundle.len() as u64));
    }
    let mut rest = bundle
        .strip_prefix(MAGIC)
        .ok_or(SkillError::MalformedBundle(
            "the first line names another format",
        ))?;
    let mut files = Files::new();
    let mut total = 0;
    while !rest.is_empty() {
        let (path, content, tail) = decode_file(rest)?;
        check_path(&path)?;
        if files
            .last_key_value()
            .is_some_and(|(last, _)| *last >= path)
        {
            return Err(SkillError::MalformedBundle("paths are not sorted"));
        }
        total += content.len() as u64;
        if total > MAX_BUNDLE_BYTES {
            return Err(too_large(total));
        }
        files.insert(path, content);
        check_count(files.len())?;
        rest = tail;
    }
    Ok(files)
}

fn decode_file(rest: &[u8]) -> Result<(String, Bytes, &[u8]), SkillError> {
    let bad_line = || SkillError::MalformedBundle("a file's line is not PATH LENGTH");
    let end = rest
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(bad_line)?;
    let line = std::str::from_utf8(&rest[..end]).map_err(|_| bad_line())?;
    let (path, length) = line.rsplit_once(' ').ok_or_else(bad_line)?;
    // `parse` takes a sign; a canonical length has digits only and no leading zero.
    let canonical = length == "0"
        || (!length.starts_with('0') && length.bytes().all(|byte| byte.is_ascii_digit()));
    let length: usize = canonical
        .then(|| length.parse().ok())
        .flatten()
        .ok_or_else(bad_line)?;
    let (content, tail) = rest[end + 1..]
        .split_at_checked(length)
        .ok_or(SkillError::MalformedBundle("the bundle ends within a file"))?;
    Ok((path.to_owned(), Bytes::copy_from_slice(content), tail))
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
