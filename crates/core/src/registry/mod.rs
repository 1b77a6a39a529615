//! What the registry holds: descriptors and skills (the **catalogue**, content-addressed) and
//! serving instances (**liveness**, separate and changing often).

mod catalogue;
mod descriptor;
mod skill;
mod snapshot;

pub use catalogue::Catalogue;
pub use descriptor::{
    BackendSpec, Descriptor, Instance, Limits, MAX_DESCRIPTION_CHARS, Modality, Price,
};
pub use skill::{CallBounds, ImageNeed, SkillHeader, SolverHeader};
pub use snapshot::{Candidate, Entry, PolicySlot, Snapshot, Unreachable};
