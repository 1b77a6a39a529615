use std::collections::BTreeMap;

use maestro_core::{
    CoreError,
    recording::KnownTask,
    registry::{Catalogue, Descriptor, Instance, SkillHeader, Snapshot},
    task::{Constraints, Pair},
};
use maestro_proto::v1;
use maestro_wire::FromProto;

use crate::{
    connection::{Connection, quick},
    error::CliError,
};

/// The experts and skills of an installation, as its registry lists them.
pub(crate) struct Pool(Snapshot);

impl Pool {
    /// Asks the registry.
    pub(crate) async fn list(connection: &Connection) -> Result<Self, CliError> {
        let mut registry = connection.registry();
        let experts = registry
            .list_experts(quick(v1::ListExpertsRequest {}))
            .await?
            .into_inner();
        let skills = registry
            .list_skills(quick(v1::ListSkillsRequest {}))
            .await?
            .into_inner();
        let mut catalogue = Catalogue::default();
        let mut instances = BTreeMap::new();
        for entry in experts.experts {
            let descriptor = entry
                .descriptor
                .ok_or_else(|| CoreError::DataLoss("an entry without descriptor".to_owned()))?;
            let mut descriptor = Descriptor::from_proto(descriptor)?;
            // How a model is reached is nobody's business here, and no policy's either; it would
            // make another pool of the same models on another port.
            descriptor.backend = None;
            let serving = entry.instances.into_iter().map(Instance::from_proto);
            let serving = serving.collect::<Result<Vec<_>, _>>()?;
            instances.insert(descriptor.name.clone(), serving);
            catalogue
                .experts
                .insert(descriptor.name.clone(), descriptor);
        }
        for header in skills.skills {
            let header = SkillHeader::from_proto(header)?;
            catalogue.skills.insert(header.name.clone(), header);
        }
        let snapshot = Snapshot::new(experts.revision, catalogue);
        Ok(Self(Snapshot {
            instances,
            ..snapshot
        }))
    }

    /// What its entries say.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// The pairs that a policy could choose from for a task.
    pub(crate) fn pairs(&self, task: &KnownTask, constraints: &Constraints) -> Vec<Pair> {
        let kind = task.answer_kind.name();
        let candidates = self.0.candidates(task.images.len(), kind, constraints);
        candidates
            .iter()
            .map(|candidate| candidate.pair())
            .collect()
    }
}
