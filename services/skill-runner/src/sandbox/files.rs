//! The files of a confined program: its scratch folder, and the interpreter's to read.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::child::Confinement;

/// What the newest kernel that this was written for can restrict. An older one restricts less:
/// TCP from 4, signals and abstract sockets from 6; the filter of system calls covers both anyway.
const ABI: ABI = ABI::V6;

/// Whether the kernel has Landlock and lets it be used.
pub(crate) fn available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

/// Restricts this process, and what it becomes, for good.
///
/// # Errors
/// A rule that the kernel refuses, or a kernel without Landlock.
pub(crate) fn restrict(confinement: &Confinement) -> Result<(), String> {
    let status = ruleset(confinement).map_err(|error| error.to_string())?;
    if status == RulesetStatus::NotEnforced {
        return Err("the kernel does not enforce it".to_owned());
    }
    Ok(())
}

fn ruleset(confinement: &Confinement) -> Result<RulesetStatus, RulesetError> {
    let read_file: BitFlags<AccessFs> = AccessFs::ReadFile.into();
    // No devices, sockets or pipes with a name.
    let scratch = AccessFs::from_all(ABI)
        & !(AccessFs::Execute
            | AccessFs::MakeBlock
            | AccessFs::MakeChar
            | AccessFs::MakeFifo
            | AccessFs::MakeSock
            | AccessFs::IoctlDev);
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI))?
        .handle_access(AccessNet::from_all(ABI))?
        .scope(Scope::from_all(ABI))?
        .create()?;
    let runtime = &confinement.runtime;
    let groups = [
        (std::slice::from_ref(&confinement.scratch), scratch),
        (runtime.programs.as_slice(), read_file | AccessFs::Execute),
        (runtime.folders.as_slice(), read_file | AccessFs::ReadDir),
        (runtime.files.as_slice(), read_file),
    ];
    for (paths, access) in groups {
        // A path that is not there needs no rule.
        for path in paths.iter().filter_map(|path| PathFd::new(path).ok()) {
            ruleset = ruleset.add_rule(PathBeneath::new(path, access))?;
        }
    }
    Ok(ruleset.restrict_self()?.ruleset)
}
